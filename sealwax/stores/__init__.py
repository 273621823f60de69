"""Small durable stores beside Temporal: the registry of envelopes, the journal of webhooks."""
