"""Errors of the provider, as its REST API words them: `{"errorCode", "message"}`.

The HTTP status of most codes is not published; clients are told to branch on `errorCode`. Where
a status is our choice, the constructor function says so.
"""

from __future__ import annotations


class ProviderError(Exception):
    """A refusal with the provider's own code; carried to the client as `errorDetails`."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> dict[str, str]:
        """The `errorDetails` object."""
        return {"errorCode": self.code, "message": self.message}


def invalid_body(message: str) -> ProviderError:
    """400 INVALID_REQUEST_BODY: the body cannot be read or lacks what the operation needs."""
    return ProviderError("INVALID_REQUEST_BODY", f"The request body is invalid. {message}")


def invalid_parameter(message: str) -> ProviderError:
    """400 INVALID_REQUEST_PARAMETER (the code for these cases is our choice, unverified)."""
    text = "The request contained at least one invalid parameter."
    return ProviderError("INVALID_REQUEST_PARAMETER", f"{text} {message}")


def no_envelope(envelope_id: str) -> ProviderError:
    """ENVELOPE_DOES_NOT_EXIST; answered with 404, which is unverified (400 has been seen too)."""
    text = f"The envelope specified does not exist. EnvelopeId: {envelope_id}"
    return ProviderError("ENVELOPE_DOES_NOT_EXIST", text, 404)


def wrong_status(*allowed: str) -> ProviderError:
    """400 ENVELOPE_INVALID_STATUS, worded as SPEC Recipients_PutRecipients words it."""
    names = ", ".join(allowed)
    text = f"Invalid envelope status. Envelope status is not one of: {names}."
    return ProviderError("ENVELOPE_INVALID_STATUS", text)


def cannot_void() -> ProviderError:
    """400 ENVELOPE_CANNOT_VOID_INVALID_STATE: only sent and delivered envelopes can be voided."""
    return ProviderError(
        "ENVELOPE_CANNOT_VOID_INVALID_STATE",
        "Only envelopes in the 'Sent' or 'Delivered' states may be voided.",
    )


def not_lock_owner() -> ProviderError:
    """400 EDIT_LOCK_NOT_LOCK_OWNER, also the answer to setting status `correct` by the API."""
    return locked("EDIT_LOCK_NOT_LOCK_OWNER")


def locked(code: str) -> ProviderError:
    """400 with a code of edit locks; only the text of EDIT_LOCK_NOT_LOCK_OWNER is published."""
    text = "The user is not the owner of the lock. The envelope is locked by another user or in "
    return ProviderError(code, text + "another application")


def unknown_recipient() -> ProviderError:
    """400 UNKNOWN_ENVELOPE_RECIPIENT: name, e-mail, id or clientUserId fits no recipient."""
    return ProviderError(
        "UNKNOWN_ENVELOPE_RECIPIENT",
        "The recipient you have identified is not a valid recipient of the specified envelope.",
    )


def not_in_sequence() -> ProviderError:
    """400 RECIPIENT_NOT_IN_SEQUENCE: the routing order has not reached this recipient."""
    return ProviderError(
        "RECIPIENT_NOT_IN_SEQUENCE",
        "The token for an out of sequence recipient cannot be generated.",
    )


def recipient_update_failed() -> ProviderError:
    """RECIPIENT_UPDATE_FAILED, given per item in a 200 body (SPEC Recipients_PutRecipients)."""
    return ProviderError(
        "RECIPIENT_UPDATE_FAILED",
        "The recipient could not be updated.  Recipient not in state that allows correction.",
    )


def invalid_token() -> ProviderError:
    """401 AUTHORIZATION_INVALID_TOKEN: unknown, expired or revoked bearer token."""
    text = "The access token provided is expired, revoked or malformed."
    return ProviderError("AUTHORIZATION_INVALID_TOKEN", text, 401)


def no_credentials() -> ProviderError:
    """401 USER_AUTHENTICATION_FAILED: the call carries no bearer token."""
    text = "One or both of Username and Password are invalid."
    return ProviderError("USER_AUTHENTICATION_FAILED", text, 401)


def unauthorized(code: str) -> ProviderError:
    """401 with a code of a token that does not hold any more; its text is ours."""
    known = {e.code: e for e in (invalid_token(), no_credentials())}
    return known[code]


def gateway_error() -> ProviderError:
    """500 UNSPECIFIED_ERROR: the code of an ambiguous failure (docusign-esign-csharp #136)."""
    return ProviderError("UNSPECIFIED_ERROR", "Non-specified error.", 500)


def account_refused(account_id: str) -> ProviderError:
    """USER_LACKS_PERMISSIONS for an account the token's user is no member of (403, unverified)."""
    text = f"This user lacks sufficient permissions to access this resource. Account: {account_id}"
    return ProviderError("USER_LACKS_PERMISSIONS", text, 403)


def wrong_recipient_status(status: str) -> ProviderError:
    """400 RECIPIENT_UPDATE_FAILED for a recipient who is done already (code unverified)."""
    return ProviderError("RECIPIENT_UPDATE_FAILED", f"The recipient is {status} already.")
