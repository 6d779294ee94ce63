"""What each series has come to since it was first seen: count, sum, newest value, and buckets of histograms and timers.

Every accepted sample counts once, also late and folded ones, whatever retention lets go of later. So these only grow
(as long as the values are not negative), across restarts too: what a Prometheus counter must be. Samples wait until
enough have come together, because a few calls of numpy per log entry would cost more than the samples themselves.
"""

from __future__ import annotations

import numpy as np

from engine.growing import Growing
from engine.model import HISTOGRAM, OWN_PREFIX, TIMER, Codes, Floats, Ints
from engine.series import Catalogue

BOUNDS: tuple[tuple[float, ...], ...] = (
    (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 50, 100, 500, 1_000, 10_000, 100_000),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000),
    tuple(float(64 * 4**power) for power in range(13)),
)
"""Upper bounds of the buckets, inclusive: without a known unit, for seconds, for milliseconds, for bytes."""
_SECONDS, _MILLISECONDS, _BYTES = 1, 2, 3
_SCHEMES = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _SECONDS),
    **dict.fromkeys(("ms", "msec", "millis", "millisecond", "milliseconds"), _MILLISECONDS),
    **dict.fromkeys(("b", "byte", "bytes"), _BYTES),
}
BUCKETS = len(BOUNDS[0]) + 1
"""Buckets of a series, the one above all bounds included."""
SETTLE_AT = 8192
"""Samples that wait at most."""
LENT_SETTLE_AT = 131_072
"""The same while the columns are lent to a checkpoint: settling would copy them."""
_NEVER = np.iinfo(np.int64).min


class Lifetime:
    """Columns by series id. The histograms and timers among the series have a row of buckets each."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._count, self._sum = Growing(np.int64), Growing(np.float64)
        self._last_time, self._last = Growing(np.int64), Growing(np.float64)
        self._row = Growing(np.int32)
        self._buckets = Growing(np.int64)
        self._scheme = Growing(np.int8)
        self._scheme_of_name: dict[int, int] = {}
        self._waiting: list[tuple[Codes, Ints, Floats]] = []
        self._waiting_rows = 0
        self._settle_at = SETTLE_AT

    def add(self, series: Codes, times: Ints, values: Floats) -> None:
        """Takes accepted samples, in log order. The arrays must not change afterwards."""
        self._waiting.append((series, times, values))
        self._waiting_rows += len(series)
        if self._waiting_rows >= self._settle_at:
            self.settle()

    def settle(self) -> None:
        """Brings the columns up to date. The result does not depend on when it is called."""
        self.reserve()
        if not self._waiting:
            return
        for column in self._columns().values():
            column.own()
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        if len(waiting) == 1:
            series, times, values = waiting[0]
        else:
            series, times, values = (np.concatenate(column) for column in zip(*waiting, strict=True))
        at = series.astype(np.intp)
        np.add.at(self._count.view(), at, 1)
        np.add.at(self._sum.view(), at, values)
        rows = self._row.view()[at]
        bucketed = np.flatnonzero(rows >= 0)
        if len(bucketed):
            self._add_to_buckets(rows[bucketed], values[bucketed])
        self._keep_newest(at, times, values)

    def _add_to_buckets(self, rows: Codes, values: Floats) -> None:
        schemes = self._scheme.view()[rows]
        buckets = np.zeros(len(rows), np.int8)
        low, high = int(schemes.min()), int(schemes.max())
        for scheme in range(low, high + 1):
            mine = values if low == high else np.where(schemes == scheme, values, -np.inf)
            for bound in BOUNDS[scheme]:  # a pass per bound is faster than a search per value
                buckets += (mine > bound).view(np.int8)
        np.add.at(self._buckets.view(), rows.astype(np.intp) * BUCKETS + buckets, 1)

    def _keep_newest(self, at: np.ndarray, times: Ints, values: Floats) -> None:
        last_time, last = self._last_time.view(), self._last.view()
        fresh = times >= last_time[at]
        if not fresh.all():
            at, times, values = at[fresh], times[fresh], values[fresh]
        last_time[at], last[at] = times, values  # of several for one series the last stays
        if (last_time[at] < times).any():
            order = np.argsort(times, kind="stable")
            last_time[at[order]], last[at[order]] = times[order], values[order]

    def reserve(self) -> None:
        """Makes room for the series the catalogue has registered meanwhile; with each entry that has any."""
        known, size = self._count.size, len(self._catalogue.keys)
        if known == size:
            return
        missing = size - known
        self._count.extend(np.zeros(missing, np.int64))
        self._sum.extend(np.zeros(missing))
        self._last_time.extend(np.full(missing, _NEVER))
        self._last.extend(np.zeros(missing))
        types = self._catalogue.types[known:]
        wanted = (types == HISTOGRAM) | (types == TIMER)
        first = len(self._scheme)
        self._row.extend(np.where(wanted, first + np.cumsum(wanted) - 1, -1).astype(np.int32))
        self._buckets.extend(np.zeros(int(wanted.sum()) * BUCKETS, np.int64))
        for number in self._catalogue.name_numbers[known:][wanted].tolist():
            scheme = self._scheme_of_name.get(number)
            if scheme is None:  # the bounds of a name never change, whatever becomes of its unit
                unit = self._catalogue.by_number[number].unit.lower()
                scheme = self._scheme_of_name[number] = _SCHEMES.get(unit, 0)
            self._scheme.append(scheme)

    # Reading; each is up to date.

    def counts(self) -> Ints:
        """Samples of each series; a view."""
        self.settle()
        return self._count.view()

    def sums(self) -> Floats:
        """The sum of the values of each series; a view."""
        self.settle()
        return self._sum.view()

    def newest(self) -> Floats:
        """The value with the newest time of each series; a view."""
        self.settle()
        return self._last.view()

    def buckets(self, series: int) -> tuple[tuple[float, ...], list[int]]:
        """(upper bounds, samples in each bucket and above the last bound) of a histogram or timer."""
        self.settle()
        row = int(self._row.view()[series])
        held = self._buckets.view()[row * BUCKETS : (row + 1) * BUCKETS]
        return BOUNDS[int(self._scheme.view()[row])], held.tolist()

    def own_samples(self) -> int:
        """Samples the server sent itself about itself."""
        counts = self.counts()
        own = [name for name in self._catalogue.by_number if name.name.startswith(OWN_PREFIX)]
        return sum(int(counts[name.series.view()].sum()) for name in own)

    # Checkpoints.

    def lend(self) -> dict[str, np.ndarray]:
        """The columns as they are now, by name; they do not change before `returned`."""
        self.settle()
        self._settle_at = LENT_SETTLE_AT
        return {name: column.lend() for name, column in self._columns().items()}

    def returned(self) -> None:
        """What was lent is not looked at any more. Any thread may say so."""
        for column in self._columns().values():
            column.returned()
        self._settle_at = SETTLE_AT

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes what `lend` gave; the catalogue must be back already."""
        self.reserve()
        if not state:
            return
        for name, column in self._columns().items():
            column.view()[: len(state[name])] = state[name]
        bucketed = np.flatnonzero(self._row.view() >= 0)
        numbers = self._catalogue.name_numbers[bucketed].tolist()
        self._scheme_of_name = dict(zip(numbers, self._scheme.view().tolist(), strict=True))

    def _columns(self) -> dict[str, Growing]:
        return {
            "count": self._count, "sum": self._sum, "last_time": self._last_time, "last": self._last,
            "buckets": self._buckets, "scheme": self._scheme,
        }  # fmt: skip
