# Fuzzer of the module relay: what comes with a datagram.
FUZZERS += tests/fuzz/fuzz_udp
tests_fuzz_fuzz_udp_SOURCES = tests/fuzz/fuzz_udp.c $(FUZZ_MAIN)
tests_fuzz_fuzz_udp_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LINK)
tests_fuzz_fuzz_udp_LDADD = src/relay/librelay.a src/stats/libstats.a src/ipc/libipc.a src/plan/libplan.a \
	src/model/libmodel.a src/base/libbase.a
EXTRA_DIST += tests/fuzz/corpus/udp
