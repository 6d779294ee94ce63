"""What came before: the ids and idempotency keys of the newest rows, bounded by count and by time.

Keys leave in the order they came, decided by the log alone, so a replay forgets the same ones. Each is held as the
bytes that the store keeps of it: a million of them are too many for objects.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

METRIC, EVENT, REQUEST = range(3)

RECORD = np.dtype(
    [
        ("kind", "u1"),
        ("key", "V16"),
        ("stamp", "i8"),
        ("position", "i8"),
        ("row", "i4"),
        ("second", "i4"),
        ("time", "i8"),
        ("second_time", "i8"),
        ("body", "V8"),
    ]
)
_PACKED = struct.Struct("<B16sqqiiqq8s")
"""One RECORD."""
_NAME_BYTES = 17
"""Kind and key, which tell a record from all others."""
_STAMP = struct.Struct("<q")


class Seen(NamedTuple):
    """Where a key first came: log position, row, its time; for a request also its first event and its body's hash."""

    position: int
    row: int
    second: int = 0
    body: bytes = b""
    time: int = 0
    second_time: int = 0


@dataclass(frozen=True, slots=True)
class Bound:
    """How many keys are remembered, and for how many ms."""

    keys: int = 1_000_000
    age: int = 24 * 3_600_000


class Window:
    """Keys with where they came first."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self._seen: dict[bytes, bytes] = {}
        """Kind and key -> the record."""
        self._order: deque[bytes] = deque()
        """The same names, oldest first: a dict is slow to give its first."""
        self._new: list[bytes] = []
        self._chunks: deque[tuple[int, int]] = deque()
        """(chunk number, newest stamp in it) of the stored chunks that still matter."""

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, kind: int, key: bytes) -> Seen | None:
        """Where a key came first, None when it is new or forgotten."""
        record = self._seen.get(bytes((kind,)) + key)
        if record is None:
            return None
        _, _, _, position, row, second, time, second_time, body = _PACKED.unpack(record)
        return Seen(position, row, second, body if kind == REQUEST else b"", time, second_time)

    def add(self, kind: int, key: bytes, stamp: int, seen: Seen) -> None:
        """Remembers a new key of 16 bytes, and forgets the oldest where they are too many."""
        at = seen.position, seen.row, seen.second, seen.time, seen.second_time
        record = _PACKED.pack(kind, key, stamp, *at, seen.body)
        self._new.append(record)
        self._hold(record)

    def expire(self, stamp: int) -> None:
        """Forgets what is too old at a stamp."""
        while self._order and self._oldest() <= stamp - self.bound.age:
            del self._seen[self._order.popleft()]

    def take_chunk(self, number: int) -> bytes | None:
        """What came since the last call, for the store to keep under this number."""
        if not self._new:
            return None
        new, self._new = self._new, []
        self._chunks.append((number, _stamp_of(new[-1])))
        return b"".join(new)

    def take_back(self, number: int, chunk: bytes | None) -> None:
        """The store has not got the newest chunk after all: what is in it comes with the next."""
        if chunk is None:
            return
        size = _PACKED.size
        self._new[:0] = [chunk[at : at + size] for at in range(0, len(chunk), size)]
        if self._chunks and self._chunks[-1][0] == number:
            self._chunks.pop()

    def oldest_chunk(self, newest: int) -> int:
        """The number of the oldest stored chunk that still holds a remembered key; newest + 1 when none does."""
        while self._chunks and (not self._order or self._chunks[0][1] < self._oldest()):
            self._chunks.popleft()
        return self._chunks[0][0] if self._chunks else newest + 1

    def restore(self, chunks: list[tuple[int, bytes]], stamp: int) -> None:
        """Takes stored chunks, oldest first."""
        for number, data in chunks:
            for at in range(0, len(data), _PACKED.size):
                record = data[at : at + _PACKED.size]
                self.expire(_stamp_of(record))  # a key may have been forgotten and have come again
                self._hold(record)
            self._chunks.append((number, _stamp_of(data[-_PACKED.size :])))
        self.expire(stamp)

    def _hold(self, record: bytes) -> None:
        name = record[:_NAME_BYTES]
        self._seen[name] = record
        self._order.append(name)
        # At once, not when time moves: a window that is restored between the two must have forgotten the same ones.
        if len(self._order) > self.bound.keys:
            del self._seen[self._order.popleft()]

    def _oldest(self) -> int:
        return _stamp_of(self._seen[self._order[0]])


def _stamp_of(record: bytes) -> int:
    stamp: int = _STAMP.unpack_from(record, _NAME_BYTES)[0]
    return stamp
