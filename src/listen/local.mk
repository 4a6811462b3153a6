noinst_LIBRARIES += src/listen/liblisten.a
src_listen_liblisten_a_SOURCES = \
	include/portald/listen.h \
	src/listen/claim.c \
	src/listen/listen.c
