"""Faults on purpose, and what is lost by them: the parts of `benchmarks/faults.py`."""
