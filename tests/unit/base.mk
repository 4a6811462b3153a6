# Unit tests of the module base: programs are added to check_PROGRAMS.
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_addr tests/unit/test_log tests/unit/test_mem tests/unit/test_proto
tests_unit_test_addr_SOURCES = tests/unit/test_addr.c
tests_unit_test_addr_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_addr_LDADD = src/base/libbase.a $(CMOCKA_LIBS)
# Brings a clock of its own, which the library's then stays out of.
tests_unit_test_log_SOURCES = tests/unit/test_log.c
tests_unit_test_log_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(YAJL_CFLAGS)
tests_unit_test_log_LDADD = src/base/libbase.a $(CMOCKA_LIBS) $(YAJL_LIBS)
tests_unit_test_mem_SOURCES = tests/unit/test_mem.c
tests_unit_test_mem_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_mem_LDADD = src/base/libbase.a $(CMOCKA_LIBS)
tests_unit_test_proto_SOURCES = tests/unit/test_proto.c
tests_unit_test_proto_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_proto_LDADD = src/base/libbase.a $(CMOCKA_LIBS)
endif
