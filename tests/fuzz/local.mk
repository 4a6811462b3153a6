# Fuzzers, one tests/fuzz/fuzz_NAME.c with LLVMFuzzerTestOneInput() each; its seeds are tests/fuzz/corpus/NAME.
#
# With --enable-fuzzer (clang) they are libFuzzer's own programs, to be run by `make fuzz`. Without, the same
# target is linked with replay.c and is a test of `make check`, which runs it over its seeds. Hence a target
# reads:
#
#     FUZZERS += tests/fuzz/fuzz_x
#     tests_fuzz_fuzz_x_SOURCES = tests/fuzz/fuzz_x.c $(FUZZ_MAIN)
#     tests_fuzz_fuzz_x_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LINK)
#     tests_fuzz_fuzz_x_LDADD = libraries, the most dependent first
#     EXTRA_DIST += tests/fuzz/corpus/x
FUZZERS =
if FUZZER
noinst_PROGRAMS += $(FUZZERS)
FUZZ_LINK = -fsanitize=fuzzer
FUZZ_MAIN =
else
check_PROGRAMS += $(FUZZERS)
FUZZ_LINK =
FUZZ_MAIN = tests/fuzz/replay.c
endif
EXTRA_DIST += tests/fuzz/replay.c

include $(srcdir)/tests/fuzz/source.mk
include $(srcdir)/tests/fuzz/ipc.mk
include $(srcdir)/tests/fuzz/relay.mk
include $(srcdir)/tests/fuzz/kubeconfig.mk
