"""The client that a good team writes without an orchestrator: what Sealwax is measured against.

It does what such clients do, and does it well: a token of its own, renewed in time; time-outs;
retries with backoff that look before they create again; a database row per envelope; webhooks
that are verified, told apart from repeats, never allowed to take a final status back, and backed
by a read where they leave doubt. What it does not have is one place through which all services'
changes of an envelope pass, nor a lock over two deliveries of one job. With a provider that
applies each write at once it does no harm at all.
"""
