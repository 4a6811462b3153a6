sbin_PROGRAMS += portald
portald_SOURCES = src/main.c

noinst_LIBRARIES += src/proc/libproc.a
src_proc_libproc_a_SOURCES = \
	src/proc/confine.c \
	src/proc/confine.h
src_proc_libproc_a_CFLAGS = $(AM_CFLAGS) $(SECCOMP_CFLAGS) $(CAPNG_CFLAGS)
