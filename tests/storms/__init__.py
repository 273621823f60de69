"""Storms and the sweep, short, and the tests of these tests."""
