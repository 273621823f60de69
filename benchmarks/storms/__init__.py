"""Storms: a load of envelopes while programs are killed and the provider loses answers."""
