# Unit tests of the module stats: programs are added to check_PROGRAMS.
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_pin tests/unit/test_stats
tests_unit_test_pin_SOURCES = tests/unit/test_pin.c
tests_unit_test_pin_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_pin_LDADD = src/stats/libstats.a src/base/libbase.a $(CMOCKA_LIBS)
tests_unit_test_stats_SOURCES = tests/unit/test_stats.c
tests_unit_test_stats_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_stats_LDADD = src/stats/libstats.a src/base/libbase.a $(CMOCKA_LIBS)
endif
