"""The detector: many series, whose points come in batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.anomaly import snapshot
from engine.anomaly.distance import Distances
from engine.anomaly.episodes import PAST, THRESHOLD, Episode, Episodes
from engine.anomaly.history import REFERENCES, ROOM, Histories, tame
from engine.anomaly.rarity import MEMORY, Rarities
from engine.anomaly.rows import longer
from engine.anomaly.standing import Standing, typical
from engine.model import Flags, Floats, Ints

LIMIT = 1000
"""Series that are watched, by default."""
FIRST_ROOM = 4
"""Rows there is room for at first; then twice as many, and so on."""
ROW_BYTES = 8 * ROOM + 8 * REFERENCES + 2 * MEMORY + 24 * PAST + 11 * 8
"""What a series costs."""


class Verdicts(NamedTuple):
    """What a batch of points came to, in its order.

    scores: of the points, 0 and up (see engine.anomaly.rarity); nan where there was none. anomalous: the series is in
    an episode; began: one begins with this point: that is the alarm. peaks: the highest score of the episode that goes
    on, 0 without one. A threshold above THRESHOLD is met where `peaks` reaches it.
    """

    scores: Floats
    anomalous: Flags
    began: Flags
    peaks: Floats


class Detector:
    """Watches up to `limit` series, which are whatever ints the caller calls them. threshold: the bar for the episodes
    of a new series.

    Memory is taken as series come, ROW_BYTES each. A series beyond the limit is not watched: its points are counted in
    `unwatched`, and their score is nan.
    """

    def __init__(self, limit: int = LIMIT, threshold: float = THRESHOLD) -> None:
        self.limit = limit
        self.unwatched = 0
        self.histories, self.distances, self.rarities = Histories(0), Distances(0), Rarities(0)
        self.episodes = Episodes(0, threshold)
        self.scores, self.times = np.zeros(0), np.zeros(0, np.int64)
        self.rows: dict[int, int] = {}
        self._free: list[int] = []
        self._room = 0

    def __len__(self) -> int:
        """How many series are watched."""
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Memory of the watched series."""
        return len(self.rows) * ROW_BYTES

    def observe(self, series: Ints, values: Floats, at: int) -> Verdicts:
        """One more point of each of these series, at `at` (ms). nan or infinite: it has none. Raises ValueError for a
        series that occurs twice: its points would have no order."""
        names = series.tolist()
        if len(set(names)) < len(names):
            raise ValueError("a series occurs twice in a batch")
        there = np.isfinite(values)
        rows = np.array([self._row(name, new) for name, new in zip(names, there.tolist(), strict=True)], np.int64)
        watched = rows >= 0
        if there.all() and watched.all():  # as it mostly is
            return self._observe(rows, values, at)
        self.unwatched += int(np.count_nonzero(there & ~watched))
        moved, known = there & watched, rows[watched]
        scores, began = np.full(len(rows), np.nan), np.zeros(len(rows), np.bool_)
        anomalous, peaks = began.copy(), np.zeros(len(rows))
        scores[moved], _, began[moved], _ = self._observe(rows[moved], values[moved], at)
        anomalous[watched], peaks[watched] = self._state(known)
        return Verdicts(scores, anomalous, began, peaks)

    def add(self, series: int) -> int:
        """Gives a row to a series that is not watched yet; -1 where `limit` are watched."""
        if len(self.rows) >= self.limit:
            return -1
        if not self._free:
            self._grow(min(max(2 * self._room, FIRST_ROOM), self.limit))
        row = self.rows[series] = self._free.pop()
        return row

    def forget(self, series: int) -> None:
        """Watches a series no longer; unknown ones are none of its business."""
        row = self.rows.pop(series, None)
        if row is not None:
            for part in (self.histories, self.distances, self.rarities, self.episodes):
                part.clear(row)
            self._free.append(row)

    def ranking(self, most: int | None = None) -> list[Standing]:
        """The watched series that have had a point, those in an episode first, and the highest scores first among
        both; at most `most` of them. Costs about 200 µs for each that is listed."""
        names, rows = list(self.rows), np.fromiter(self.rows.values(), np.int64, len(self.rows))
        going_on = self.episodes.going_on(rows, self.histories.counts[rows])
        height = np.where(going_on, self.episodes.peak(rows), self.scores[rows])
        order = np.lexsort((-height, ~going_on))[:most]
        return [self._standing(names[place], int(rows[place]), bool(going_on[place])) for place in order.tolist()]

    def past(self, series: int) -> list[Episode]:
        """The last episodes of a series (16 at most), newest first; none of one that is not watched."""
        row = self.rows.get(series)
        if row is None:
            return []
        rows = np.array([row])
        return self.episodes.of(row, bool(self.episodes.going_on(rows, self.histories.counts[rows])[0]))

    def save(self) -> bytes:
        """All of its state."""
        return snapshot.save(self)

    @classmethod
    def restore(cls, data: bytes, limit: int = LIMIT, threshold: float = THRESHOLD) -> Detector:
        """A detector that goes on where `save` was called. Where more series were saved than `limit`, the newest are
        left out. Raises BadCheckpoint for what `save` cannot have written."""
        detector = cls(limit, threshold)
        snapshot.restore(detector, data)
        return detector

    def _row(self, series: int, new: bool) -> int:
        """The row of a series; -1 for none. A new one begins with its first point."""
        row = self.rows.get(series, -1)
        return self.add(series) if row < 0 and new else row

    def _grow(self, rows: int) -> None:
        for part in (self.histories, self.distances, self.rarities, self.episodes):
            part.grow(rows)
        self.scores, self.times = longer(self.scores, rows), longer(self.times, rows)
        self._free = list(range(rows - 1, self._room - 1, -1))
        self._room = rows

    def _observe(self, rows: Ints, values: Floats, at: int) -> Verdicts:
        """The same where each row has a point."""
        self.histories.push(rows, tame(values))
        scores = self.rarities.scores(rows, self.distances.update(rows, self.histories))
        self.scores[rows], self.times[rows] = scores, at
        began = self.episodes.step(rows, self.histories.counts[rows], scores, at)
        anomalous, peaks = self._state(rows)
        return Verdicts(scores, anomalous, began, peaks)

    def _state(self, rows: Ints) -> tuple[Flags, Floats]:
        """Which rows are in an episode, and how high it came."""
        going_on = self.episodes.going_on(rows, self.histories.counts[rows])
        if not going_on.any():
            return going_on, np.zeros(len(rows))
        return going_on, np.where(going_on, self.episodes.peak(rows), 0.0)

    def _standing(self, series: int, row: int, going_on: bool) -> Standing:
        newest = self.histories.newest(row)
        unusual = int(self.histories.counts[row] - self.episodes.began[row] + 1) if going_on else 0
        low, middle, high = typical(newest, unusual)
        return Standing(
            series,
            float(self.scores[row]),
            going_on,
            self.episodes.since(row) if going_on else None,
            float(self.episodes.peak(np.array([row]))[0]) if going_on else 0.0,
            float(newest[0]),
            int(self.times[row]),
            low,
            middle,
            high,
            self.distances.likely(row, self.histories),
        )
