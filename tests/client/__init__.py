"""Laws of the client library, against a real Temporal server."""
