"""The demonstration, and the local stack that it runs on: the checkout's programs."""
