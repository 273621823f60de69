"""What all control calls share: reading a request, finding its envelope, and wording refusals."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from simulator.errors import ProviderError, no_envelope
from simulator.model import Envelope
from simulator.plans import BadPlan
from simulator.service import Service

Handler = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """A control call that cannot be done; carries the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(request: Request) -> dict[str, Any]:
    """The JSON object of a request, {} for none; raises Refused."""
    raw = await request.body()
    try:
        value = json.loads(raw) if raw.strip() else {}
    except ValueError:
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body is not an object")
    return value


def required_text(body: dict[str, Any], key: str) -> str:
    """A text under a key; raises Refused when it is missing or empty."""
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise Refused(400, f"{key} is required: give a non-empty string")
    return value


def guarded(handler: Handler) -> Handler:
    """The handler with its errors as answers."""

    async def run(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as error:
            body = {"errorCode": "BAD_CONTROL_CALL", "message": str(error)}
            return JSONResponse(body, error.status)
        except BadPlan as error:
            return JSONResponse({"errorCode": "BAD_PLAN", "message": str(error)}, 400)
        except ProviderError as error:
            status = 404 if error.status == 404 or error.code.startswith("UNKNOWN") else 409
            return JSONResponse(error.body(), status)

    return run


def path_envelope(service: Service, request: Request) -> Envelope:
    """The envelope in a request's path; raises ENVELOPE_DOES_NOT_EXIST."""
    wanted = request.path_params["envelope"]
    envelope = service.ledger.envelopes.get(wanted.lower())
    if envelope is None:
        raise no_envelope(wanted)
    return envelope
