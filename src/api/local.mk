noinst_LIBRARIES += src/api/libapi.a
src_api_libapi_a_CFLAGS = $(AM_CFLAGS) $(LIBCURL_CFLAGS) $(LIBEVENT_CFLAGS)
src_api_libapi_a_SOURCES = \
	include/portald/apiclient.h \
	src/api/apiclient.c \
	src/api/client.h \
	src/api/credentials.c \
	src/api/credentials.h \
	src/api/multi.c \
	src/api/multi.h \
	src/api/plugin.c \
	src/api/plugin.h \
	src/api/request.c
