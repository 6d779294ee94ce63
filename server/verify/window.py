"""Which ids and idempotency keys came before: the newest `most` of them, none older than `age` ms."""

from __future__ import annotations

import numpy as np

from engine import dedup

METRIC, EVENT, REQUEST = b"m", b"e", b"r"
_KINDS = {dedup.METRIC: METRIC, dedup.EVENT: EVENT, dedup.REQUEST: REQUEST}


class Window:
    """Keys in the order they came, each with its stamp and the hash of the body it came with, if any."""

    def __init__(self, most: int, age: int) -> None:
        self._most, self._age = most, age
        self._seen: dict[bytes, tuple[int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def load(self, chunk: bytes) -> None:
        """Takes a stored chunk; older ones first."""
        for record in np.frombuffer(chunk, dedup.RECORD):
            kind, stamp = _KINDS[int(record["kind"])], int(record["stamp"])
            body = record["body"].tobytes() if kind == REQUEST else b""
            self.forget(stamp)
            self.add(kind, record["key"].tobytes(), stamp, body)

    def forget(self, stamp: int) -> None:
        """Lets go of what is too old at a stamp."""
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest][0] > stamp - self._age:
                return
            del self._seen[oldest]

    def body_of(self, kind: bytes, key: bytes) -> bytes | None:
        """The body a key came with, None where it did not come."""
        found = self._seen.get(kind + key)
        return None if found is None else found[1]

    def add(self, kind: bytes, key: bytes, stamp: int, body: bytes = b"") -> None:
        """Remembers a key, and forgets the oldest where they are too many."""
        self._seen[kind + key] = stamp, body
        if len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]
