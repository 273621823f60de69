"""Payloads in Temporal: JSON as pydantic writes it, encrypted always, refused where they are not.

An encrypted payload has ``encoding: binary/encrypted`` and ``encryption-key-id`` in its metadata;
its data is a nonce of 12 bytes and the AES-256-GCM ciphertext of the whole payload (serialised
protobuf), with the key id as additional data. This is the layout of Temporal's encryption samples
(temporalio/samples-python, ``encryption``), with the key id bound.

An exception in the codec of a worker fails the whole workflow task, again and again, whatever else
came with it. So the codec raises nothing: what does not open is marked, and whoever reads it gets
the error. ``PlainPayload`` is a failure for Temporal: a workflow that was started in plain closes
with it. ``KeyUnknown`` is none: what already stands in a history waits for the key, and nothing is
lost; an update, which its caller can repeat, is refused with it, so that a caller with a key of his
own blocks nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypedDict

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.common import HeaderCodecBehavior
from temporalio.contrib.pydantic import (
    PydanticJSONPlainPayloadConverter,
    PydanticPayloadConverter,
)
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    EncodingPayloadConverter,
    PayloadCodec,
)
from temporalio.exceptions import ApplicationError

from sealwax.crypto import CryptoError, Keyring, KeyUnknown, SealBroken

ENCODING = "encoding"
KEY_ID = "encryption-key-id"
ENCRYPTED = b"binary/encrypted"
REFUSED = "sealwax/refused"
REASON = "reason"

PLAIN_PAYLOAD = "SealwaxPlainPayload"
"""The ``type`` of the failure that answers a plain payload."""


class PlainPayload(ApplicationError, CryptoError):
    """A payload came in clear; nobody reads it. Temporal's failure type ``SealwaxPlainPayload``."""

    def __init__(self) -> None:
        super().__init__(
            "this came unencrypted and was not read; connect with Sealwax's codec"
            " (from other languages: through the codec server)",
            type=PLAIN_PAYLOAD,
            non_retryable=True,
        )


class UnreadablePayload(CryptoError):
    """A payload does not fit what is expected. Says where and how, never with which value."""


class EncryptionCodec(PayloadCodec):
    """Encrypts whatever leaves and decrypts what comes, by the key id that it carries."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload encrypted under the current key."""
        return [encrypted(self._keyring, payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload as it was; one that does not open marked, for its reader to refuse."""
        return [self._decoded(payload) for payload in payloads]

    def _decoded(self, payload: Payload) -> Payload:
        try:
            if is_encrypted(payload):
                return decrypted(self._keyring, payload)
            raise PlainPayload
        except (PlainPayload, KeyUnknown, SealBroken) as error:
            reason = type(error).__name__.encode()
            metadata = {ENCODING: REFUSED.encode(), REASON: reason}
            return Payload(metadata=metadata, data=str(error).encode())


class _RefusedConverter(EncodingPayloadConverter):
    """Raises what the codec found."""

    @property
    def encoding(self) -> str:
        return REFUSED

    def to_payload(self, value: Any) -> Payload | None:
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        for kind in (KeyUnknown, SealBroken):
            if payload.metadata[REASON] == kind.__name__.encode():
                raise kind(payload.data.decode())
        raise PlainPayload


_JSON = PydanticJSONPlainPayloadConverter()
"""One for all: it remembers how each type is read, and every run of a workflow has a converter of
its own, which would learn it anew."""


class SealedPayloadConverter(PydanticPayloadConverter):
    """Pydantic's JSON, behind ``EncryptionCodec``: refuses what did not open.

    Errors of pydantic quote the values that they complain of, and end in logs and in failures; here
    they are told without.
    """

    def __init__(self) -> None:
        super().__init__()
        self._set_converters(*self.converters.values(), _JSON, _RefusedConverter())

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """See the base class.

        Raises ``PlainPayload``, ``KeyUnknown``, ``SealBroken`` and ``UnreadablePayload``.
        """
        try:
            return super().from_payloads(payloads, type_hints)
        except ValidationError as error:
            raise UnreadablePayload(_without_values(error)) from None


class ClientOptions(TypedDict):
    """What a Temporal client is made with, beside its address."""

    data_converter: DataConverter
    header_codec_behavior: HeaderCodecBehavior


def data_converter(keyring: Keyring) -> DataConverter:
    """The converter of every program: arguments, results, failures, notes, all encrypted."""
    return DataConverter(
        payload_converter_class=SealedPayloadConverter,
        payload_codec=EncryptionCodec(keyring),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def client_options(keyring: Keyring) -> ClientOptions:
    """For ``Client.connect`` and ``Client``: the converter, and headers encrypted too."""
    return ClientOptions(
        data_converter=data_converter(keyring),
        header_codec_behavior=HeaderCodecBehavior.CODEC,
    )


def is_encrypted(payload: Payload) -> bool:
    """Whether it says that it is; whether it truly is shows when it is opened."""
    return bool(payload.metadata.get(ENCODING) == ENCRYPTED)


def encrypted(keyring: Keyring, payload: Payload) -> Payload:
    """The payload under the current key."""
    key_id = keyring.current.encode()
    return Payload(
        metadata={ENCODING: ENCRYPTED, KEY_ID: key_id},
        data=keyring.encrypt(payload.SerializeToString(), key_id),
    )


def decrypted(keyring: Keyring, payload: Payload) -> Payload:
    """The payload that was encrypted. Raises ``KeyUnknown`` and ``SealBroken``."""
    key_id = payload.metadata.get(KEY_ID, b"")
    plain = keyring.decrypt(key_id.decode("ascii", errors="replace"), payload.data, key_id)
    return Payload.FromString(plain)


def _without_values(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # A key of a mapping may be a value, too; the name of a field never is.
    parts = (str(part) if _FIELD.fullmatch(str(part)) else "..." for part in first["loc"])
    where = ".".join(parts) or "value"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{error.title} does not fit at {where}: {first['type']}{more}; send what is expected"


_FIELD = re.compile(r"\w{1,40}", re.ASCII)
