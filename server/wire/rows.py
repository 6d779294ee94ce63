"""What the JSON parsers share: reasons of refusal, row errors, checks of names, ids and times, splitting of bodies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import msgspec

from engine.model import MAX_REJECT_BYTES
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


MAX_CONTENTS = 100
"""Of the refused rows of one body, as many come with their bytes."""


class RowError(NamedTuple):
    """One refused row. `at` counts from 0: elements of the array, lines of an NDJSON body."""

    at: int
    reason: str
    message: str
    field: str | None = None
    """The one at fault, where that is known."""
    content: bytes = b""
    """The row as it came, of the first MAX_CONTENTS; cut off after MAX_REJECT_BYTES + 1."""


class Refused(ValueError):
    """A row that is refused, with a reason of REASONS, a sentence and the field at fault, where there is one."""

    def __init__(self, reason: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.reason, self.field = reason, field

    def at(self, row: int) -> RowError:
        """As the error of a row."""
        return RowError(row, self.reason, str(self), self.field)


Row = TypeVar("Row")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PLACE = re.compile(r"\(byte (\d+)\)")
_FIELD = re.compile(r"`\$\.?(\w*)")
_MISSING = re.compile(r"missing required field `(\w+)`")

raw_row = msgspec.json.Decoder(msgspec.Raw).decode
raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_raw_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
any_json = msgspec.json.Decoder().decode


def check_name(value: str, what: str, limits: RowLimits, reason: str = "bad_name", field: str | None = None) -> str:
    """The value, where it is fit for a name: not empty, no control characters, not over the limit, no blank ends.

    field: where it stands, if that is not called `what`.
    """
    field = field or what
    if not value or value != value.strip():
        raise Refused(reason, f"{what} is empty or has blanks at its ends", field)
    if len(value) > limits.name:
        raise Refused("too_long", f"{what} has {len(value)} characters; at most {limits.name}", field)
    if _CONTROL.search(value):
        raise Refused(reason, f"{what} has a control character", field)
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
        raise Refused("bad_timestamp", f"timestamp: {error}", "timestamp") from error
    if time > arrival + limits.future:
        ahead = (time - arrival) // 1000
        raise Refused("future", f"timestamp is {ahead} s ahead of arrival; at most 600 s", "timestamp")
    if time < arrival - oldest:
        age = (arrival - time) // 1000
        raise Refused("too_old", f"timestamp is {age} s old; at most {oldest // 1000} s are kept", "timestamp")
    return time


def explain(error: Exception, reasons: dict[str, str]) -> Refused:
    """What a decoder said about one row; `reasons` gives the reason of each field."""
    text = str(error)
    if isinstance(error, RecursionError):
        return Refused("too_deep", "the row is nested too deeply")
    if not isinstance(error, msgspec.ValidationError):
        return Refused("bad_json", text)
    if missing := _MISSING.search(text):
        return Refused("missing_field", f"{missing[1]} is missing", missing[1])
    field = _FIELD.search(text)
    name = field[1] if field else ""
    message = text.replace(" - at `$.", " for `") if name else text
    return Refused(reasons.get(name, "bad_row"), message, name or None)


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
        return explain(error, reasons)
    return bad_json(error, body)


def parse_id(value: str | int | float, what: str, reason: str = "bad_id") -> str:
    """The text of an id; numbers give theirs."""
    text = value if isinstance(value, str) else str(value)
    if not 0 < len(text) <= MAX_ID:
        raise Refused(reason, f"{what} must have 1 to {MAX_ID} characters", what)
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


def decode_singly(
    body: bytes, lines: bool, decode: Callable[[Any], Row], reasons: dict[str, str], errors: list[RowError]
) -> tuple[list[tuple[int, Row]], dict[int, Any], int]:
    """(index and row, index -> bytes) of the rows that can be decoded, and how many there are of all.

    The others join the errors, which are looked at no more when there are MAX_ERRORS_READ.
    """
    found: list[tuple[int, Row]] = []
    contents: dict[int, Any] = {}
    received = 0
    for i, raw in single_rows(body, lines):
        received += 1
        if len(errors) >= MAX_ERRORS_READ:
            continue
        try:
            found.append((i, decode(raw)))
            contents[i] = raw
        except (ValueError, RecursionError) as error:
            fault = explain(error, reasons).at(i)
            content = _content(raw) if len(errors) < MAX_CONTENTS else b""
            message = f"line {i + 1}: {fault.message}" if lines else fault.message
            errors.append(fault._replace(message=message, content=content))
    return found, contents, received


def with_contents(errors: list[RowError], rows: Sequence[Any] | Mapping[int, Any]) -> list[RowError]:
    """The errors in order; the first of them with the bytes of their rows, which are in `rows` by their index."""
    errors.sort()
    for number, error in enumerate(errors[:MAX_CONTENTS]):
        if not error.content:
            errors[number] = error._replace(content=_content(rows[error.at]))
    return errors


def with_contents_of(errors: list[RowError], body: bytes, lines: bool) -> list[RowError]:
    """As `with_contents`, where a whole body was decoded at once: blank lines did not count as rows then."""
    if not errors:
        return errors
    if not lines:
        return with_contents(errors, raw_rows(body))
    rows = _raw_lines(body)
    found = with_contents(errors, rows)
    numbers = [i for i, line in enumerate(body.split(b"\n")) if line and not line.isspace()]
    if len(numbers) != len(rows):  # more or less than one row to a line: rows are all there is to count
        return found
    return [error._replace(at=numbers[error.at]) for error in found]


def _content(raw: Any) -> bytes:
    return bytes(memoryview(raw)[: MAX_REJECT_BYTES + 1])
