# Targets beside check: check-netns, check-deb, check-valgrind, lint, format, fuzz, bench, coverage.
#
# fuzz and coverage need a build of their own kind; in any other build they configure one in a directory
# below this one.

AM_TESTS_ENVIRONMENT = \
	srcdir='$(srcdir)'; export srcdir; \
	top_builddir='$(abs_top_builddir)'; export top_builddir;

# --help, the manual page and the documents agree.
TESTS += tests/tools/check_docs.py
# What ships portald agrees with it.
TESTS += tests/tools/check_shipping.py
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = $(PYTHON3) -B

EXTRA_DIST += \
	tests/netns \
	tests/packaging \
	tests/tools/analyzer.h \
	tests/tools/check_docs.py \
	tests/tools/check_shipping.py \
	tests/tools/cppcheck.cfg \
	tests/tools/cppcheck.suppress \
	tests/tools/fuzz.sh \
	tests/tools/lint.py \
	tests/tools/lint_source.py \
	tests/tools/test_lint.py

# ---- the real binary in network namespaces (root; PORTALD names another binary, PYTEST_ARGS picks) ----

PORTALD = $(abs_top_builddir)/portald
check-netns: all
	@test "$$(id -u)" -eq 0 || { echo 'check-netns: makes network namespaces: run it as root' >&2; exit 1; }
	@$(PYTEST) --version >/dev/null 2>&1 || \
		{ echo 'check-netns: needs pytest (Debian: python3-pytest)' >&2; exit 1; }
	PORTALD='$(PORTALD)' top_builddir='$(abs_top_builddir)' PYTHONDONTWRITEBYTECODE=1 \
		$(PYTEST) -p no:cacheprovider -q $(PYTEST_ARGS) $(srcdir)/tests/netns

# ---- the relay's unit tests under valgrind ----

VALGRIND = valgrind
VALGRIND_FLAGS = -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --trace-children=no
VALGRIND_TESTS = $(filter tests/unit/test_relay%,$(check_PROGRAMS))
check-valgrind: all
	@$(VALGRIND) --version >/dev/null 2>&1 || { echo 'check-valgrind: needs valgrind' >&2; exit 1; }
	@test -n '$(VALGRIND_TESTS)' || { echo 'check-valgrind: no test to run (cmocka missing?)' >&2; exit 1; }
	$(MAKE) check TESTS='$(VALGRIND_TESTS)' LOG_COMPILER='$(VALGRIND)' LOG_FLAGS='$(VALGRIND_FLAGS)'

# ---- the Debian package: built, installed, run, removed (root) ----

check-deb:
	$(MAKE) distdir distdir=deb-source
	$(srcdir)/tests/packaging/deb.sh deb-source
	rm -rf deb-source

# ---- the container image's recipe, followed without an engine (root, Debian's archive, minutes) ----

check-container:
	$(PYTHON3) -B $(srcdir)/tests/packaging/container.py '$(srcdir)'

# ---- lint and format ----

LINT_CPPFLAGS = $(DEFS) -I. $(AM_CPPFLAGS) $(CPPFLAGS) $(LIBEVENT_CFLAGS) $(LIBCURL_CFLAGS) $(YAJL_CFLAGS) $(YAML_CFLAGS) \
	$(SECCOMP_CFLAGS) $(CAPNG_CFLAGS) $(MNL_CFLAGS) $(CONNTRACK_CFLAGS) $(CMOCKA_CFLAGS)
# LINT_ARGS: --only RULE, --quick, ...
lint: all
	$(PYTHON3) -B $(srcdir)/tests/tools/lint.py --root='$(srcdir)' --build=. \
		--cppflags='$(LINT_CPPFLAGS)' --pytest='$(PYTEST)' $(LINT_ARGS)

CLANG_FORMAT = clang-format
format:
	cd $(srcdir) && find include src tests -name '*.[ch]' -exec $(CLANG_FORMAT) -i {} +

# ---- fuzz: each fuzzer for FUZZ_SECONDS ----

FUZZ_SECONDS = 60
if FUZZER
fuzz: all
	$(SHELL) $(srcdir)/tests/tools/fuzz.sh '$(srcdir)' '$(FUZZ_SECONDS)' $(FUZZERS)
else
fuzz:
	@$(MKDIR_P) fuzz-build
	@test -f fuzz-build/Makefile || { cd fuzz-build && \
		$(abs_srcdir)/configure CC=clang --enable-fuzzer --enable-sanitizers; }
	$(MAKE) -C fuzz-build fuzz FUZZ_SECONDS='$(FUZZ_SECONDS)'
endif

# ---- bench ----

bench: all
	PORTALD='$(PORTALD)' top_builddir='$(abs_top_builddir)' $(srcdir)/tests/bench/run $(BENCH_ARGS)

# ---- coverage: which lines `make check` executes ----

if COVERAGE
coverage: all
	find . -name '*.gcda' -exec rm -f {} +
	$(MAKE) check
	$(MKDIR_P) coverage-report
	gcovr --root '$(srcdir)' --filter '$(srcdir)/src/' --object-directory . \
		--print-summary --html-details coverage-report/index.html --txt coverage-report/summary.txt
	@cat coverage-report/summary.txt
	@echo "in detail: $(abs_builddir)/coverage-report/index.html"
else
coverage:
	@$(MKDIR_P) coverage-build
	@test -f coverage-build/Makefile || { cd coverage-build && $(abs_srcdir)/configure --enable-coverage; }
	$(MAKE) -C coverage-build coverage
endif

clean-local:
	rm -rf coverage-report
	find . -name '*.gc??' -exec rm -f {} +
	test ! -f fuzz-build/Makefile || $(MAKE) -C fuzz-build clean
	test ! -f coverage-build/Makefile || $(MAKE) -C coverage-build clean
distclean-local:
	rm -rf fuzz-build coverage-build

.PHONY: check-container check-deb check-netns check-valgrind lint format fuzz bench coverage
