"""The bridge: where providers' webhooks come in, are made durable, and reach their workflows."""
