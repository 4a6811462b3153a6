# Unit tests of the module admin.
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_admin

tests_unit_test_admin_SOURCES = tests/unit/test_admin.c
tests_unit_test_admin_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_admin_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)
endif
