"""Three-way merge of an envelope's fields, and what callers are told of conflicts.

Fields are a flat map of path to value; a path that is missing means that the field is not there.
``base`` is what a caller read, ``ours`` what it wants to leave, ``theirs`` what stands by now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = str | int | float | bool
Fields = Mapping[str, Value]

ENTITY = True
"""The value at the path of a thing that has fields of its own, such as ``recipients.buyer``."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The revision that a caller read before it asked. With ``merge``, a request may be joined
    with what others changed since then, unless both touch the same field."""

    revision: int
    merge: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """One field's value before a revision changed it; None where it was not there."""

    revision: int
    path: str
    before: Value | None


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that others changed: as the caller read it, as it is now, None where it is absent.

    ``wanted`` is what the caller would have left there; ``overlaps``: both touched it.
    """

    path: str
    before: Value | None
    now: Value | None
    wanted: Value | None = None
    overlaps: bool = False


@dataclass(frozen=True, slots=True)
class ConflictView:
    """Why a request that named a revision was refused.

    ``correlation_id`` is made of the envelope and the operation id, so that it is the same however
    often the answer is asked for. ``expected`` is the revision that the caller had read,
    ``revision`` the one that stood. ``changed`` lists what others changed in between, overlapping
    fields first; ``more`` counts those left out. Long values are cut short.
    """

    correlation_id: str
    expected: int
    revision: int
    changed: tuple[FieldChange, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class Merged:
    """What both sides come to. ``conflicts`` are paths that both changed, each otherwise; there
    ``values`` keeps theirs."""

    values: dict[str, Value]
    conflicts: tuple[str, ...]


def differing(one: Fields, other: Fields) -> tuple[str, ...]:
    """The paths whose values differ, sorted. A bool never equals a number."""
    return tuple(
        path for path in sorted({*one, *other}) if not _same(one.get(path), other.get(path))
    )


def merge3(base: Fields, ours: Fields, theirs: Fields) -> Merged:
    """Join two changes of one base. What one side left alone is as the other side left it.

    The same change on both sides is that change. A thing that one side deleted conflicts with
    whatever the other side changed or added in it.
    """
    mine, others = set(differing(base, ours)), set(differing(base, theirs))
    conflicts = {p for p in mine & others if not _same(ours.get(p), theirs.get(p))}
    conflicts |= _inside(_deleted(base, ours), others - conflicts, theirs, ours)
    conflicts |= _inside(_deleted(base, theirs), mine - conflicts, ours, theirs)
    values = dict(theirs)
    for path in mine - conflicts:
        if path in ours:
            values[path] = ours[path]
        else:
            values.pop(path, None)
    return Merged(values, tuple(sorted(conflicts)))


def _deleted(base: Fields, side: Fields) -> tuple[str, ...]:
    return tuple(f"{p}." for p, v in base.items() if v is ENTITY and p not in side)


def _inside(
    prefixes: tuple[str, ...], paths: set[str], changer: Fields, deleter: Fields
) -> set[str]:
    """What stands inside of something deleted and was left there otherwise by the other side."""
    return {
        p for p in paths if p.startswith(prefixes) and not _same(changer.get(p), deleter.get(p))
    }


def _same(one: Value | None, other: Value | None) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
