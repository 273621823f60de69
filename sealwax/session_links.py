"""The two addresses of a signing session at the bridge, each with a MAC of its own.

``/sessions/{account}/{routing token}/{fencing token}/{mac}/done`` is where the signer's browser
comes back, ``.../ping`` is what the provider asks for while the signer's page is open. The MACs
come from different keys, so whoever sees one address cannot make the other: a ping can only keep
a session alive. Nothing of the application stands in them; its own URL is workflow state.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from typing import Literal
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwax.crypto import KEY_BYTES, Keyring

Purpose = Literal["done", "ping"]

MAC_BYTES = 16
"""128 bits: no guess succeeds over a network, and the address stays short."""

_LABELS: dict[Purpose, bytes] = {
    "done": b"sealwax session-return",
    "ping": b"sealwax session-ping",
}


class SessionLinks:
    """Makes and recognises the addresses, with keys derived from the ring's.

    The current key makes MACs; those of every key in the ring are recognised, so that a session
    outlives a change of keys. A ring of the same keys recognises what another process made.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._current = keyring.current
        self._keys = {
            purpose: {
                key_id: HKDF(SHA256(), KEY_BYTES, salt=None, info=label).derive(key)
                for key_id, key in keyring.keys.items()
            }
            for purpose, label in _LABELS.items()
        }

    def path(self, account: str, routing_token: str, token: int, purpose: Purpose) -> str:
        """The address's path, from ``/sessions`` on."""
        mac = _mac(self._keys[purpose][self._current], account, routing_token, token)
        place = f"{quote(account, safe='')}/{quote(routing_token, safe='')}"
        return f"/sessions/{place}/{token}/{mac}/{purpose}"

    def genuine(
        self, mac: str, account: str, routing_token: str, token: int, purpose: Purpose
    ) -> bool:
        """Whether this MAC is ours for this session and purpose; every key is always tried."""
        found = False
        for key in self._keys[purpose].values():
            good = _mac(key, account, routing_token, token)
            found |= hmac.compare_digest(good.encode(), mac.encode(errors="replace"))
        return found


def _mac(key: bytes, account: str, routing_token: str, token: int) -> str:
    message = "\0".join((account, routing_token, str(token))).encode(errors="replace")
    digest = hmac.new(key, message, hashlib.sha256).digest()
    return urlsafe_b64encode(digest[:MAC_BYTES]).rstrip(b"=").decode()
