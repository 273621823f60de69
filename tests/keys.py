"""The keys of the tests: published on purpose, so that stored histories open everywhere."""

from __future__ import annotations

import os
from base64 import b64encode

from temporalio.client import Client

from sealwax.crypto import Keyring
from sealwax.payloads import client_options

KEY_ID = "published-test-key"
KEY = b"sealwax: published, of no value!"
KEYRING = Keyring(KEY_ID, {KEY_ID: KEY})

KEY_TEXT = b64encode(KEY).decode()
VARIABLE = "SEALWAX_TEST_KEY"

SETTINGS = f"""
[encryption]
current = "{KEY_ID}"
[encryption.keys]
{KEY_ID} = "env:{VARIABLE}"
"""
"""The table of a settings file. The variable that it names is set here, also for programs that a
test starts."""

os.environ[VARIABLE] = KEY_TEXT


def encrypting(client: Client, keyring: Keyring = KEYRING) -> Client:
    """A client of the same connection that encrypts as the programs do."""
    config = client.config()
    config.update(client_options(keyring))  # type: ignore[typeddict-item]
    return Client(**config)
