# Fuzzers; see tests/fuzz/*.mk.
include $(srcdir)/tests/fuzz/source.mk
include $(srcdir)/tests/fuzz/ipc.mk
