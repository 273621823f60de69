"""Sealwax: durable orchestration of e-signature envelopes on Temporal."""
