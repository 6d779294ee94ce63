"""The detector: many series, whose points come in batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.anomaly import snapshot
from engine.anomaly.distance import Distances
from engine.anomaly.episodes import PAST, THRESHOLD, Episode, Episodes
from engine.anomaly.history import REFERENCES, ROOM, Histories, tame
from engine.anomaly.rarity import MEMORY, Rarities
from engine.anomaly.standing import Standing, typical
from engine.model import Flags, Floats, Ints

LIMIT = 1000
"""Series that are watched, by default."""
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
    """Watches up to `limit` series, which are whatever ints the caller calls them. threshold: the bar for
    the episodes of a new series.

    Memory is taken as series come, ROW_BYTES each. A series beyond the limit is not watched: its points are counted in
    `unwatched`, and their score is nan.
    """

    def __init__(self, limit: int = LIMIT, threshold: float = THRESHOLD) -> None:
        self.limit = limit
        self.unwatched = 0
        self.histories = Histories(limit)
        self.distances = Distances(limit)
        self.rarities = Rarities(limit)
        self.episodes = Episodes(limit, threshold)
        self.scores, self.times = np.zeros(limit), np.zeros(limit, np.int64)
        self.rows: dict[int, int] = {}
        self._free = list(range(limit - 1, -1, -1))

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
        self.unwatched += int(np.count_nonzero(there & ~watched))
        scores, began = np.full(len(rows), np.nan), np.zeros(len(rows), np.bool_)
        moved = there & watched
        scores[moved], began[moved] = self._take(rows[moved], tame(values[moved]), at)
        anomalous, peaks = np.zeros(len(rows), np.bool_), np.zeros(len(rows))
        known = rows[watched]
        going_on = self.episodes.going_on(known, self.histories.counts[known])
        anomalous[watched] = going_on
        peaks[watched] = np.where(going_on, self.episodes.peak(known), 0.0)
        return Verdicts(scores, anomalous, began, peaks)

    def add(self, series: int) -> int:
        """Gives a series that is not watched yet a row, of which there must be one."""
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
        return self.add(series) if row < 0 and new and self._free else row

    def _take(self, rows: Ints, values: Floats, at: int) -> tuple[Floats, Flags]:
        self.histories.push(rows, values)
        scores = self.rarities.scores(rows, self.distances.update(rows, self.histories))
        self.scores[rows], self.times[rows] = scores, at
        return scores, self.episodes.step(rows, self.histories.counts[rows], scores, at)

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
