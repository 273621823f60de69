"""Control calls about limits: switch them, and ask what was made of them."""

from __future__ import annotations

import math

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from simulator.control_calls import Refused, read_body
from simulator.service import Service


class LimitCalls:
    """The handlers; each takes a request and gives JSON."""

    def __init__(self, service: Service) -> None:
        self._limits = service.limits

    async def get_all(self, _: Request) -> Response:
        """The rules for all accounts, and what happened where they are on."""
        limits = self._limits
        body = {
            "now": limits.now_s(),
            "rules": limits.rules.view(),
            "accounts": limits.truths(None),
        }
        return JSONResponse(body)

    async def patch_all(self, request: Request) -> Response:
        """Change the rules for all accounts; what is not named stays."""
        return JSONResponse(self._limits.patch(await read_body(request)).view())

    async def get(self, request: Request) -> Response:
        """What happened to an account's calls from `?from=` to `?to=`.

        In seconds since 1970, as `now` of an answer; the start is included, the end is not.
        Without them: since its limits are on, until now.
        """
        start_s, end_s = _moment(request, "from"), _moment(request, "to")
        account = self._limits.account(request.path_params["account"])
        return JSONResponse(account.truth(start_s, end_s, self._limits.now_s()))

    async def patch(self, request: Request) -> Response:
        """Change the rules of one account; what is not named stays."""
        account = request.path_params["account"]
        return JSONResponse(self._limits.patch(await read_body(request), account).view())


def _moment(request: Request, name: str) -> float | None:
    text = request.query_params.get(name, "")
    if not text:
        return None
    try:
        moment_s = float(text)
    except ValueError:
        moment_s = math.nan
    if not 0 <= moment_s < 1e11:
        raise Refused(400, f"{name} is a time in seconds since 1970, such as `now` of an answer")
    return moment_s
