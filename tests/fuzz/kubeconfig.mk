# Fuzzer of kubeconfigs and of what exec plugins print.
FUZZERS += tests/fuzz/fuzz_kubeconfig
tests_fuzz_fuzz_kubeconfig_SOURCES = tests/fuzz/fuzz_kubeconfig.c $(FUZZ_MAIN)
tests_fuzz_fuzz_kubeconfig_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LINK)
tests_fuzz_fuzz_kubeconfig_LDADD = $(source_fuzz_libs)
EXTRA_DIST += tests/fuzz/corpus/kubeconfig
