"""Benchmarks: `python -m benchmarks.NAME`. Each starts and stops all that it needs."""
