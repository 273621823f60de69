"""The signing page: plain HTML without outside assets, which works without script as well.

The script saves what is typed, moves to the page's own address (the signing URL is spent by its
first use), notices a session that ended meanwhile, and says when the window closes.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

from simulator.ceremony import ADOPTED_NAME, fields, prefilled, read_only
from simulator.model import Envelope, Recipient
from simulator.sessions import Session

AUTOSAVE_MS = 250

_INPUT_TYPES = {"emailTabs": "email"}
_INPUT_MODES = {"numberTabs": "decimal"}

_STYLE = """
:root{color-scheme:light;--ink:#1d2733;--soft:#5b6775;--line:#d5dbe3;--accent:#1f5fbf}
*{box-sizing:border-box}
body{margin:0;background:#eef1f5;color:var(--ink);font:16px/1.5 system-ui,sans-serif}
header{background:#fff;border-bottom:1px solid var(--line);padding:14px 20px}
header p{max-width:640px}
main{max-width:680px}
header p,main{margin:0 auto}
header p{color:var(--soft);font-size:14px}
main{padding:28px 20px 48px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px}
h2{font-size:15px;margin:0 0 10px}
.who{color:var(--soft);margin:0 0 22px}
section{background:#fff;border:1px solid var(--line);border-radius:8px;padding:18px 20px;
margin:0 0 16px}
ul{list-style:none;margin:0;padding:0}
li{padding:4px 0;overflow-wrap:anywhere}
label{display:block;margin:0 0 14px;font-weight:600;font-size:14px}
label:last-child{margin:0}
label span{color:var(--soft);font-weight:400}
input,select{display:block;width:100%;margin-top:5px;padding:9px 11px;font:inherit;
font-weight:400;font-size:16px;border:1px solid #9aa5b3;border-radius:6px;background:#fff}
input[type=checkbox]{display:inline-block;width:auto;margin:0 8px 0 0}
input:focus,select:focus,button:focus-visible{outline:3px solid #a9c8f5;outline-offset:1px}
input.name{font-family:Georgia,"DejaVu Serif",serif;font-style:italic;font-size:20px}
.acts{display:flex;flex-wrap:wrap;gap:10px;align-items:center}
button{font:inherit;font-weight:600;padding:10px 18px;border-radius:6px;cursor:pointer;
border:1px solid #9aa5b3;background:#fff;color:var(--ink)}
button.main{background:var(--accent);border-color:var(--accent);color:#fff}
button.bad{color:#a32020;border-color:#d9a5a5}
.note{color:var(--soft);font-size:14px;margin:12px 0 0;min-height:21px}
"""

_SCRIPT = """
"use strict";
const page = PAGE, form = document.querySelector("form"), note = document.querySelector(".note");
history.replaceState(null, "", page);
let timer = 0, idle = 0, leaving = false;
const post = (action, extra) => fetch(page, {method: "POST", keepalive: true,
  headers: {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"},
  body: new URLSearchParams([...extra, ["action", action]])});
const away = () => { leaving = true; location.replace(page); };
const rest = ms => { clearTimeout(idle); idle = setTimeout(away, ms); };
const save = async () => {
  timer = 0;
  try {
    const answer = await (await post("type", new FormData(form))).json();
    if (answer.returnUrl) { leaving = true; location.replace(answer.returnUrl); return; }
    note.textContent = "Saved in this session";
  } catch { note.textContent = "Not saved: no connection"; }
};
form.addEventListener("input", () => {
  rest(IDLE); note.textContent = ""; if (!timer) timer = setTimeout(save, AUTOSAVE);
});
form.addEventListener("submit", () => { leaving = true; clearTimeout(timer); });
addEventListener("pagehide", () => { if (!leaving) post("close-window", [["load", LOAD]]); });
addEventListener("pageshow", event => { if (event.persisted) away(); });
rest(LEFT);
document.documentElement.dataset.ready = "yes";
"""


def signing_page(
    envelope: Envelope,
    recipient: Recipient,
    session: Session,
    nonce: str,
    idle_s: tuple[float, float],
) -> str:
    """The page of an open session.

    `idle_s`: seconds without input after which the session is over, and what is left of them.
    """
    closed = read_only(envelope, recipient)
    documents = "".join(f"<li>{escape(d.name)}</li>" for d in envelope.definition.documents)
    many = "Documents" if len(envelope.definition.documents) > 1 else "Document"
    script = (
        _SCRIPT.replace("AUTOSAVE", str(AUTOSAVE_MS), 1)
        .replace("IDLE", str(_timer_ms(idle_s[0])), 1)
        .replace("LEFT", str(_timer_ms(idle_s[1])), 1)
        .replace("LOAD", str(session.loads), 1)
        .replace("PAGE", _literal(session.page), 1)
    )
    subject = escape(envelope.definition.email_subject)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{subject}</title><style nonce="{nonce}">{_STYLE}</style></head><body>'
        "<header><p>Simulated provider, nothing binding</p></header><main>"
        f'<h1>{subject}</h1><p class="who">For {escape(recipient.name)}</p>'
        f'<form method="post" action="{escape(session.page)}" autocomplete="off">'
        f"<section><h2>{many}</h2><ul>{documents}</ul></section>"
        f"{_closed() if closed else _fields(envelope, recipient, session) + _buttons()}"
        f'<p class="note" role="status"></p></form></main>'
        f'<script nonce="{nonce}">{script}</script></body></html>'
    )


def _timer_ms(wait_s: float) -> int:
    # A little late rather than early; browsers count in 32 bits.
    return min(round(wait_s * 1000) + 50, 2**31 - 1)


def _literal(text: str) -> str:
    return json.dumps(text).replace("<", "\\u003c")


def _closed() -> str:
    return (
        "<section><h2>There is nothing left to do here</h2>"
        '<div class="acts"><button class="main" name="action" value="cancel">Close</button></div>'
        "</section>"
    )


def _buttons() -> str:
    return (
        '<div class="acts"><button class="main" name="action" value="sign">Sign</button>'
        '<button name="action" value="finish-later" formnovalidate>Finish later</button>'
        '<button name="action" value="cancel" formnovalidate>Cancel</button>'
        '<button class="bad" name="action" value="decline" formnovalidate>Decline</button></div>'
    )


def _fields(envelope: Envelope, recipient: Recipient, session: Session) -> str:
    held = {**prefilled(envelope, recipient), **session.values}
    inputs = "".join(
        _input(kind, tab, str(tab["tabLabel"]), held[str(tab["tabLabel"])])
        for kind, tab in fields(recipient)
    )
    adopted = escape(held[ADOPTED_NAME])
    return (
        f"<section><h2>To fill in</h2>{inputs}"
        f'<label>Signature <input class="name" name="{ADOPTED_NAME}" value="{adopted}" required>'
        "</label></section>"
    )


def _input(kind: str, tab: dict[str, Any], label: str, value: str) -> str:
    needed = str(tab.get("required", "")).lower() == "true"
    name, must = f'name="{escape(label)}"', " required" if needed else ""
    caption = escape(label) + ("" if needed else " <span>(optional)</span>")
    if kind == "checkboxTabs":
        mark = " checked" if value else ""
        # The hidden field says "unchecked", which a form leaves out otherwise.
        return (
            f'<input type="hidden" {name} value="">'
            f'<label><input type="checkbox" {name} value="X"{mark}{must}>{caption}</label>'
        )
    if kind == "listTabs":
        items = tab.get("listItems")
        choices = [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []
        options = '<option value=""></option>'
        for item in choices:
            text = str(item.get("text") or item.get("value") or "")
            choice = str(item.get("value") or text)
            mark = " selected" if choice == value else ""
            options += f'<option value="{escape(choice)}"{mark}>{escape(text)}</option>'
        return f"<label>{caption}<select {name}{must}>{options}</select></label>"
    form = _INPUT_TYPES.get(kind, "text")
    mode = f' inputmode="{_INPUT_MODES[kind]}"' if kind in _INPUT_MODES else ""
    filled = escape(value)
    return f'<label>{caption}<input type="{form}"{mode} {name} value="{filled}"{must}></label>'
