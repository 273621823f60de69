"""Signers in a real browser."""
