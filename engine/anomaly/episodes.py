"""Episodes: stretches in which a series is anomalous. Each is one alarm.

An episode begins where the score reaches the bar, and goes on until it has been below QUIET for CALM points. The next
one begins no sooner than REST points after it began, and CALM after the last point that was not quiet: what is still
settling, or comes back at once, is the same matter. What comes back after a calm and is a good deal rarer, by RARER,
does not have to wait. Nothing begins in the first WARM points of a series, to which everything is new.

The bar is THRESHOLD for a series that is new, and rises with the points it has been watched for: a false alarm in its
first days is forgiven, one a week for ever is not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.anomaly.rows import Rows
from engine.model import Flags, Floats, Ints

THRESHOLD = 1.5
"""One point in 32. That is low, because large distances come in clumps and a rest follows: see engine.anomaly.budget
for what to page at."""
RISE, FROM, TO = 0.6, 2000, 8000
"""By so much for ten times as many points, from this many on and up to this many."""
QUIET, CALM = 1.0, 40
REST, RARER = 120, 0.5
WARM = 240
PAST = 16
"""Episodes of a series that are remembered."""


class Episode(NamedTuple):
    """Begin and end in ms (the last point with a score that was not low; None while it goes on), and its peak score."""

    begin: int
    end: int | None
    peak: float


def bar(counts: Ints, threshold: float = THRESHOLD) -> Floats:
    """The score at which an episode begins, after so many points."""
    return np.asarray(threshold + RISE * np.log10(np.minimum(np.maximum(counts, FROM), TO) / FROM))


class Episodes(Rows):
    """threshold: the bar for a new series. began, alive, loud: the point, counted from 1, at which the newest episode
    began, at which it was last known to go on, and which was the last one that was not quiet (0: none yet).
    numbers: episodes so far. The last PAST are a ring in each row: begins, ends, peaks."""

    __slots__ = ("alive", "began", "begins", "ends", "loud", "numbers", "peaks", "threshold")
    columns = __slots__[:-1]

    def __init__(self, rows: int, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self.began, self.alive, self.loud, self.numbers = (np.zeros(rows, np.int64) for _ in range(4))
        self.begins, self.ends = np.zeros((rows, PAST), np.int64), np.zeros((rows, PAST), np.int64)
        self.peaks = np.zeros((rows, PAST))

    def step(self, rows: Ints, counts: Ints, scores: Floats, at: int) -> Flags:
        """One more point of each row; counts: which it is, at: when, ms. Which rows begin an episode with it."""
        begins = np.zeros(len(rows), np.bool_)
        hot = np.flatnonzero(scores >= min(QUIET, self.threshold))
        if len(hot):  # nothing changes with the others
            begins[hot] = self._step(rows[hot], counts[hot], scores[hot], at)
        return begins

    def _step(self, rows: Ints, counts: Ints, scores: Floats, at: int) -> Flags:
        began, loud, going_on = self.began[rows], self.loud[rows], self.going_on(rows, counts)
        rested = (began == 0) | ((counts - began >= REST) & (counts - loud >= CALM))
        rarer = ~going_on & (scores >= self.peak(rows) + RARER)
        begins = (rested | rarer) & (scores >= bar(counts, self.threshold)) & (counts > WARM)
        stirs = begins | (~rested & (scores >= QUIET))
        lives = begins | (stirs & going_on)
        new = rows[begins]
        self.began[new] = counts[begins]
        self.numbers[new] += 1
        self.begins[new, self._slots(new)] = at
        self.peaks[new, self._slots(new)] = 0.0
        self.loud[rows[stirs]] = counts[stirs]
        now, slots = rows[lives], self._slots(rows[lives])
        self.alive[now] = counts[lives]
        self.ends[now, slots] = at
        self.peaks[now, slots] = np.maximum(self.peaks[now, slots], scores[lives])
        return np.asarray(begins)

    def going_on(self, rows: Ints, counts: Ints) -> Flags:
        """Which rows are in an episode after so many points."""
        return np.asarray((self.began[rows] > 0) & (counts - self.alive[rows] < CALM))

    def peak(self, rows: Ints) -> Floats:
        """The peak of the newest episode of each row; 0 where there was none."""
        return np.where(self.numbers[rows] > 0, self.peaks[rows, self._slots(rows)], 0.0)

    def since(self, row: int) -> int:
        """When the newest episode of a row began, ms."""
        return int(self.begins[row, (self.numbers[row] - 1) % PAST])

    def of(self, row: int, going_on: bool) -> list[Episode]:
        """The remembered episodes of a row, newest first."""
        number = int(self.numbers[row])
        found = []
        for back in range(min(number, PAST)):
            slot = (number - 1 - back) % PAST
            end = None if going_on and not back else int(self.ends[row, slot])
            found.append(Episode(int(self.begins[row, slot]), end, float(self.peaks[row, slot])))
        return found

    def _slots(self, rows: Ints) -> Ints:
        return np.asarray((self.numbers[rows] - 1) % PAST)
