#!/bin/bash
# Makes git use the hooks in contrib/git-hooks for this clone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
git config core.hooksPath contrib/git-hooks
