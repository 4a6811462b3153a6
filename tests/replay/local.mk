# Scenarios for what talks to the API server, on a fake clock, and answers recorded from a real one.
if HAVE_CMOCKA
check_PROGRAMS += tests/replay/test_replay
tests_replay_test_replay_SOURCES = \
	tests/replay/scenario.c \
	tests/replay/scenario.h \
	tests/replay/test_replay.c
tests_replay_test_replay_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_replay_test_replay_LDADD = src/source/libsource.a src/model/libmodel.a src/base/libbase.a \
	$(YAML_LIBS) $(YAJL_LIBS) $(CMOCKA_LIBS)
endif
EXTRA_DIST += tests/replay/recorded tests/replay/scenarios
