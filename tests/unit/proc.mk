# Unit tests of the module proc: programs are added to check_PROGRAMS.
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_confine
tests_unit_test_confine_SOURCES = tests/unit/test_confine.c
tests_unit_test_confine_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_confine_LDADD = src/proc/libproc.a src/base/libbase.a $(SECCOMP_LIBS) $(CAPNG_LIBS) $(CMOCKA_LIBS)
endif
