"""Webhooks at fifty times their usual rate: what is kept, how fast, and what becomes of it."""
