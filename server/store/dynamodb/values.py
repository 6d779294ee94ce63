"""Items as Python has them and as DynamoDB's JSON has them, their sizes as DynamoDB counts them, and its limits.

The limits are checked before anything is sent: breaking one is a mistake of this program, so it is a ValueError, and
not every stand-in for DynamoDB would refuse it.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

Value = str | int | float | bytes
Item = dict[str, Value]
Key = tuple[str, str]
"""("pk", "sk")."""
Wire = dict[str, dict[str, str]]
"""An item in DynamoDB's JSON: {name: {"S": text} or {"N": digits} or {"B": base64}}."""

MAX_ITEM_BYTES = 409_600
MAX_PK_BYTES = 2_048
MAX_SK_BYTES = 1_024
MAX_DIGITS = 38
WRITE_UNIT = 1_024
READ_UNIT = 4_096

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_LEAST, _MOST = Decimal("1E-130"), Decimal("9.9999999999999999999999999999999999999E+125")


def to_wire(item: Mapping[str, Value]) -> Wire:
    """An item, or some of its attributes, for a request. ValueError for a number that DynamoDB cannot hold."""
    return {name: wire_value(value) for name, value in item.items()}


def wire_value(value: Value) -> dict[str, str]:
    """One value for a request. ValueError for a number that DynamoDB cannot hold, or another type."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bytes):
        return {"B": b64encode(value).decode("ascii")}
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"an attribute is text, bytes or a number, not {type(value).__name__}")
    return {"N": _number(value)}


def _number(value: int | float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"DynamoDB has no number {value}")
    text = repr(value)
    if isinstance(value, float) or len(text) > MAX_DIGITS:
        size = Decimal(text).copy_abs()  # abs() would round it
        if _significant(size) > MAX_DIGITS or (size and not _LEAST <= size <= _MOST):
            raise ValueError(f"DynamoDB cannot hold the number {text[:60]}: it has 38 digits, from 1E-130 to 1E+126")
    return text


def from_wire(wire: Wire) -> Item:
    """An item of an answer. A number without a fraction is an int, even if it was put as a float."""
    return {name: _value(typed) for name, typed in wire.items()}


def _value(typed: dict[str, str]) -> Value:
    ((kind, text),) = typed.items()
    if kind == "S":
        return text
    if kind == "B":
        return b64decode(text)
    if kind == "N":
        return int(text) if text.lstrip("-").isdigit() else float(text)
    raise ValueError(f"an attribute of type {kind} is none of ours")


def same(one: Wire, other: Wire) -> bool:
    """Whether two items in DynamoDB's JSON are the same; a number may be written in more than one way."""
    return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    if "N" in one and "N" in other:
        return Decimal(one["N"]) == Decimal(other["N"])
    return one == other


def as_json(value: Any) -> bytes:
    """Compact JSON in UTF-8. UnicodeEncodeError, a ValueError, for text that holds half a surrogate pair."""
    return _ENCODER.encode(value).encode()


def key_of(item: Mapping[str, Value]) -> Key:
    """The key of an item. ValueError where a part is missing, no text, empty or too long."""
    pk, sk = item.get("pk"), item.get("sk")
    if not isinstance(pk, str) or not isinstance(sk, str):
        raise ValueError("an item has a pk and an sk, both of them text")
    check_key((pk, sk))
    return pk, sk


def wire_key(key: Key) -> Wire:
    """A key for a request."""
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


def check_key(key: Key) -> None:
    """ValueError where a part of the key is empty or too long."""
    for name, text, most in (("pk", key[0], MAX_PK_BYTES), ("sk", key[1], MAX_SK_BYTES)):
        if not 1 <= len(text.encode()) <= most:
            raise ValueError(f"{name} has {len(text.encode())} bytes; a key has from 1 to {most}")


def check_keys(keys: Iterable[Key]) -> None:
    """ValueError where one breaks a limit or occurs twice: of two writes in one call nobody knows which comes last."""
    seen: set[Key] = set()
    for key in keys:
        check_key(key)
        if key in seen:
            raise ValueError(f"the key {key!r} occurs twice in one call")
        seen.add(key)


def check_item(item: Mapping[str, Value]) -> int:
    """The size of an item that is to be put. ValueError where a limit is broken."""
    key_of(item)
    for value in item.values():
        if not isinstance(value, str | bytes):
            wire_value(value)
    size = item_size(item)
    if size > MAX_ITEM_BYTES:
        raise ValueError(f"an item of {size} bytes is too large; at most {MAX_ITEM_BYTES} are allowed")
    return size


def item_size(item: Mapping[str, Value]) -> int:
    """Bytes of an item as DynamoDB counts them: the names in UTF-8 and the values.

    A number counts a byte for every two of its significant digits, paired from the decimal point on, one more, and one
    more if it is negative; DynamoDB itself promises that only approximately.
    """
    return sum(_text_size(name) + _value_size(value) for name, value in item.items())


def _value_size(value: Value) -> int:
    if isinstance(value, str):
        return _text_size(value)
    if isinstance(value, bytes):
        return len(value)
    if not value:
        return 1
    if isinstance(value, int):
        text = str(abs(value))
        significant, before_point = len(text.rstrip("0")), len(text)
    else:
        number = Decimal(repr(value))
        significant, before_point = _significant(number), number.adjusted() + 1
    lone = before_point % 2  # then the first pair holds one digit, as in 1 23
    return (significant + lone + 1) // 2 + 1 + (value < 0)


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _significant(number: Decimal) -> int:
    """Digits without zeros before and after them."""
    digits = number.as_tuple().digits
    return len(bytes(digits).rstrip(b"\0"))


def write_units(size: int) -> int:
    """What DynamoDB bills for writing an item of this many bytes."""
    return max(1, -(-size // WRITE_UNIT))


def read_units(size: int) -> int:
    """What it bills for a consistent read of this many bytes: one item, or what a page of a query went over."""
    return max(1, -(-size // READ_UNIT))
