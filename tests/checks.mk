# Targets beside check: check-netns, lint, format, fuzz, bench, coverage.
