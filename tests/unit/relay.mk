# Unit tests of the module relay: programs are added to check_PROGRAMS.
if HAVE_CMOCKA
relay_libs = src/relay/librelay.a src/stats/libstats.a src/listen/liblisten.a src/ipc/libipc.a \
	src/plan/libplan.a src/model/libmodel.a src/base/libbase.a $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_relay
tests_unit_test_relay_SOURCES = tests/unit/test_relay.c tests/unit/relay_rig.c tests/unit/relay_rig.h
tests_unit_test_relay_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) -pthread
tests_unit_test_relay_LDADD = $(relay_libs)
endif
