"""The newest raw samples, in a ring: for lists of raw rows and for aggregations that want raw values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.model import Codes, Floats, Ints

_DTYPE = np.dtype([("series", "i4"), ("row", "i4"), ("time", "i8"), ("position", "i8"), ("value", "f8")])


class Raw(NamedTuple):
    """Raw samples as columns, in log order."""

    series: Codes
    rows: Codes
    times: Ints
    positions: Ints
    values: Floats


class Newest:
    """The newest `size` samples in log order."""

    def __init__(self, size: int) -> None:
        self._ring = np.empty(size, _DTYPE)
        self._written = 0
        self.forgotten = np.iinfo(np.int64).min
        """The newest time of a sample that the ring has let go of: from the ms after it, it is complete."""

    def add(self, series: Codes, rows: Ints, times: Ints, positions: Ints, values: Floats) -> None:
        """Takes samples in log order."""
        size = len(self._ring)
        n = len(series)
        if n > size:
            self.forgotten = max(self.forgotten, int(times[: n - size].max()))
            series, rows, times, values = series[-size:], rows[-size:], times[-size:], values[-size:]
            positions, n = positions[-size:], size
        at = self._written % size
        head = min(n, size - at)
        for begin, end, into in ((0, head, at), (head, n, 0)):
            if end > begin:
                place = self._ring[into : into + end - begin]
                full = self._written + begin >= size
                if full:
                    self.forgotten = max(self.forgotten, int(place["time"].max()))
                place["series"], place["row"] = series[begin:end], rows[begin:end]
                place["time"], place["position"] = times[begin:end], positions[begin:end]
                place["value"] = values[begin:end]
        self._written += n

    @property
    def is_whole(self) -> bool:
        """Whether it has let go of nothing yet."""
        return self.forgotten == np.iinfo(np.int64).min

    def view(self) -> Raw:
        """All that is held, oldest first; a copy."""
        size = len(self._ring)
        at = self._written % size
        held = self._ring[:at] if self._written < size else np.concatenate([self._ring[at:], self._ring[:at]])
        return Raw(*(held[name].copy() for name in ("series", "row", "time", "position", "value")))

    def save(self) -> bytes:
        """The ring's rows, oldest first."""
        size, at = len(self._ring), self._written % len(self._ring)
        held = self._ring[:at] if self._written < size else np.concatenate([self._ring[at:], self._ring[:at]])
        return held.tobytes()

    def restore(self, data: bytes, forgotten: int) -> None:
        """Takes what `save` gave; a smaller ring keeps the newest."""
        held = np.frombuffer(data, _DTYPE)
        self.forgotten = forgotten
        if len(held) > len(self._ring):
            gone = held[: len(held) - len(self._ring)]
            self.forgotten = max(forgotten, int(gone["time"].max()))
            held = held[-len(self._ring) :]
        self._ring[: len(held)] = held
        self._written = len(held)
