# Fuzzers of the module source: manifests as a whole, the JSON reader by itself, and the API server's answers.
FUZZERS += tests/fuzz/fuzz_yaml tests/fuzz/fuzz_json tests/fuzz/fuzz_watch
source_fuzz_libs = src/source/libsource.a src/model/libmodel.a src/base/libbase.a $(YAML_LIBS) $(YAJL_LIBS)
tests_fuzz_fuzz_yaml_SOURCES = tests/fuzz/fuzz_yaml.c $(FUZZ_MAIN)
tests_fuzz_fuzz_yaml_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LINK)
tests_fuzz_fuzz_yaml_LDADD = $(source_fuzz_libs)
tests_fuzz_fuzz_json_SOURCES = tests/fuzz/fuzz_json.c $(FUZZ_MAIN)
tests_fuzz_fuzz_json_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LINK)
tests_fuzz_fuzz_json_LDADD = $(source_fuzz_libs)
tests_fuzz_fuzz_watch_SOURCES = tests/fuzz/fuzz_watch.c $(FUZZ_MAIN)
tests_fuzz_fuzz_watch_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LINK)
tests_fuzz_fuzz_watch_LDADD = $(source_fuzz_libs)
EXTRA_DIST += tests/fuzz/corpus/yaml tests/fuzz/corpus/json tests/fuzz/corpus/watch
