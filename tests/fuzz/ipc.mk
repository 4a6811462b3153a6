# Fuzzers of the module ipc.
