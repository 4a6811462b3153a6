noinst_LIBRARIES += src/stats/libstats.a
src_stats_libstats_a_SOURCES = \
	include/portald/stats.h \
	src/stats/layout.h \
	src/stats/pin.c \
	src/stats/stats.c
