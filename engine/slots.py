"""Slots: the samples of one slice of time, raw while sparse and folded to panes where dense.

Samples are appended to growing columns. Once enough have come together they are folded; where that saves nothing
(few samples per pane) they stay raw, since a raw sample is the smallest pane there is.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from engine import panes
from engine.growing import Growing
from engine.model import Codes, Flags, Floats, Ints
from engine.panes import ALL, Panes
from engine.series import Catalogue

FOLD_AT = 131_072
"""Raw samples in a slot before folding them is tried."""
MAX_FOLDED = 8
"""Folded parts of a slot before they become one."""
SAMPLE_BYTES = 28


class Samples:
    """Raw samples as growing columns: series, time, log position and value, in log order."""

    __slots__ = ("positions", "series", "times", "values")

    def __init__(self) -> None:
        self.series, self.times = Growing(np.int32), Growing(np.int64)
        self.positions, self.values = Growing(np.int64), Growing(np.float64)

    def __len__(self) -> int:
        return self.series.size

    def extend(self, series: Codes, times: Ints, positions: Ints, values: Floats) -> None:
        self.series.extend(series)
        self.times.extend(times)
        self.positions.extend(positions)
        self.values.extend(values)

    def settle(self) -> None:
        """Gives back room that is not needed as long as only stragglers come."""
        for column in (self.series, self.times, self.positions, self.values):
            column.settle()

    def view(self) -> tuple[Codes, Ints, Ints, Floats]:
        """The columns as they are now."""
        return self.series.view(), self.times.view(), self.positions.view(), self.values.view()


class Slot:
    """One slice of time that starts at `start`; its panes are `width` ms wide.

    A running total adds nothing to `increase` here (see engine.totals); the counters of deltas add their values.
    """

    __slots__ = ("catalogue", "compactions", "fold_at", "folded", "raw", "start", "version", "width")

    def __init__(self, start: int, width: int, catalogue: Catalogue) -> None:
        self.start, self.width, self.catalogue = start, width, catalogue
        self.raw = Samples()
        self.folded: list[Panes] = []
        self.version = 0
        self.compactions = 0
        """How often raw samples became folded panes; in between, `folded` stays as it is and `raw` only grows."""
        self.fold_at = FOLD_AT
        """Raw samples before folding them is tried the next time."""

    @property
    def nbytes(self) -> int:
        """Memory held, counted from the rows so that a replay counts the same."""
        return len(self.raw) * SAMPLE_BYTES + sum(part.nbytes for part in self.folded)

    @property
    def samples(self) -> int:
        """How many samples its panes hold."""
        return len(self.raw) + sum(part.samples for part in self.folded)

    def add(self, series: Codes, times: Ints, positions: Ints, values: Floats) -> None:
        """Takes samples in log order, whose times lie in the slot.

        Where folding is tried depends on the samples alone, not on how many come at once: a replay takes more.
        """
        self.version += 1
        while len(self.raw) + len(series) >= self.fold_at:
            room = self.fold_at - len(self.raw)
            self.raw.extend(series[:room], times[:room], positions[:room], values[:room])
            series, times, positions, values = series[room:], times[room:], positions[room:], values[room:]
            self._compact()
        self.raw.extend(series, times, positions, values)

    def add_panes(self, part: Panes) -> None:
        """Takes panes of the slot's width."""
        if len(part):
            self.folded.append(part)
            self.version += 1
            if len(self.folded) > MAX_FOLDED:
                self.folded = [self._fold(self.folded)]

    def parts(self) -> list[Panes]:
        """All there is: folded panes and raw samples as panes. The list and its arrays never change afterwards."""
        raw = [self._raw_panes()] if len(self.raw) else []
        return [*self.folded, *raw]

    def select(self, wanted: Flags, need: Collection[str] = ALL) -> list[Panes]:
        """The panes of some series. wanted: bool by series id; series past its end are not wanted."""
        raw = self.select_raw(wanted, 0)
        return [*self.select_folded(wanted, need), *([raw] if len(raw) else [])]

    def select_folded(self, wanted: Flags, need: Collection[str]) -> list[Panes]:
        """The folded panes of some series."""
        picked = ((part, np.flatnonzero(wanted[part.series])) for part in self.folded)
        return [part.pick(rows, need) for part, rows in picked if len(rows)]

    def select_raw(self, wanted: Flags, after: int) -> Panes:
        """The raw samples of some series, as panes, without the first `after` samples of the slot."""
        series, times, positions, values = self.raw.view()
        rows = np.flatnonzero(wanted[series[after:]]) + after
        return self._panes_of(series[rows], times[rows], positions[rows], values[rows])

    def merged(self) -> Panes:
        """One pane per series and slice."""
        return self._fold(self.parts())

    def _compact(self) -> None:
        samples = len(self.raw)
        part = self._fold([self._raw_panes()])
        if len(part) * 2 > samples:
            self.fold_at = samples * 2
            return
        self.raw = Samples()
        self.compactions += 1
        self.add_panes(part)

    def _fold(self, parts: list[Panes]) -> Panes:
        together = panes.concat(parts)
        slices = self.slices(together.start)
        unique = self.catalogue.sketched_rows(together.series)
        _, folded = panes.fold(together, together.series.astype(np.int64) * self.per_slot + slices, ALL, unique)
        folded.start = self.start + self.slices(folded.start) * self.width
        return folded

    # A slot is never wider than a block, which holds at most 60 panes.
    per_slot = 64

    def slices(self, start: Ints) -> Ints:
        return (start - self.start) // self.width

    def _raw_panes(self) -> Panes:
        return self._panes_of(*self.raw.view())

    def _panes_of(self, series: Codes, times: Ints, positions: Ints, values: Floats) -> Panes:
        deltas = self.catalogue.deltas[series]
        increase = np.where(deltas, values, 0.0) if deltas.any() else np.broadcast_to(np.float64(0), len(values))
        return panes.of_samples(series, times, times, positions, values, increase)
