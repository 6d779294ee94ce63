"""What is kept of the rows that admission refuses: their bytes as they came, bounded, and never a header or a key."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from engine.model import MAX_REJECT_BYTES, Reject
from server.wire.rows import MAX_CONTENTS, Refused, RowError

MAX_ENTRY_BYTES = 1 << 20
"""Of the refused rows in one log entry; those beyond are counted, but not kept."""
MAX_MESSAGE = 300
Keyed = tuple[bytes, bytes] | None
"""Hashes of a request's Idempotency-Key and of its body, where it has a key."""


def of_rows(kind: str, errors: Sequence[RowError], keyed: Keyed) -> list[Reject]:
    """The refused rows of a body, as far as their bytes are known."""
    return [_made(kind, error.at, error, error.content, keyed) for error in errors[:MAX_CONTENTS] if error.content]


def of_one(kind: str, error: Refused, body: bytes, keyed: Keyed) -> list[Reject]:
    """The one row that was a body by itself."""
    return [_made(kind, 0, error.at(0), body, keyed)]


def of_body(reason: str, message: str, body: bytes) -> list[Reject]:
    """The beginning of a body that could not be read as rows."""
    return [_made("body", None, RowError(0, reason, message), body, None)]


def fitting(rejects: Sequence[Reject], room: int) -> tuple[Sequence[Reject], int]:
    """As many of them, from the first, as fit into so many bytes; and the room that is left."""
    for number, reject in enumerate(rejects):
        size = len(reject.content) + len(reject.message) + 64
        if size > room:
            return rejects[:number], 0
        room -= size
    return rejects, room


def _made(kind: str, row: int | None, error: RowError, content: bytes, keyed: Keyed) -> Reject:
    cut = len(content) > MAX_REJECT_BYTES
    message = error.message[:MAX_MESSAGE]
    origin = None if keyed is None else blake2b(b"%b%b%d" % (*keyed, error.at), digest_size=16).digest()
    return Reject(kind, row, error.reason, message, error.field, content[:MAX_REJECT_BYTES], cut, origin)
