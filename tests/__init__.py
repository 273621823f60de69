"""The tests: each states a law."""
