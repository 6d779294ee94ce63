"""How rare a distance is among those that the series had before.

The score is -log10 of the share of the last MEMORY distances, itself included, that are as large: a conformal p-value
(Vovk et al., "Algorithmic Learning in a Random World", 2005), which needs no distribution. It cannot say more than
"the largest of 4,000". Beyond the largest the share is taken to go on falling as a power, whose exponent is half of
what Hill's estimator (Hill, "A simple general approach to inference about the tail of a distribution", 1975) finds in
the largest tenth, and at most STEEPEST: distances come in clumps, and an estimate from few clumps is not to be trusted.

A distance is kept as the upper 16 bits of its float64 without the sign: steps of 2 to 3 %. What differs by less is a
tie, and counts as large: the last bits of a sum, and a slow drift, are nothing new.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from engine.anomaly.rows import Rows
from engine.model import Floats, Ints

MEMORY = 4000
FEWEST, EVERY = 500, 100
"""Distances below which nothing is said of what lies beyond the largest, and after which the exponent is found anew."""
TAIL = 10
"""The largest one in so many is the tail."""
STEEPEST, MISTRUST, UNKNOWN = 8.0, 0.5, 1.0
"""Of the exponent: the bound, the part of the estimate that is taken, and what it is where hardly any distance is above
0, so that there is nothing to estimate."""
HIGHEST = 12.0
"""The highest score."""

_SHIFT = 47
_INT, _FLOAT = struct.Struct("<q"), struct.Struct("<d")


def steps(distances: Floats) -> NDArray[np.uint16]:
    """The distances, which are not negative, as they are kept."""
    return np.asarray((distances.view(np.int64) >> _SHIFT).astype(np.uint16))


def sizes(kept: NDArray[np.uint16]) -> Floats:
    """The smallest distance that each step stands for."""
    return np.asarray((kept.astype(np.int64) << _SHIFT).view(np.float64))


def size(step: int) -> float:
    """The same for one."""
    return float(_FLOAT.unpack(_INT.pack(step << _SHIFT))[0])


class Rarities(Rows):
    """kept: the last distances, a ring in each row; counts: how many each has had; steepness: the exponent of its
    tail, 0 while it is not known."""

    __slots__ = ("counts", "kept", "steepness")
    columns = __slots__

    def __init__(self, rows: int) -> None:
        self.kept = np.zeros((rows, MEMORY), np.uint16)
        self.counts = np.zeros(rows, np.int64)
        self.steepness = np.zeros(rows)

    def scores(self, rows: Ints, distances: Floats) -> Floats:
        """The score of each row's new distance, which is remembered; 0 for nan."""
        known = ~np.isnan(distances)
        new = steps(np.where(known, distances, 0.0))
        found = [
            self._score(row, count, step) if there else 0.0
            for row, count, step, there in zip(
                rows.tolist(), self.counts[rows].tolist(), new, known.tolist(), strict=True
            )
        ]
        self.counts[rows] += known
        return np.array(found)

    def _score(self, row: int, count: int, step: np.uint16) -> float:
        kept = self.kept[row]
        held = kept[:count] if count < MEMORY else kept
        larger = int(np.count_nonzero(held >= step))
        score = math.log10((1 + len(held)) / (1 + larger))
        if not larger and self.steepness[row] > 0 and (most := int(held.max())):
            score += float(self.steepness[row]) * math.log10(size(int(step)) / size(most))
        kept[count % MEMORY] = step
        if count >= FEWEST and count % EVERY == 0:
            self.steepness[row] = steepness(held)
        return min(score, HIGHEST)


def steepness(held: NDArray[np.uint16]) -> float:
    """The exponent with which the share of distances falls beyond the largest of those held."""
    tail = len(held) // TAIL
    top = sizes(np.sort(np.partition(held, -tail - 1)[-tail - 1 :]))
    top = top[top > 0]
    if len(top) <= FEWEST // TAIL:
        return UNKNOWN
    spread = float(np.log(top[1:] / top[0]).mean())
    return min(STEEPEST, MISTRUST / spread) if spread > 0 else STEEPEST
