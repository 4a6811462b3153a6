# Fuzzers of the module source.
