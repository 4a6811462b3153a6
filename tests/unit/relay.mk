# Unit tests of the module relay: programs are added to check_PROGRAMS.
if HAVE_CMOCKA
relay_libs = src/relay/librelay.a src/stats/libstats.a src/listen/liblisten.a src/ipc/libipc.a \
	src/plan/libplan.a src/model/libmodel.a src/base/libbase.a $(CMOCKA_LIBS)
relay_rig = tests/unit/relay_rig.c tests/unit/relay_rig.h
udp_rig = tests/unit/udp_rig.c tests/unit/udp_rig.h $(relay_rig)
relay_cflags = $(AM_CFLAGS) $(CMOCKA_CFLAGS) -pthread

check_PROGRAMS += \
	tests/unit/test_relay \
	tests/unit/test_relay_dial \
	tests/unit/test_relay_drain \
	tests/unit/test_relay_limits \
	tests/unit/test_relay_parts \
	tests/unit/test_relay_service \
	tests/unit/test_relay_udp \
	tests/unit/test_relay_udp_load \
	tests/unit/test_relay_udp_parts \
	tests/unit/test_schedule
tests_unit_test_relay_SOURCES = tests/unit/test_relay.c $(relay_rig)
tests_unit_test_relay_CFLAGS = $(relay_cflags)
tests_unit_test_relay_LDADD = $(relay_libs)
tests_unit_test_relay_dial_SOURCES = tests/unit/test_relay_dial.c $(relay_rig)
tests_unit_test_relay_dial_CFLAGS = $(relay_cflags)
tests_unit_test_relay_dial_LDADD = $(relay_libs)
tests_unit_test_relay_drain_SOURCES = tests/unit/test_relay_drain.c $(udp_rig)
tests_unit_test_relay_drain_CFLAGS = $(relay_cflags)
tests_unit_test_relay_drain_LDADD = $(relay_libs)
tests_unit_test_relay_limits_SOURCES = tests/unit/test_relay_limits.c $(relay_rig)
tests_unit_test_relay_limits_CFLAGS = $(relay_cflags)
tests_unit_test_relay_limits_LDADD = $(relay_libs)
tests_unit_test_relay_parts_SOURCES = tests/unit/test_relay_parts.c
tests_unit_test_relay_parts_CFLAGS = $(relay_cflags)
tests_unit_test_relay_parts_LDADD = $(relay_libs)
tests_unit_test_relay_service_SOURCES = tests/unit/test_relay_service.c $(relay_rig)
tests_unit_test_relay_service_CFLAGS = $(relay_cflags)
tests_unit_test_relay_service_LDADD = $(relay_libs)
tests_unit_test_relay_udp_SOURCES = tests/unit/test_relay_udp.c $(udp_rig)
tests_unit_test_relay_udp_CFLAGS = $(relay_cflags)
tests_unit_test_relay_udp_LDADD = $(relay_libs)
tests_unit_test_relay_udp_load_SOURCES = tests/unit/test_relay_udp_load.c $(udp_rig)
tests_unit_test_relay_udp_load_CFLAGS = $(relay_cflags)
tests_unit_test_relay_udp_load_LDADD = $(relay_libs)
tests_unit_test_relay_udp_parts_SOURCES = tests/unit/test_relay_udp_parts.c
tests_unit_test_relay_udp_parts_CFLAGS = $(relay_cflags)
tests_unit_test_relay_udp_parts_LDADD = $(relay_libs)
tests_unit_test_schedule_SOURCES = tests/unit/test_schedule.c
tests_unit_test_schedule_CFLAGS = $(relay_cflags)
tests_unit_test_schedule_LDADD = $(relay_libs)
endif
