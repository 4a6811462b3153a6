# Unit tests of the module steering: programs are added to check_PROGRAMS.
EXTRA_DIST += tests/unit/golden/plan-bind.rules tests/unit/golden/plan.rules \
	tests/unit/golden/portals-pods.rules \
	tests/unit/golden/portals-v4.rules tests/unit/golden/portals-v6.rules
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_steering_text
tests_unit_test_steering_text_SOURCES = tests/unit/plan_sample.c tests/unit/plan_sample.h \
	tests/unit/test_steering_text.c
tests_unit_test_steering_text_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_steering_text_LDADD = src/steering/libsteering.a src/plan/libplan.a src/model/libmodel.a \
	src/base/libbase.a $(YAJL_LIBS) $(YAML_LIBS) $(LIBEVENT_LIBS) $(CONNTRACK_LIBS) $(MNL_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_steering_engine
tests_unit_test_steering_engine_SOURCES = tests/unit/netns_rig.c tests/unit/netns_rig.h \
	tests/unit/test_steering_engine.c
tests_unit_test_steering_engine_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(LIBEVENT_CFLAGS)
tests_unit_test_steering_engine_LDADD = src/steering/libsteering.a src/plan/libplan.a src/model/libmodel.a \
	src/base/libbase.a $(YAJL_LIBS) $(YAML_LIBS) $(LIBEVENT_LIBS) $(CONNTRACK_LIBS) $(MNL_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_steering_parts
tests_unit_test_steering_parts_SOURCES = tests/unit/test_steering_parts.c
tests_unit_test_steering_parts_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_steering_parts_LDADD = src/steering/libsteering.a src/plan/libplan.a src/model/libmodel.a \
	src/base/libbase.a $(YAJL_LIBS) $(YAML_LIBS) $(LIBEVENT_LIBS) $(CONNTRACK_LIBS) $(MNL_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_steering_change
tests_unit_test_steering_change_SOURCES = tests/unit/netns_rig.c tests/unit/netns_rig.h \
	tests/unit/test_steering_change.c
tests_unit_test_steering_change_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(LIBEVENT_CFLAGS)
tests_unit_test_steering_change_LDADD = src/steering/libsteering.a src/plan/libplan.a src/model/libmodel.a \
	src/base/libbase.a $(YAJL_LIBS) $(YAML_LIBS) $(LIBEVENT_LIBS) $(CONNTRACK_LIBS) $(MNL_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_steering_portals
tests_unit_test_steering_portals_SOURCES = tests/unit/netns_rig.c tests/unit/netns_rig.h \
	tests/unit/test_steering_portals.c
tests_unit_test_steering_portals_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(LIBEVENT_CFLAGS)
tests_unit_test_steering_portals_LDADD = src/steering/libsteering.a src/plan/libplan.a src/model/libmodel.a \
	src/base/libbase.a $(YAJL_LIBS) $(YAML_LIBS) $(LIBEVENT_LIBS) $(CONNTRACK_LIBS) $(MNL_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_conntrack
tests_unit_test_conntrack_SOURCES = tests/unit/netns_rig.c tests/unit/netns_rig.h \
	tests/unit/test_conntrack.c
tests_unit_test_conntrack_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(LIBEVENT_CFLAGS)
tests_unit_test_conntrack_LDADD = src/steering/libsteering.a src/plan/libplan.a src/model/libmodel.a \
	src/base/libbase.a $(YAJL_LIBS) $(YAML_LIBS) $(LIBEVENT_LIBS) $(CONNTRACK_LIBS) $(MNL_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_connections
tests_unit_test_connections_SOURCES = tests/unit/netns_rig.c tests/unit/netns_rig.h \
	tests/unit/test_connections.c
tests_unit_test_connections_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(LIBEVENT_CFLAGS)
tests_unit_test_connections_LDADD = src/steering/libsteering.a src/base/libbase.a \
	$(LIBEVENT_LIBS) $(MNL_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_nftables
tests_unit_test_nftables_SOURCES = tests/unit/test_nftables.c
tests_unit_test_nftables_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_nftables_LDADD = src/steering/libsteering.a src/plan/libplan.a src/model/libmodel.a \
	src/base/libbase.a $(LIBEVENT_LIBS) $(CONNTRACK_LIBS) $(MNL_LIBS) $(CMOCKA_LIBS)
endif
