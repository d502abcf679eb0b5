"""The benchmarks: `make bench`. `make test` runs only their own tests (tests/bench)."""
