# Fuzzer of the module ipc: the channel and every decoder.
FUZZERS += tests/fuzz/fuzz_ipc
tests_fuzz_fuzz_ipc_SOURCES = tests/fuzz/fuzz_ipc.c $(FUZZ_MAIN)
tests_fuzz_fuzz_ipc_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LINK)
tests_fuzz_fuzz_ipc_LDADD = src/ipc/libipc.a src/plan/libplan.a src/model/libmodel.a src/base/libbase.a
EXTRA_DIST += tests/fuzz/corpus/ipc

# Writes the seeds anew, from the encoders: `make ipc-corpus`, after a change of a message.
EXTRA_PROGRAMS += tests/fuzz/ipc_corpus
tests_fuzz_ipc_corpus_SOURCES = tests/fuzz/ipc_corpus.c
tests_fuzz_ipc_corpus_LDADD = src/ipc/libipc.a src/plan/libplan.a src/model/libmodel.a src/base/libbase.a
CLEANFILES += tests/fuzz/ipc_corpus
.PHONY: ipc-corpus
ipc-corpus: tests/fuzz/ipc_corpus
	tests/fuzz/ipc_corpus $(srcdir)/tests/fuzz/corpus/ipc
