"""The values in an event's body that queries ask for by path, for stores that cannot look into JSON themselves."""

from __future__ import annotations

import json

from server.store import FieldValue, StoredEvent

_MIN, _MAX = -(1 << 63), (1 << 63) - 1
_OWN = ("event_type", "user_id", "session_id")


def split_path(path: str) -> list[str]:
    """The names of a path such as properties.plan. ValueError for one that is empty or has an empty part."""
    names = path.split(".")
    if not all(names):
        raise ValueError(f"{path!r} is no path of a field; write it like properties.plan")
    return names


def body_value(body: bytes, names: list[str]) -> FieldValue:
    """The value at the end of a path in a body, in the forms that `Store.events_scan` promises."""
    return _at(_loaded(body), names)


def event_values(event: StoredEvent, paths: list[list[str]]) -> list[FieldValue]:
    """The values of an event at some paths; its body is read once."""
    own = dict(zip(_OWN, (event.type, event.user_id, event.session_id), strict=True))
    body = _loaded(event.body) if any(len(names) > 1 or names[0] not in own for names in paths) else None
    return [own[names[0]] if len(names) == 1 and names[0] in own else _at(body, names) for names in paths]


def _loaded(body: bytes) -> object:
    try:
        found: object = json.loads(body.decode("utf-8", "replace"), parse_int=_integer)
        return found
    except (ValueError, RecursionError):
        return None  # taken for JSON by whoever sent it, and nested too deep for Python


def _at(value: object, names: list[str]) -> FieldValue:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if isinstance(value, int | float) else None


def _integer(text: str) -> int | float:
    """A JSON integer as SQLite reads it: what 64 bits do not hold becomes a float."""
    value = int(text) if len(text) <= 20 else None
    return float(text) if value is None or not _MIN <= value <= _MAX else value
