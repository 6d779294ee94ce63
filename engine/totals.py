"""Running totals: what a counter that only grows has grown by.

Points are kept in (time, position) order until the watermark has passed them; then each becomes a delta to the one
before (or its own value after a drop, which is a reset), credited to its own time. So `increase` is a plain sum for
any order of arrival. The first point ever is the baseline.
"""

from __future__ import annotations

import numpy as np

from engine.growing import Growing
from engine.model import Codes, Flags, Floats, Ints
from engine.slots import SAMPLE_BYTES, Samples

_NEVER = np.iinfo(np.int64).min


class Totals:
    """The open points of running totals by slot, and the last closed point of each series."""

    def __init__(self) -> None:
        self.slots: dict[int, Samples] = {}
        self._last_time = Growing(np.int64)
        self._last_value = Growing(np.float64)
        self._grown = Growing(np.float64)

    @property
    def nbytes(self) -> int:
        return sum(map(len, self.slots.values())) * SAMPLE_BYTES

    def add(self, slot: int, series: Codes, times: Ints, positions: Ints, values: Floats) -> None:
        """Takes points that lie in the slot that starts at `slot`."""
        samples = self.slots.get(slot)
        if samples is None:
            samples = self.slots[slot] = Samples()
        samples.extend(series, times, positions, values)

    def close(self, boundary: int) -> tuple[Codes, Ints, Floats]:
        """Turns the points before the boundary into deltas for good: (series, time, delta), by series and time."""
        parts = [self.slots.pop(slot) for slot in sorted(self.slots) if slot < boundary]
        if not parts:
            return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0)
        series, times, values, deltas = self._deltas([part.view() for part in parts])
        ids, gains = self._gains(series, values, deltas)
        for column in self._columns():
            column.own()
        self._grown.view()[ids] += gains
        self._last_time.view()[series] = times  # ascending, so the last of each series stays
        self._last_value.view()[series] = values
        return series, times, deltas

    def open(self, wanted: Flags, start: int, end: int) -> tuple[Codes, Ints, Floats]:
        """The deltas the open points in [start, end) would give now: (series, time, delta), by series and time."""
        parts = []
        for slot in sorted(self.slots):
            if slot < end:
                series, times, positions, values = self.slots[slot].view()
                rows = np.flatnonzero(wanted[series])
                if len(rows):
                    parts.append((series[rows], times[rows], positions[rows], values[rows]))
        if not parts:
            return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0)
        series, times, _, deltas = self._deltas(parts)
        inside = (times >= start) & (times < end)
        return series[inside], times[inside], deltas[inside]

    def reached(self, wanted: Flags) -> Floats:
        """What each wanted running total has come to, drops taken as resets: its first value plus all increases.

        By series id; open points are included. They never fall, but for a point that replaces one of the same time.
        """
        self._reserve(len(wanted))
        grown: Floats = self._grown.view().copy()
        parts = []
        for slot in sorted(self.slots):
            series, times, positions, values = self.slots[slot].view()
            rows = np.flatnonzero(wanted[series])
            if len(rows):
                parts.append((series[rows], times[rows], positions[rows], values[rows]))
        if parts:
            series, _, values, deltas = self._deltas(parts)
            ids, gains = self._gains(series, values, deltas)
            grown[ids] += gains
        return grown

    def _gains(self, series: Codes, values: Floats, deltas: Floats) -> tuple[Codes, Floats]:
        """(series, sum of its deltas) where the first point ever counts with its whole value. Input as of `_deltas`."""
        if not len(series):
            return series, deltas
        starts = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
        ids = series[starts]
        first_ever = self._last_time.view()[ids] == _NEVER
        return ids, np.add.reduceat(deltas, starts) + np.where(first_ever, values[starts], 0.0)

    def _deltas(self, parts: list[tuple[Codes, Ints, Ints, Floats]]) -> tuple[Codes, Ints, Floats, Floats]:
        series, times, positions, values = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._reserve(int(series.max()) + 1)
        order = np.lexsort((positions, times, series))  # stable: rows of one entry keep their order
        series, times, values = series[order], times[order], values[order]
        # Same series and time: the higher position wins.
        wins = np.append((series[1:] != series[:-1]) | (times[1:] != times[:-1]), True)
        series, times, values = series[wins], times[wins], values[wins]
        first = np.append(True, series[1:] != series[:-1])
        before = np.concatenate([values[:1], values[:-1]])
        before[first] = self._last_value.view()[series[first]]
        deltas = np.where(values < before, values, values - before)
        baseline = first.copy()
        baseline[first] = self._last_time.view()[series[first]] == _NEVER
        deltas[baseline] = 0.0
        return series, times, values, deltas

    def _reserve(self, series_count: int) -> None:
        missing = series_count - len(self._last_time)
        if missing > 0:
            self._last_time.extend(np.full(missing, _NEVER))
            self._last_value.extend(np.zeros(missing))
            self._grown.extend(np.zeros(missing))

    def lend(self) -> tuple[Ints, Floats, Floats]:
        """The last closed time and value, and what was gained, by series; they do not change before `returned`."""
        last_time, last_value, grown = (column.lend() for column in self._columns())
        return last_time, last_value, grown

    def returned(self) -> None:
        """What was lent is not looked at any more. Any thread may say so."""
        for column in self._columns():
            column.returned()

    def _columns(self) -> tuple[Growing, Growing, Growing]:
        return self._last_time, self._last_value, self._grown

    def restore(self, last_time: Ints, last_value: Floats, grown: Floats) -> None:
        """Takes what `lend` gave."""
        self._last_time, self._last_value, self._grown = Growing(np.int64), Growing(np.float64), Growing(np.float64)
        self._last_time.extend(last_time)
        self._last_value.extend(last_value)
        self._grown.extend(grown)
