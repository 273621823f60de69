"""The page at which signers arrive after signing: plain HTML that loads and runs nothing.

It says little, for what it is told may be forged: the address can be typed by anybody who saw it,
and the ``event`` in it by everybody. What the signer did is believed from facts alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

REDIRECT_S = 2

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2733;--soft:#5b6775;--ground:#eef1f5;--card:#fff;
--line:#d5dbe3;--accent:#1f5fbf}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#a3afbd;--ground:#141a21;
--card:#1d252e;--line:#34404d;--accent:#7fb0f5}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:20px;
background:var(--ground);color:var(--ink);font:17px/1.5 system-ui,sans-serif}
main{width:100%;max-width:460px;background:var(--card);border:1px solid var(--line);
border-radius:10px;padding:32px 34px}
h1{font-size:25px;line-height:1.25;margin:0 0 8px}
p{margin:0;color:var(--soft)}
.on{margin-top:22px;padding-top:18px;border-top:1px solid var(--line);font-size:15px}
a{color:var(--accent);font-weight:600;overflow-wrap:anywhere}
"""
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_CLOSE = "You may close this window."
_AGAIN = "Go back to where you came from to open a new one. You may close this window."
_WORDS = {
    "cancel": ("You can finish this later", _CLOSE),
    "ttl_expired": ("This signing link is no longer valid", _AGAIN),
    "session_timeout": ("This signing session has ended", _AGAIN),
    "access_code_failed": ("This signing session has ended", _AGAIN),
    "id_check_failed": ("This signing session has ended", _AGAIN),
    "exception": ("This signing session has ended", _AGAIN),
}
_USUAL = ("You are done here", _CLOSE)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of the session endpoints. ``refused``: the word to count it under, "" for none."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    refused: str = ""


def landing_page(event: str, onward: str, frame_origins: Sequence[str]) -> Page:
    """What a signer sees who came back. ``onward`` "": there is nowhere to be sent on to.

    ``frame_origins``: the applications that may show it in a frame, as they may the signing page.
    """
    title, text = _WORDS.get(event, _USUAL)
    refresh = f'<meta http-equiv="refresh" content="{REDIRECT_S};url={escape(onward)}">\n'
    link = (
        f'<p class="on">Taking you back to <a href="{escape(onward)}" rel="noreferrer">'
        f"{escape(_shown(onward))}</a> &hellip;</p>\n"
    )
    return Page(
        200,
        _html(title, text, refresh if onward else "", link if onward else ""),
        _headers(frame_origins),
    )


def refused_page(status: int, reason: str) -> Page:
    """What anybody sees whose address is not one of ours."""
    body = _html("This address is not valid", "Open it from the application that sent you.", "", "")
    return Page(status, body, _headers(()), reason)


def silent(status: int, reason: str = "") -> Page:
    """An answer that nobody looks at."""
    plain = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))
    return Page(status, b"", plain, reason)


def _html(title: str, text: str, refresh: str, link: str) -> bytes:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"{refresh}<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n{link}</main>\n</body>\n</html>\n"
    ).encode()


def _shown(url: str) -> str:
    return urlsplit(url).netloc


def _headers(frame_origins: Sequence[str]) -> tuple[tuple[str, str], ...]:
    ancestors = " ".join(frame_origins) or "'none'"
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none';"
        f" form-action 'none'; frame-ancestors {ancestors}"
    )
    # X-Frame-Options knows no list; where there is one, only the policy above can say it.
    frames = () if frame_origins else (("x-frame-options", "DENY"),)
    return (
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("content-security-policy", policy),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex"),
        *frames,
    )
