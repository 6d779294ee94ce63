"""Measurements, each a module to run with `python -m tests.benchmarks.<name>`; pytest does not collect them."""
