"""Tests of the providers' dialects and of the shell that speaks them."""
