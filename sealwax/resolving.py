"""What only a person can decide, and how the envelope goes on from the decision.

An envelope that needs a person says what is to be decided and what may be answered. The answer is
about that question alone: nothing can be decided that was not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sealwax.absorb import draft_created, mutation_applied
from sealwax.adopting import not_adopted
from sealwax.bookkeeping import answered, told
from sealwax.calls import Applied, Create, Mutate
from sealwax.definition import Refusal, RefusalCode
from sealwax.envelope import Envelope, tried
from sealwax.orphans import ambiguous, spared

Choice = Literal["landed", "not_landed", "adopt", "retry", "give_up"]

GIVEN_UP = "given_up"
"""The code of an answer that a person gave in place of the provider."""

_MUTATING = ("create", "mutate")


@dataclass(frozen=True, slots=True)
class Question:
    """What has to be decided, and what each possible answer means."""

    text: str
    choices: Mapping[Choice, str]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A person's decision. ``provider_envelope_id`` goes with ``adopt`` alone."""

    choice: Choice
    provider_envelope_id: str = ""


def question(state: Envelope) -> Question | None:
    """What the envelope asks a person; None where it goes on by itself."""
    if not state.attention or state.closed:
        return None
    if state.unknown is not None:
        return Question(state.attention, _of_unknown(state.unknown.call))
    choices = _of_blocked(state.blocked)
    return Question(state.attention, choices) if choices else None


def _of_unknown(call: Create | Mutate) -> dict[Choice, str]:
    if isinstance(call, Create):
        return {
            "adopt": "it was made: give the provider's envelope id",
            "not_landed": "it was not made: make it now",
            "give_up": "end this envelope; nothing more is made",
        }
    return {
        "landed": "it took effect: count it as done",
        "not_landed": "it did not take effect: do it now",
        "give_up": "leave it, and tell its caller so",
    }


def _of_blocked(blocked: str) -> dict[Choice, str]:
    again = "the reason is gone: try again now"
    match blocked:
        case "":
            return {}
        case "create":
            return {"retry": again, "give_up": "end this envelope; nothing is made"}
        case "mutate":
            return {"retry": again, "give_up": "leave this change, and tell its caller so"}
        case "archive":
            return {"retry": again, "give_up": "close the envelope without its archive"}
        case "confirm":
            return {"retry": again, "give_up": "close the envelope as it stands here"}
        case "bin":
            return {"retry": again, "give_up": "leave the other envelope as it is"}
        case "adopt":
            return {"retry": again, "give_up": "do not adopt it; it stays as it is"}
        case _:
            return {"retry": again}


def check_resolvable(state: Envelope, decision: Resolved) -> None:
    """Raise ``Refusal`` where nothing is asked, or this is no answer to it; nothing changes."""
    asked = question(state)
    if asked is None:
        raise Refusal(
            RefusalCode.NOTHING_TO_DECIDE,
            "the envelope goes on by itself; there is nothing to decide",
        )
    if decision.choice not in asked.choices:
        possible = "; ".join(f"{choice}: {what}" for choice, what in asked.choices.items())
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"{decision.choice} is no answer to {asked.text!r}; possible are {possible}",
        )
    if (decision.choice == "adopt") != bool(decision.provider_envelope_id):
        raise Refusal(
            RefusalCode.BAD_INPUT,
            "adopt, and nothing else, takes the provider's envelope id; give it",
        )
    if state.in_flight is not None and state.in_flight.kind in _MUTATING:
        raise Refusal(
            RefusalCode.NOTHING_TO_DECIDE,
            "it is being tried again at this moment; see what comes of it",
        )


def resolved(state: Envelope, decision: Resolved, now: datetime) -> Envelope:
    """The envelope after the decision, which stands in its timeline."""
    unknown, blocked = state.unknown, state.blocked
    state = replace(state, attention="", blocked="", retry_at=None, failures={})
    state = told(state, now, f"a person decided: {decision.choice}")
    if decision.choice == "retry":
        return state
    if unknown is not None:
        return _of_outcome(state, unknown.call, decision, now)
    match blocked:
        case "archive":
            return replace(state, archive=())
        case "confirm":
            return replace(state, confirmed=True)
        case "bin":
            return replace(state, orphans=spared(state.orphans))
        case "create":
            return _given_up(state, now, creating=True)
        case "adopt":
            return not_adopted(state, now, "a person decided to leave it")
        case _:
            return _given_up(state, now, creating=False)


def _of_outcome(
    state: Envelope, call: Create | Mutate, decision: Resolved, now: datetime
) -> Envelope:
    match decision.choice:
        case "adopt" if isinstance(call, Create):
            adopted = Applied(provider_envelope_id=decision.provider_envelope_id)
            return replace(draft_created(state, call, adopted, now), refresh_wanted=True)
        case "landed" if isinstance(call, Mutate):
            return replace(mutation_applied(state, call, Applied(), now), refresh_wanted=True)
        case "not_landed":
            head, *rest = state.queue
            return replace(state, unknown=None, queue=(tried(head, call), *rest))
        case _:
            return _given_up(state, now, creating=isinstance(call, Create))


def _given_up(state: Envelope, now: datetime, *, creating: bool) -> Envelope:
    attempts = state.queue[0].attempts + 1
    state = answered(state, "rejected", GIVEN_UP, "a person decided to leave it")
    if not creating:
        return replace(state, refresh_wanted=True)
    # It may have been made after all; nobody will ever want it.
    orphans = ambiguous(state.orphans, attempts, now)
    return replace(state, failed_to_create=True, orphans=orphans)
