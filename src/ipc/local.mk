noinst_LIBRARIES += src/ipc/libipc.a
src_ipc_libipc_a_SOURCES = \
	include/portald/ipc.h \
	src/ipc/ipc.c
