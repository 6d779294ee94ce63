"""Events in JSON: one object, an array, or NDJSON lines. Properties and metadata are kept as they were sent."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from engine.model import Event
from server.limits import RowLimits
from server.wire.rows import (
    MAX_ERRORS_READ,
    Refused,
    RowError,
    any_json,
    check_name,
    decode_singly,
    hash_id,
    parse_id,
    refused,
    row_time,
    with_contents,
    with_contents_of,
)

MAX_EVENT_BYTES = 256 << 10
"""Of properties and metadata together, as JSON."""

_NULL = Raw(b"null")


class _Row(msgspec.Struct, gc=False):
    event_type: str
    user_id: str | int | float | None = None
    session_id: str | int | float | None = None
    properties: Raw = _NULL
    metadata: Raw = _NULL
    timestamp: int | float | str | None = None
    id: str | int | None = None


_REASONS = {
    "event_type": "bad_name",
    "user_id": "bad_id",
    "session_id": "bad_id",
    "timestamp": "bad_timestamp",
    "id": "bad_id",
}
_row = msgspec.json.Decoder(_Row).decode
_row_array = msgspec.json.Decoder(list[_Row]).decode
_row_lines = msgspec.json.Decoder(_Row).decode_lines


class EventRows(NamedTuple):
    """A parsed body: the good events, the refused rows, and how many there were of both (or refused unread)."""

    events: list[Event]
    errors: list[RowError]
    received: int


class EventParser:
    """Turns bodies into events."""

    def __init__(self, limits: RowLimits | None = None) -> None:
        self._limits = limits or RowLimits()

    def single(self, body: bytes, arrival: int) -> Event:
        """The event of a JSON object that came at `arrival` ms. Refused with the reason; ApiError bad_json."""
        try:
            row = _row(body)
        except (ValueError, RecursionError) as error:
            raise refused(error, body, _REASONS) from error
        return self._event(row, arrival)

    def many(self, body: bytes, arrival: int, lines: bool = False) -> EventRows:
        """The rows of a JSON array, or of NDJSON `lines`. ApiError bad_json where an array is malformed."""
        errors: list[RowError] = []
        contents: dict[int, Any] | None = None
        try:
            found = list(enumerate(_row_lines(body) if lines else _row_array(body)))
            received = len(found)
        except (ValueError, RecursionError):
            found, contents, received = decode_singly(body, lines, _row, _REASONS, errors)
        events: list[Event] = []
        for i, row in found:
            if len(errors) >= MAX_ERRORS_READ:
                break
            try:
                events.append(self._event(row, arrival))
            except Refused as error:
                errors.append(error.at(i))
        errors = with_contents_of(errors, body, lines) if contents is None else with_contents(errors, contents)
        return EventRows(events, errors, received)

    def _event(self, row: _Row, arrival: int) -> Event:
        limits = self._limits
        check_name(row.event_type, "event_type", limits)
        time = arrival if row.timestamp is None else row_time(row.timestamp, arrival, limits.event_age, limits)
        user_id = None if row.user_id is None else parse_id(row.user_id, "user_id")
        session_id = None if row.session_id is None else parse_id(row.session_id, "session_id")
        properties = _check_object(bytes(row.properties), "properties", limits)
        metadata = _check_object(bytes(row.metadata), "metadata", limits)
        body = b'{"properties":%b,"metadata":%b}' % (properties, metadata)
        if len(body) > MAX_EVENT_BYTES:
            raise Refused("too_long", f"properties and metadata have {len(body)} bytes; at most {MAX_EVENT_BYTES}")
        given = None if row.id is None else hash_id(parse_id(row.id, "id"), b"event")
        return Event(time, row.event_type, user_id, session_id, body, given)


def _check_object(raw: bytes, what: str, limits: RowLimits) -> bytes:
    if raw in (b"null", b"{}"):
        return raw
    try:
        value = any_json(raw)  # what is kept must be readable later: text in UTF-8, numbers in range
    except RecursionError:
        raise Refused("too_deep", f"{what} is nested too deeply", what) from None
    except ValueError as error:
        raise Refused("bad_properties", f"{what}: {error}", what) from error
    if not isinstance(value, dict):
        raise Refused("bad_properties", f"{what} is no object", what)
    # Fewer brackets than levels cannot be too deep; more of them may, and are counted properly.
    if raw.count(b"{") + raw.count(b"[") > limits.depth and _depth(value) > limits.depth:
        raise Refused("too_deep", f"{what} is nested over {limits.depth} levels", what)
    return raw


def _depth(value: Any) -> int:
    """Levels of objects and arrays in a JSON value."""
    levels, inside = 0, [value]
    while inside:
        inside = [v for v in inside if isinstance(v, dict | list)]
        levels += bool(inside)
        inside = [v for box in inside for v in (box.values() if isinstance(box, dict) else box)]
    return levels
