"""The newest values of many series, newest first: a row each, in which the value of age `a` lies `a` places behind the
newest. A new value goes in front; a row whose room is used up is moved to its end, once in 69 points."""

from __future__ import annotations

import numpy as np

from engine.anomaly.rows import Rows
from engine.model import Floats, Ints

NEAR = 28
"""A stretch of the past begins at least this many points back: what just happened is no proof that it is usual."""
WIDTH, REFERENCES = 5, 800
"""Stretches of the past, and how many points lie between the beginnings of two."""
REACH = NEAR + WIDTH * REFERENCES
"""Values that are kept: 4,028."""
ROOM = 4096
TOO_LARGE, TOO_SMALL = 1e100, 1e-100
"""Values beyond are taken for this, and for zero: no sum of theirs overflows, no arithmetic is slow."""


def tame(values: Floats) -> Floats:
    """The values as they are kept."""
    clipped = np.minimum(np.maximum(values, -TOO_LARGE), TOO_LARGE)
    clipped[np.abs(clipped) < TOO_SMALL] = 0.0
    return clipped


class Histories(Rows):
    """Rows of newest values. counts: points that each has had, kept or not; used: places of its room, from the end,
    that are taken."""

    __slots__ = ("counts", "used", "values")
    columns = __slots__

    def __init__(self, rows: int) -> None:
        self.values = np.zeros((rows, ROOM))
        self.used, self.counts = np.zeros(rows, np.int64), np.zeros(rows, np.int64)

    def push(self, rows: Ints, values: Floats) -> None:
        """One more value of each of these rows."""
        for row in rows[self.used[rows] == ROOM].tolist():
            self.values[row, ROOM - REACH + 1 :] = self.values[row, : REACH - 1]
            self.used[row] = REACH - 1
        self.used[rows] += 1
        self.counts[rows] += 1
        self.values[rows, ROOM - self.used[rows]] = values

    def first(self, rows: Ints) -> Ints:
        """Where the newest value of each row lies."""
        return np.asarray(ROOM - self.used[rows])

    def newest(self, row: int) -> Floats:
        """The values that a row keeps, newest first: a view."""
        first = ROOM - int(self.used[row])
        return self.values[row, first : first + min(int(self.counts[row]), REACH)]

    def put(self, row: int, count: int, newest: Floats) -> None:
        """The inverse of `newest`, for a row that has had `count` points."""
        self.values[row, ROOM - len(newest) :] = newest
        self.used[row], self.counts[row] = len(newest), count
