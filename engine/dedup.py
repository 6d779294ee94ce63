"""What came before: the ids and idempotency keys of the newest rows, bounded by count and by time.

Keys leave in the order they came, decided by the log alone, so a replay forgets the same ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

METRIC, EVENT, REQUEST = range(3)

RECORD = np.dtype(
    [
        ("kind", "u1"), ("key", "V16"), ("stamp", "i8"), ("position", "i8"), ("row", "i4"), ("second", "i4"),
        ("time", "i8"), ("second_time", "i8"),
        ("body", "V8"),
    ]
)


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
        self._seen: dict[tuple[int, bytes], Seen] = {}
        self._stamps: deque[tuple[int, int]] = deque()
        """(stamp, keys that came with it), oldest first."""
        self._new: list[tuple[int, bytes, int, Seen]] = []
        self._chunks: deque[tuple[int, int]] = deque()
        """(chunk number, newest stamp in it) of the stored chunks that still matter."""

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, kind: int, key: bytes) -> Seen | None:
        """Where a key came first, None when it is new or forgotten."""
        return self._seen.get((kind, key))

    def add(self, kind: int, key: bytes, stamp: int, seen: Seen) -> None:
        """Remembers a new key, and forgets the oldest where they are too many."""
        self._seen[kind, key] = seen
        self._new.append((kind, key, stamp, seen))
        if self._stamps and self._stamps[-1][0] == stamp:
            self._stamps[-1] = (stamp, self._stamps[-1][1] + 1)
        else:
            self._stamps.append((stamp, 1))
        # At once, not when time moves: a window that is restored between the two must have forgotten the same ones.
        if len(self._seen) > self.bound.keys:
            oldest, count = self._stamps[0]
            del self._seen[next(iter(self._seen))]
            if count == 1:
                self._stamps.popleft()
            else:
                self._stamps[0] = (oldest, count - 1)

    def expire(self, stamp: int) -> None:
        """Forgets what is too old at a stamp."""
        while self._stamps and self._stamps[0][0] <= stamp - self.bound.age:
            for _ in range(self._stamps.popleft()[1]):
                del self._seen[next(iter(self._seen))]

    def take_chunk(self, number: int) -> bytes | None:
        """What came since the last call, for the store to keep under this number."""
        if not self._new:
            return None
        new, self._new = self._new, []
        self._chunks.append((number, new[-1][2]))
        rows = [
            (kind, key, stamp, s.position, s.row, s.second, s.time, s.second_time, s.body.ljust(8, b"\0"))
            for kind, key, stamp, s in new
        ]
        return np.array(rows, RECORD).tobytes()

    def oldest_chunk(self, newest: int) -> int:
        """The number of the oldest stored chunk that still holds a remembered key; newest + 1 when none does."""
        oldest = self._stamps[0][0] if self._stamps else None
        while self._chunks and (oldest is None or self._chunks[0][1] < oldest):
            self._chunks.popleft()
        return self._chunks[0][0] if self._chunks else newest + 1

    def restore(self, chunks: list[tuple[int, bytes]], stamp: int) -> None:
        """Takes stored chunks, oldest first."""
        for number, data in chunks:
            records = np.frombuffer(data, RECORD)
            for record in records:
                kind, key, at, position, row, second, time, second_time, body = record.item()
                hashed = body if kind == REQUEST else b""
                self.expire(at)  # a key may have been forgotten and have come again
                self.add(kind, bytes(key), at, Seen(position, row, second, bytes(hashed), time, second_time))
            self._new.clear()
            self._chunks.append((number, int(records["stamp"][-1])))
        self.expire(stamp)
