# Unit tests of the module proc: the command line and the supervisor's table.
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_reload tests/unit/test_config tests/unit/test_host tests/unit/test_inherit tests/unit/test_confine tests/unit/test_manifests tests/unit/test_notify tests/unit/test_options tests/unit/test_permits tests/unit/test_table

tests_unit_test_options_SOURCES = tests/unit/test_options.c
tests_unit_test_options_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_options_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_permits_SOURCES = tests/unit/test_permits.c
tests_unit_test_permits_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_permits_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_table_SOURCES = tests/unit/test_table.c
tests_unit_test_table_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_table_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_manifests_SOURCES = tests/unit/test_manifests.c
tests_unit_test_manifests_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_manifests_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_notify_SOURCES = tests/unit/test_notify.c
tests_unit_test_notify_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_notify_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_confine_SOURCES = tests/unit/test_confine.c
tests_unit_test_confine_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_confine_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_config_SOURCES = tests/unit/test_config.c
tests_unit_test_config_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_config_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_host_SOURCES = tests/unit/test_host.c
tests_unit_test_host_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_host_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_inherit_SOURCES = tests/unit/test_inherit.c
tests_unit_test_inherit_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_inherit_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)

tests_unit_test_reload_SOURCES = tests/unit/test_reload.c
tests_unit_test_reload_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_reload_LDADD = $(PORTALD_LIBS) $(CMOCKA_LIBS)
endif
