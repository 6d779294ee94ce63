"""How far what a series does now is from the most similar stretches of its past.

For each stretch the differences to the present are summed, fading with a time constant of FADE points, so that a sum
is one multiplication and one addition per point. The difference at one point is the smallest to any of WIDTH values
that follow one another: a stretch may run a little early or late. The result is the sum over the NEAREST stretches.
"""

from __future__ import annotations

import math

import numpy as np

from engine.anomaly.history import NEAR, REACH, REFERENCES, ROOM, WIDTH, Histories
from engine.anomaly.rows import Rows
from engine.model import Floats, Ints

FADE = 12.0
NEAREST = 4
GROWTH = 4.0
"""A difference counts at most this many times the largest one before (on a flat series: the values of it), so that a
freak value is over in about 50 points."""
FORGETS = 1 - 1 / 400
"""That largest one fades by this factor a point."""
LEAD = 4
"""The stretches that begin with the oldest 20 points have too few points of their own yet."""
FEWEST = 9
"""Stretches below which there is no distance."""
LEAST = 0.01
"""A distance below this part of the largest difference is none: of a flat series, the rest of what has faded."""
NOTHING = 1e-120
"""A sum fades to this and not further: arithmetic with denormal numbers is slow."""
ROWS = 16
"""Rows that are worked on together: their differences stay in the processor's cache."""

FULL = REACH + LEAD * WIDTH
"""Points after which there are as many stretches as there ever will be, and all can be compared with."""

_KEPT = math.exp(-1 / FADE)
_ALL = np.full(ROWS, REFERENCES)


class Distances(Rows):
    """fading: the sums, a row for each series and a column for each stretch; largest: the largest difference."""

    __slots__ = ("fading", "largest")
    columns = __slots__

    def __init__(self, rows: int) -> None:
        self.fading = np.zeros((rows, REFERENCES))
        self.largest = np.zeros(rows)

    def update(self, rows: Ints, histories: Histories) -> Floats:
        """The distances after the newest value of each row; nan while there is too little past."""
        found = np.empty(len(rows))
        scratch = np.empty((min(len(rows), ROWS), REFERENCES * WIDTH))
        for at in range(0, len(rows), ROWS):
            some = rows[at : at + ROWS]
            found[at : at + ROWS] = self._update(some, histories, scratch[: len(some)])
        return found

    def _update(self, rows: Ints, histories: Histories, scratch: Floats) -> Floats:
        counts = histories.counts[rows]
        full = int(counts.min()) >= FULL
        known = _ALL[: len(rows)] if full else stretches(counts)
        differences = _differences(rows, known, histories, scratch)
        self._bound(rows, differences, histories)
        sums = self.fading[rows]
        sums *= _KEPT
        sums += differences
        np.maximum(sums, NOTHING, out=sums)
        self.fading[rows] = sums
        usable = known if full else comparable(counts)
        if not full:
            for at in np.flatnonzero(usable < REFERENCES).tolist():
                self.fading[rows[at], known[at] :] = 0.0
                sums[at, usable[at] :] = np.inf
        nearest = _smallest(sums)
        nearest[nearest <= np.maximum(LEAST * self.largest[rows], NEAREST * NOTHING)] = 0.0
        if not full:
            nearest[usable < FEWEST] = np.nan
        return nearest

    def _bound(self, rows: Ints, differences: Floats, histories: Histories) -> None:
        """Bounds the differences by the largest ones before, and remembers the largest."""
        largest, most = self.largest[rows], differences.max(axis=1)
        bound = GROWTH * largest
        if not bound.all():
            before = histories.values[rows, np.minimum(histories.first(rows) + 1, ROOM - 1)]
            bound = np.where(bound > 0, bound, GROWTH * np.abs(before))
            bound[bound == 0] = np.inf
        self.largest[rows] = np.maximum(largest * FORGETS, np.minimum(most, bound))
        if (most > bound).any():
            np.minimum(differences, bound[:, None], out=differences)

    def likely(self, row: int, histories: Histories) -> tuple[float, float] | None:
        """Between which values the most similar stretches had the newest point; None while there is too little past."""
        usable = int(comparable(histories.counts[row : row + 1])[0])
        if usable < FEWEST:
            return None
        nearest = np.argpartition(self.fading[row, :usable], NEAREST - 1)[:NEAREST]
        ages = NEAR + nearest[:, None] * WIDTH + np.arange(WIDTH)
        values = histories.newest(row)[ages]
        return float(values.min()), float(values.max())


def stretches(counts: Ints) -> Ints:
    """How many stretches of the past there are after so many points."""
    return np.minimum(np.maximum((counts - NEAR) // WIDTH, 0), REFERENCES)


def comparable(counts: Ints) -> Ints:
    """How many of them have enough points of their own."""
    return stretches(counts - LEAD * WIDTH)


def _differences(rows: Ints, known: Ints, histories: Histories, scratch: Floats) -> Floats:
    """Per row and stretch, the smallest difference of the newest value to those of the stretch. Overwrites scratch."""
    values = histories.values
    for at, (row, first, count) in enumerate(
        zip(rows.tolist(), histories.first(rows).tolist(), known.tolist(), strict=True)
    ):
        used = count * WIDTH
        past = values[row, first + NEAR : first + NEAR + used]
        np.subtract(past, values[row, first], out=scratch[at, :used])
        scratch[at, used:] = 0.0
    np.abs(scratch, out=scratch)
    early = scratch.reshape(len(rows), REFERENCES, WIDTH)
    smallest = np.minimum(early[:, :, 0], early[:, :, 1])
    for shift in range(2, WIDTH):
        np.minimum(smallest, early[:, :, shift], out=smallest)
    return smallest


def _smallest(sums: Floats) -> Floats:
    """The sum of the NEAREST smallest of each row, smallest first. Overwrites them."""
    lines = np.arange(len(sums))
    total = np.zeros(len(sums))
    for _ in range(NEAREST):
        at = sums.argmin(axis=1)
        total += sums[lines, at]
        sums[lines, at] = np.inf
    return total
