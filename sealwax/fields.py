"""A definition as a flat map of fields, and back.

A path's parts are joined by dots: ``subject``, ``recipients.buyer.email``,
``recipients.buyer.tabs.sign_here:here``, ``documents.1.blob``. Things in a list are known by their
first field, tabs by kind and label. A tab, a document's content, reminders and expiration are one
field each, as JSON: half a tab of one caller and half of another would stand where nobody put it.
The walk goes by the types, so that a new field of a definition is a field here as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from sealwax.definition import BlobRef, Definition, Expiration, Reminders, Tab
from sealwax.merge import ENTITY, Fields, Value

_UNITS = (BlobRef, Expiration, Reminders, Tab)
_MARK = ""


def flat(definition: Definition) -> dict[str, Value]:
    """The fields of a definition by their paths. The order of documents and recipients is none."""
    return {".".join(path): value for path, value in _walked((), definition)}


def built(values: Fields) -> Definition:
    """The definition that has these fields; the inverse of ``flat`` but for the order of things.

    Raises ``TypeError`` or ``ValueError`` for fields that no definition has.
    """
    tree: dict[str, Any] = {}
    for path, value in values.items():
        node = tree
        *parents, last = (_unescaped(part) for part in path.split("."))
        for part in parents:
            held = node.setdefault(part, {})
            if not isinstance(held, dict):
                held = node[part] = {_MARK: held}
            node = held
        held = node.get(last)
        if isinstance(held, dict):
            held[_MARK] = value
        else:
            node[last] = value
    definition: Definition = _thing(Definition, tree)
    return definition


def _walked(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Value]]:
    match value:
        case None:
            return
        case StrEnum():
            yield path, str(value)
        case str() | int() | float():
            yield path, value
        case _ if isinstance(value, _UNITS):
            yield path, _json(asdict(value))
        case Mapping():
            for key, held in value.items():
                yield from _walked((*path, _escaped(str(key))), held)
        case tuple() if value and is_dataclass(value[0]):
            for item in value:
                yield from _item((*path, _escaped(_key(item))), item)
        case tuple():
            if value:
                yield path, _json(value)
        case _:
            for field in fields(value):
                yield from _walked((*path, field.name), getattr(value, field.name))


def _item(path: tuple[str, ...], item: Any) -> Iterator[tuple[tuple[str, ...], Value]]:
    if isinstance(item, _UNITS):
        yield path, _json(asdict(item))
        return
    yield path, ENTITY
    for field in fields(item)[1:]:
        yield from _walked((*path, field.name), getattr(item, field.name))


def _key(item: Any) -> str:
    if isinstance(item, Tab):
        return f"{item.kind}:{item.label}"
    return str(getattr(item, fields(item)[0].name))


def _thing(kind: Any, node: Mapping[str, Any], key: str | None = None) -> Any:
    hints, given = _hints(kind), {}
    names = [field.name for field in fields(kind)]
    if key is not None:
        given[names[0]] = hints[names[0]](key)
    for name in names[key is not None :]:
        if name in node:
            given[name] = _value(hints[name], node[name])
    return kind(**given)


def _value(hint: Any, node: Any) -> Any:
    hint = _present(hint)
    origin = get_origin(hint)
    if origin is tuple:
        item = get_args(hint)[0]
        if not isinstance(node, dict):
            return tuple(_value(item, plain) for plain in json.loads(node))
        return tuple(_listed(item, key, held) for key, held in node.items())
    if origin is not None and issubclass(origin, Mapping):
        return {key: _value(get_args(hint)[1], held) for key, held in node.items()}
    if is_dataclass(hint):
        plain = node if isinstance(node, dict) else json.loads(node)
        return _thing(hint, plain)
    return hint(node) if isinstance(hint, type) and issubclass(hint, StrEnum) else node


def _listed(kind: Any, key: str, held: Any) -> Any:
    return _value(kind, held) if kind in _UNITS else _thing(kind, _without_mark(held), key)


def _without_mark(held: Any) -> Mapping[str, Any]:
    return {k: v for k, v in held.items() if k != _MARK} if isinstance(held, dict) else {}


def _present(hint: Any) -> Any:
    """The type of a value that is there, where it may be None as well."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    rest = [kind for kind in get_args(hint) if kind is not NoneType]
    return rest[0] if len(rest) == 1 else object


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _escaped(part: str) -> str:
    """A dot in a label or name is none of the path's; as in JSON pointers, ``~`` escapes."""
    return part.replace("~", "~0").replace(".", "~1")


def _unescaped(part: str) -> str:
    return part.replace("~1", ".").replace("~0", "~")
