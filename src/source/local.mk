noinst_LIBRARIES += src/source/libsource.a
src_source_libsource_a_SOURCES = \
	include/portald/source.h \
	src/source/source.c
