"""Keys, and bytes sealed with them: AES-256-GCM, a key id in clear, several keys at once.

What is sealed says which key opens it, so that a key can be replaced while old data is kept: the
current key seals, every key of the ring opens. A random nonce of 96 bits is safe for about 2**32
messages of one key (NIST SP 800-38D, section 8.3); put another key in charge before that.

Two formats for data at rest, each beginning with ``SWX`` and a version byte, then one byte that is
the length of the key id, then the key id:

- 1, one message: nonce (12 bytes), ciphertext with its tag.
- 2, a stream: salt (16 bytes), then blocks of ``BLOCK_BYTES`` of plain text, each sealed under a
  key of this stream alone (HKDF-SHA256 of the key and the salt). The nonce is the block's number
  and whether it is the last, so blocks cannot be cut off, left out or put elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SALT_BYTES = 16
BLOCK_BYTES = 1024 * 1024

KEY_ADVICE = "a key is base64 of 32 random bytes; make one with `sealwax keys new`"

_MAGIC = b"SWX"
_MESSAGE, _STREAM = 1, 2
_KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class CryptoError(Exception):
    """Something cannot be sealed or opened. One line that says what to do; never a key in it."""


class BadKey(CryptoError):
    """A key, or its id, is none."""


class KeyUnknown(CryptoError):
    """It was sealed under a key that is not in the ring."""


class SealBroken(CryptoError):
    """It is not what was sealed: changed, cut off, for another purpose, or by another key."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of an installation by their ids; ``current`` seals, all of them open.

    A key is 32 bytes. Ids are lower case letters, digits, ``_`` and ``-``, at most 64; they stand
    in clear beside all that is sealed. Raises ``BadKey``.
    """

    current: str
    keys: Mapping[str, bytes] = field(repr=False)
    _ciphers: dict[str, AESGCM] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key_id, key in self.keys.items():
            check_key_id(key_id)
            if len(key) != KEY_BYTES:
                raise BadKey(f"key {key_id} has {len(key)} bytes instead of 32; {KEY_ADVICE}")
        if self.current not in self.keys:
            known = ", ".join(sorted(self.keys)) or "none is there"
            raise BadKey(
                f"the current key {self.current!r} is not among the keys ({known}); add it"
            )
        ciphers = {key_id: AESGCM(key) for key_id, key in self.keys.items()}
        object.__setattr__(self, "_ciphers", ciphers)

    def encrypt(self, plain: bytes, aad: bytes) -> bytes:
        """Nonce and ciphertext, under the current key."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[self.current].encrypt(nonce, plain, aad)

    def decrypt(self, key_id: str, sealed: bytes, aad: bytes) -> bytes:
        """The plain text of ``encrypt``. Raises ``KeyUnknown`` and ``SealBroken``."""
        cipher = self._ciphers.get(self._known(key_id))
        assert cipher is not None
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise _broken(key_id)
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
        except InvalidTag:
            raise _broken(key_id) from None

    def derived(self, key_id: str, salt: bytes, purpose: str) -> AESGCM:
        """The cipher of one stream. Raises ``KeyUnknown``."""
        key = self.keys[self._known(key_id)]
        info = b"sealwax stream\0" + purpose.encode()
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=salt, info=info).derive(key))

    def _known(self, key_id: str) -> str:
        if key_id not in self.keys:
            shown = key_id if _KEY_ID.fullmatch(key_id) else "(not an id)"
            raise KeyUnknown(
                f"sealed under key {shown}, which is not here; add it under [encryption.keys]"
            )
        return key_id


def check_key_id(key_id: str) -> str:
    """The id, if it can be one. Raises ``BadKey``."""
    if not _KEY_ID.fullmatch(key_id):
        raise BadKey(
            "a key's id is 1 to 64 lower case letters, digits, '_' and '-', such as 2026-11"
        )
    return key_id


def new_key() -> str:
    """A new random key, as it stands in a file or a variable."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def parse_key(text: str) -> bytes:
    """The 32 bytes of a key in base64, either alphabet. Raises ``BadKey``, without the text."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise BadKey(f"it is not base64; {KEY_ADVICE}") from None
    if len(key) != KEY_BYTES:
        raise BadKey(f"it has {len(key)} bytes instead of 32; {KEY_ADVICE}")
    return key


def seal(keyring: Keyring, plain: bytes, purpose: str) -> bytes:
    """Seal one message for data at rest; only ``open_sealed`` with the same purpose opens it."""
    head = _head(_MESSAGE, keyring.current)
    return head + keyring.encrypt(plain, _aad(head, purpose))


def open_sealed(keyring: Keyring, sealed: bytes, purpose: str) -> bytes:
    """What ``seal`` sealed. Raises ``KeyUnknown`` and ``SealBroken``."""
    key_id, start = _read_head(_MESSAGE, sealed)
    return keyring.decrypt(key_id, sealed[start:], _aad(sealed[:start], purpose))


class SealingStream:
    """Seals bytes as they come: write what ``take`` returns, then what ``finish`` returns."""

    def __init__(self, keyring: Keyring, purpose: str) -> None:
        salt = os.urandom(SALT_BYTES)
        self._cipher = keyring.derived(keyring.current, salt, purpose)
        self._ready = _head(_STREAM, keyring.current) + salt
        self._held = bytearray()
        self._number = 0

    def take(self, plain: bytes) -> bytes:
        """Sealed bytes to be written next; the last block is always held back."""
        self._held += plain
        sealed = bytearray(self._ready)
        self._ready = b""
        while len(self._held) > BLOCK_BYTES:
            sealed += self._block(bytes(self._held[:BLOCK_BYTES]), last=False)
            del self._held[:BLOCK_BYTES]
        return bytes(sealed)

    def finish(self) -> bytes:
        """The last sealed bytes. Nothing may be taken after it."""
        return self._ready + self._block(bytes(self._held), last=True)

    def _block(self, plain: bytes, *, last: bool) -> bytes:
        nonce = _stream_nonce(self._number, last=last)
        self._number += 1
        return self._cipher.encrypt(nonce, plain, None)


def opened_stream(keyring: Keyring, read: Callable[[int], bytes], purpose: str) -> Iterator[bytes]:
    """What a ``SealingStream`` sealed, in blocks; ``read`` gives at most so many bytes, b"" at end.

    A block is verified before it is given; that nothing was cut off is known with the last one.
    Raises ``KeyUnknown`` and ``SealBroken``, also for what was never sealed.
    """
    start = read(len(_MAGIC) + 2)
    start += read(start[-1]) if len(start) == len(_MAGIC) + 2 else b""
    key_id, _ = _read_head(_STREAM, start)
    cipher = keyring.derived(key_id, _exactly(read, SALT_BYTES), purpose)
    block = _exactly(read, BLOCK_BYTES + TAG_BYTES)
    number = 0
    while True:
        following = _exactly(read, BLOCK_BYTES + TAG_BYTES)
        try:
            plain = cipher.decrypt(_stream_nonce(number, last=not following), block, None)
        except (InvalidTag, ValueError):
            raise _broken(key_id) from None
        if plain or not number:
            yield plain
        if not following:
            return
        block, number = following, number + 1


def _exactly(read: Callable[[int], bytes], size_bytes: int) -> bytes:
    """So many bytes, or all that are left."""
    parts: list[bytes] = []
    while size_bytes and (part := read(size_bytes)):
        parts.append(part)
        size_bytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _stream_nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(NONCE_BYTES - 1, "big") + bytes([last])


def _head(version: int, key_id: str) -> bytes:
    return _MAGIC + bytes([version, len(key_id)]) + key_id.encode()


def _read_head(version: int, sealed: bytes) -> tuple[str, int]:
    """The key id, and where what is sealed begins."""
    start = len(_MAGIC) + 2
    if len(sealed) < start or sealed[: start - 1] != _MAGIC + bytes([version]):
        raise SealBroken(
            "this is not sealed, or by another version of Sealwax; is it from before encryption?"
        )
    end = start + sealed[start - 1]
    return sealed[start:end].decode("ascii", errors="replace"), end


def _aad(head: bytes, purpose: str) -> bytes:
    return head + b"\0" + purpose.encode()


def _broken(key_id: str) -> SealBroken:
    return SealBroken(
        f"what was sealed under key {key_id} does not open: it was changed, or the key of that id"
        " is another one; restore the data or the key"
    )
