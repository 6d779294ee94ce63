"""The bounded memory of series that came before, keyed by the bytes they came in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.model import Codes

MAX_ENTRIES = 250_000
MAX_BYTES = 128 << 20
_OVERHEAD = 250  # bytes of one entry besides its texts: objects, table slots

Hot = dict[str, dict[bytes, int]]
"""metric_type -> JSON of name, tags, unit and source, joined -> code. Each JSON value shows where it ends."""
Lookup = tuple[str, str, bytes, str | None, str | None, str | None]
"""name, metric_type, bytes of the tags, unit, source, temporality."""


class Known(NamedTuple):
    """A checked series: its packed key, and the JSON of a stored metric before and after the value and the time."""

    key: bytes
    head: bytes
    tail: bytes


class KeyCache:
    """Two tables: `hot` gives dense codes for whole columns, `known` gives one row's key and answer.

    A full table takes nothing more, so that what it holds goes on to be found; after as many misses as it has
    entries it is emptied, so that it follows a set of series that has changed.
    """

    def __init__(self, entries: int = MAX_ENTRIES, size: int = MAX_BYTES) -> None:
        self.hot: Hot = {}
        self.known: dict[Lookup, Known] = {}
        self._codes: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self._kept = 0  # keys from here on are of the present body only
        self._entries = entries
        self._size = size
        self._hot_bytes = self._hot_misses = 0
        self._known_bytes = self._known_misses = 0

    def follow(self) -> Hot:
        """The hot table, emptied where it has missed too often. Codes given before are void."""
        self._drop_passing()
        if self._hot_misses > len(self._keys):
            self.hot, self._codes, self._keys = {}, {}, []
            self._kept = self._hot_bytes = self._hot_misses = 0
        return self.hot

    def add_hot(self, metric_type: str, text: bytes, key: bytes) -> int:
        """The code of a series that was not in the hot table; remembered there where there is room."""
        full = self._kept >= self._entries or self._hot_bytes > self._size
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self._keys)
            self._keys.append(key)
        if full:
            self._hot_misses += 1
        elif code <= self._kept:
            self._kept = max(self._kept, code + 1)
            self.hot.setdefault(metric_type, {})[text] = code
            self._hot_bytes += len(text) + len(key) + _OVERHEAD
        return code

    def add_known(self, lookup: Lookup, known: Known) -> None:
        """Remember a checked series, where there is room."""
        if len(self.known) >= self._entries or self._known_bytes > self._size:
            self._known_misses += 1
            if self._known_misses < len(self.known):
                return
            self.known, self._known_bytes, self._known_misses = {}, 0, 0
        self.known[lookup] = known
        self._known_bytes += len(lookup[2]) + len(known.key) + len(known.head) + len(known.tail) + _OVERHEAD

    def table(self, codes: Codes) -> tuple[list[bytes], bool]:
        """All keys by their code; and whether those of `codes` will last, or only until the cache is used again."""
        return self._keys, int(codes.max(initial=-1)) < self._kept

    def _drop_passing(self) -> None:
        for key in self._keys[self._kept :]:
            del self._codes[key]
        del self._keys[self._kept :]


class Distinct:
    """Finds the distinct among codes, in time linear in the rows; a sort would cost ten times as much."""

    def __init__(self) -> None:
        self._last: Codes = np.empty(1024, np.int32)

    def __call__(self, keys: list[bytes], codes: Codes) -> tuple[list[bytes], Codes]:
        """The keys that the codes name, once each, and every row's index into them."""
        if len(self._last) < len(keys):
            self._last = np.empty(2 * len(keys), np.int32)
        rows = np.arange(len(codes), dtype=np.int32)
        last = self._last
        last[codes] = rows  # of equal codes one row stays, and stands for all of them
        chosen = codes[last[codes] == rows]
        last[chosen] = rows[: len(chosen)]
        return list(map(keys.__getitem__, chosen.tolist())), last[codes]
