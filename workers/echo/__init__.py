"""The echo backend: says what it hears. For benchmarks, tests, and trying a line."""
