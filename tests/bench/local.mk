# The benchmark's load generator.
