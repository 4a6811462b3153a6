#!/bin/bash
# From a fresh Debian 12 machine to the demo: installs what is missing, builds in build/quickstart, runs
# contrib/demo. A second run takes seconds.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build=$top/build/quickstart

install_packages build
bootstrap
if [ ! -f "$build/Makefile" ]; then
	say "configuring in $build"
fi
configure_in "$build" CFLAGS='-O2 -g'
say "building in $build"
make -C "$build" -s -j"$(nproc)"
exec "$top/contrib/demo/demo.sh" "$build/portald"
