noinst_LIBRARIES += src/base/libbase.a
src_base_libbase_a_SOURCES = \
	include/portald/addr.h \
	include/portald/clock.h \
	include/portald/descriptors.h \
	include/portald/hash.h \
	include/portald/log.h \
	include/portald/mem.h \
	include/portald/proto.h \
	include/portald/service_options.h \
	src/base/addr.c \
	src/base/addr_own.c \
	src/base/clock.c \
	src/base/descriptors.c \
	src/base/hash.c \
	src/base/log.c \
	src/base/mem.c \
	src/base/proto.c \
	src/base/service_options.c
