#!/bin/bash
# Runs every test there is: installs what is missing, builds in build/test-*, goes on after a failure so
# that one run shows all of them, and ends with a count. Exit code 0 only if every stage passed.
#
#     contrib/test.sh [STAGE...]      only these stages, named at the end; a check needs its build's stage
#
# FUZZ_SECONDS (default 20) bounds each fuzzer.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

jobs=-j$(nproc)
fuzz_seconds=${FUZZ_SECONDS:-20}
logs=$top/build/test-logs
chosen=("$@")
passed=0
failed=()

gcc_build=$top/build/test-gcc
clang_build=$top/build/test-clang
san_build=$top/build/test-san
fuzz_build=$top/build/test-fuzz

# What a report of the sanitizers must do: name functions, end the process.
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=1:detect_leaks=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}

build_gcc() {
	configure_in "$gcc_build" CC=gcc --enable-werror && make -C "$gcc_build" "$jobs"
}

build_clang() {
	configure_in "$clang_build" CC=clang --enable-werror && make -C "$clang_build" "$jobs"
}

build_san() {
	configure_in "$san_build" CC=gcc --enable-werror --enable-sanitizers CFLAGS='-O1 -g' &&
		make -C "$san_build" "$jobs"
}

build_fuzz() {
	configure_in "$fuzz_build" CC=clang --enable-fuzzer --enable-sanitizers CFLAGS='-O1 -g' &&
		make -C "$fuzz_build" "$jobs"
}

# One test at a time: several measure what happens at once, and want the CPUs for it.
check_gcc() {
	make -C "$gcc_build" "$jobs" all && make -C "$gcc_build" check
}

check_clang() {
	make -C "$clang_build" "$jobs" all && make -C "$clang_build" check
}

check_san() {
	make -C "$san_build" "$jobs" all && make -C "$san_build" check
}

lint() {
	make -C "$gcc_build" lint
}

# make check-netns as root: it makes network namespaces. netns_of BUILD [PYTEST_ARGS]
netns_of() {
	as_root env ASAN_OPTIONS="$ASAN_OPTIONS" UBSAN_OPTIONS="$UBSAN_OPTIONS" make -C "$1" check-netns \
		PYTEST_ARGS="${2:-}"
}

netns_gcc() {
	netns_of "$gcc_build"
}

# What makes the processes work hard; the many variants of rules and choices ran without the sanitizers.
netns_san() {
	netns_of "$san_build" "-k 'test_relay or test_roles or test_reload or test_udp or test_options or test_run'"
}

valgrind() {
	make -C "$gcc_build" "$jobs" check-valgrind
}

fuzz() {
	make -C "$fuzz_build" fuzz FUZZ_SECONDS="$fuzz_seconds"
}

demo() {
	"$top/contrib/demo/demo.sh" "$gcc_build/portald"
}

install_() {
	rm -rf "$gcc_build/installed"
	make -C "$gcc_build" install DESTDIR="$gcc_build/installed" &&
		"$gcc_build/installed/usr/local/sbin/portald" --version &&
		test -s "$gcc_build/installed/usr/local/share/man/man8/portald.8"
}

distcheck() {
	make -C "$gcc_build" distcheck
}

deb() {
	as_root make -C "$gcc_build" check-deb
}

is_chosen() {
	local one
	[ ${#chosen[@]} -gt 0 ] || return 0
	for one in "${chosen[@]}"; do
		[ "$one" != "$1" ] || return 0
	done
	return 1
}

# The counts that make check, pytest and the fuzzers print.
summary_of() {
	grep -hE '^# (PASS|FAIL|ERROR): *[1-9]|^=* ?[0-9]+ (passed|failed).* in |^lint: |^fuzz: .* inputs in ' "$1" |
		sed 's/^=* *//; s/ *=*$//; s/^# //; s/  */ /g' | paste -sd';' | sed 's/;/; /g'
}

# stage NAME FUNCTION [BUILD]: runs it with its output in a log, which is shown if it fails. BUILD is the stage
# without which it cannot run.
stage() {
	local name=$1 log=$logs/$1.log start=$SECONDS status=0
	is_chosen "$name" || return 0
	printf '== %-12s ' "$name"
	if [[ " ${failed[*]} " == *" ${3:-none} "* ]]; then
		failed+=("$name")
		printf 'FAIL         (there is no build: %s failed)\n' "$3"
		return
	fi
	"$2" >"$log" 2>&1 </dev/null || status=$?
	if [ $status -eq 0 ]; then
		passed=$((passed + 1))
		printf 'ok   %4d s  %s\n' $((SECONDS - start)) "$(summary_of "$log")"
		return
	fi
	failed+=("$name")
	printf 'FAIL %4d s  (exit code %d) %s\n' $((SECONDS - start)) $status "$log"
	tail -n 100 "$log" | sed 's/^/    | /'
}

install_packages build test
bootstrap
mkdir -p "$logs"

if [ ${#chosen[@]} -gt 0 ]; then
	say "only: ${chosen[*]}"
fi

stage gcc build_gcc
stage gcc-check check_gcc gcc
stage lint lint gcc
stage gcc-netns netns_gcc gcc
stage demo demo gcc
stage valgrind valgrind gcc
stage san build_san
stage san-check check_san san
stage san-netns netns_san san
stage clang build_clang
stage clang-check check_clang clang
stage fuzz-build build_fuzz
stage fuzz fuzz fuzz-build
stage install install_ gcc
stage distcheck distcheck gcc
stage deb deb gcc

printf '== %d passed, %d failed%s, %d s\n' "$passed" "${#failed[@]}" "${failed[*]:+ (${failed[*]})}" "$SECONDS"
[ ${#failed[@]} -eq 0 ]
