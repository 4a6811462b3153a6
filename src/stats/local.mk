noinst_LIBRARIES += src/stats/libstats.a
src_stats_libstats_a_SOURCES = \
	include/portald/stats.h \
	src/stats/stats.c
