#!/bin/sh
# Runs each fuzzer for a while, as many at a time as there are processors: fuzz.sh SRCDIR SECONDS PROGRAM...
#
# What the fuzzer finds worth keeping goes to a copy of its corpus in the build directory; an input that
# breaks something is left there as crash-*, and the exit code is 1.
set -eu

srcdir=$1
seconds=$2
shift 2
if [ $# -eq 0 ]; then
	echo 'fuzz: no fuzzer in this build' >&2
	exit 1
fi

# Runs one of them; its messages and how it went stay in fuzz-work.
fuzz_one() {
	program=$1
	name=$(basename "$program")
	name=${name#fuzz_}
	work=fuzz-work/$name
	mkdir -p "$work/corpus"
	seeds=$srcdir/tests/fuzz/corpus/$name
	if [ ! -d "$seeds" ]; then
		echo "fuzz: no seeds for $name in $seeds" >&2
		return 1
	fi
	status=0
	if ! "./$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
		-print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" "$seeds" >"$work/log" 2>&1; then
		status=1
		echo "fuzz: $name failed: $work/log and $work/crash-*" >&2
		tail -n 40 "$work/log" >&2
	fi
	inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
	new=$(sed -n 's/^stat::new_units_added: *//p' "$work/log")
	echo "fuzz: $name: ${inputs:-?} inputs in $seconds s, ${new:-?} worth keeping"
	return $status
}

if [ "${FUZZ_ONE:-}" ]; then
	fuzz_one "$1"
	exit
fi
# xargs tells with exit code 123 that one of them failed.
printf '%s\n' "$@" | FUZZ_ONE=1 xargs -P "$(nproc)" -n 1 sh "$0" "$srcdir" "$seconds"
