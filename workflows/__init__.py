"""Workflows: thin shells around the pure machines of the library."""
