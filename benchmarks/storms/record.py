"""What the callers of a storm were told, and what they hold at its end. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Told = Literal["applied", "refused", "rejected", "nothing"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request. ``nothing``: none came, or one that says nothing.

    ``mark`` is the same in every answer to one operation, such as revision and sequence.
    """

    told: Told
    mark: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """How an application sees an envelope at the end.

    ``ended``: it takes it for ended for good. ``attention``: what it needs a person for, and
    ``choices``: what that person may answer. ``recipients``: name, routing order and status by
    e-mail address; None where it keeps no such thing.
    """

    envelope_id: str = ""
    status: str = "unknown"
    ended: bool = False
    attention: str = ""
    choices: frozenset[str] = frozenset()
    recipients: dict[str, tuple[str, int, str]] | None = None


@dataclass(slots=True)
class Record:
    """One life as its callers lived it. ``jobs`` counts the answered ones; ``answers`` holds
    every answer by operation id.

    ``undecidable``: whether the provider's faults were such that nothing could tell what became of
    a request; "perhaps" where they came too late to be sure. ``asked``: the questions that a person
    answered.
    """

    jobs: int = 0
    undecidable: Literal["no", "yes", "perhaps"] = "no"
    asked: list[str] = field(default_factory=list)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    held: Held = field(default_factory=Held)
    troubles: list[str] = field(default_factory=list)
