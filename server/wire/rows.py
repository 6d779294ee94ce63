"""What the JSON parsers share: reasons of refusal, row errors, checks of names, ids and times, splitting of bodies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from server.errors import ApiError
from server.limits import MAX_ID, RowLimits
from server.wire.times import parse_time

REASONS = frozenset(
    {
        "bad_json",  # no JSON, or JSON with text that is no UTF-8
        "bad_row",  # JSON, but no object
        "missing_field",
        "bad_type",  # metric_type is none of the five
        "bad_value",  # no finite number
        "bad_name",  # name, event_type or unit
        "bad_labels",
        "bad_timestamp",
        "bad_temporality",
        "bad_id",
        "bad_properties",
        "future",
        "too_old",
        "too_long",
        "too_deep",
        "too_many_errors",  # not read, because too many rows before it in the body were refused
        "bad_body",  # Content-Encoding of a body cannot be undone
        "conflict",  # its Idempotency-Key came before with another body; counted by the engine
    }
)
"""Why a row or a body is refused; one counter each in the ledger."""

MAX_ERRORS_READ = 20_000
"""Refused rows of one body that are looked at one by one; a row after them is refused unread (too_many_errors)."""

MAX_COMMAS = 1_000_000
"""Of a JSON array with refused rows: more are no rows but an attack on memory, and the body is refused."""


class RowError(NamedTuple):
    """One refused row. `at` counts from 0: elements of the array, lines of an NDJSON body."""

    at: int
    reason: str
    message: str


class Refused(ValueError):
    """A row that is refused, with a reason of REASONS and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLACE = re.compile(r"\(byte (\d+)\)")
_FIELD = re.compile(r"`\$\.?(\w*)")
_MISSING = re.compile(r"missing required field `(\w+)`")

raw_row = msgspec.json.Decoder(msgspec.Raw).decode
raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
any_json = msgspec.json.Decoder().decode


def check_name(value: str, what: str, limits: RowLimits, reason: str = "bad_name") -> str:
    """The value, where it is fit for a name: not empty, no control characters, not over the limit, no blank ends."""
    if not value or value != value.strip():
        raise Refused(reason, f"{what} is empty or has blanks at its ends")
    if len(value) > limits.name:
        raise Refused("too_long", f"{what} has {len(value)} characters; at most {limits.name}")
    if _CONTROL.search(value):
        raise Refused(reason, f"{what} has a control character")
    return value


def hash_id(value: str, kind: bytes) -> bytes:
    """The 16 bytes an id is remembered by. The kind keeps ids of metrics, events and requests apart."""
    return blake2b(value.encode(), digest_size=16, person=kind).digest()


def row_time(value: int | float | str | None, arrival: int, oldest: int, limits: RowLimits) -> int:
    """Milliseconds of a row's timestamp, checked against arrival; absent = arrival."""
    if value is None:
        return arrival
    try:
        time = parse_time(value)
    except (ValueError, OverflowError) as error:
        raise Refused("bad_timestamp", f"timestamp: {error}") from error
    if time > arrival + limits.future:
        raise Refused("future", f"timestamp is {(time - arrival) // 1000} s ahead of arrival; at most 600 s")
    if time < arrival - oldest:
        raise Refused("too_old", f"timestamp is {(arrival - time) // 1000} s old; at most {oldest // 1000} s are kept")
    return time


def explain(error: Exception, reasons: dict[str, str]) -> tuple[str, str]:
    """(reason, message) of what a decoder said about one row; `reasons` gives the reason of each field."""
    text = str(error)
    if isinstance(error, RecursionError):
        return "too_deep", "the row is nested too deeply"
    if not isinstance(error, msgspec.ValidationError):
        return "bad_json", text
    if missing := _MISSING.search(text):
        return "missing_field", f"{missing[1]} is missing"
    field = _FIELD.search(text)
    name = field[1] if field else ""
    return reasons.get(name, "bad_row"), text.replace(" - at `$.", " for `") if name else text


def bad_json(error: Exception, body: bytes) -> ApiError:
    """The answer to a body that is no JSON, with the place in it."""
    if isinstance(error, RecursionError):
        return ApiError("bad_json", "the body is nested too deeply")
    message = str(error)
    try:
        body.decode()
    except UnicodeDecodeError as unicode_error:
        place, message = unicode_error.start, "the body is not UTF-8"
    else:
        found = _PLACE.search(message)
        place = int(found[1]) if found else len(body)
    line = body.count(b"\n", 0, place) + 1
    text = f"{_PLACE.sub('', message).strip()} at byte {place}, line {line}"
    return ApiError("bad_json", text, details={"position": place, "line": line})


def refused(error: Exception, body: bytes, reasons: dict[str, str]) -> Exception:
    """What to raise for a single object that a decoder refused: ApiError bad_json where it is no JSON, else Refused."""
    try:
        raw_row(body)  # a decoder stops at a wrong type, though what follows may be no JSON at all
    except (ValueError, RecursionError) as fault:
        return bad_json(fault, body)
    if isinstance(error, msgspec.ValidationError):
        return Refused(*explain(error, reasons))
    return bad_json(error, body)


def parse_id(value: str | int | float, what: str, reason: str = "bad_id") -> str:
    """The text of an id; numbers give theirs."""
    text = value if isinstance(value, str) else str(value)
    if not 0 < len(text) <= MAX_ID:
        raise Refused(reason, f"{what} must have 1 to {MAX_ID} characters")
    return text


def single_rows(body: bytes, lines: bool) -> Iterator[tuple[int, Any]]:
    """(index, bytes) of each row of an array or of NDJSON lines, blank lines left out.

    ApiError bad_json where an array is malformed, body_too_large where it cannot be an array of rows.
    """
    if lines:
        yield from ((i, line) for i, line in enumerate(body.split(b"\n")) if line and not line.isspace())
        return
    if body.count(b",") > MAX_COMMAS:
        raise ApiError("body_too_large", f"the body has faults and over {MAX_COMMAS} values; send smaller ones")
    try:
        rows = raw_rows(body)
    except (ValueError, RecursionError) as error:
        raise bad_json(error, body) from error
    yield from enumerate(rows)
