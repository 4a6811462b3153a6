# The benchmark: a load generator, which tests/bench/run builds (and nothing else does), and the script that runs
# it against portald and the proxies it is compared with. See doc/BENCHMARKS.md.
EXTRA_PROGRAMS += tests/bench/load
CLEANFILES += tests/bench/load
tests_bench_load_SOURCES = \
	tests/bench/load.c \
	tests/bench/load.h \
	tests/bench/load_backend.c \
	tests/bench/load_bulk.c \
	tests/bench/load_client.c \
	tests/bench/load_udp.c \
	tests/bench/load_util.c
tests_bench_load_LDADD = src/base/libbase.a

EXTRA_DIST += \
	tests/bench/bench.py \
	tests/bench/candidates.py \
	tests/bench/netns.py \
	tests/bench/report.py \
	tests/bench/run \
	tests/bench/scale.py \
	tests/bench/services.py
dist_doc_DATA += doc/BENCHMARKS.md
