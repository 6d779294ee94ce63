"""From false alarms to thresholds and back.

On a series that does nothing new, a score of `s` is reached by one point in 10^s (engine.anomaly.rarity). Were the
points independent, an alarm that is followed by a rest of REST points would come every 10^s + REST points. Large
distances come in clumps, of which each is one alarm, so that there are fewer: the figures here are bounds. On noise of
15 kinds (2.7 million points: white, autocorrelated, seasonal, counts, skewed, rare bursts, random walks) a tenth to a
half of the bound is seen up to a score of 3. Beyond 3.6, where what is larger than the last 4,000 is extrapolated, the
heaviest tails (Student's t with 3 degrees of freedom, lognormal) come to as much as the bound, the others to far less.
"""

from __future__ import annotations

import math

import numpy as np

from engine.anomaly.episodes import REST, TO, bar
from engine.anomaly.rarity import HIGHEST

LOWEST = float(bar(np.array([TO]))[0])
"""The bar that episodes have to take in the end: 1.86."""


def threshold_for(budget: float, points_per_day: float) -> float:
    """The score to page at for at most `budget` false alarms per series and day (0.02: one in fifty days).

    points_per_day: 1440 with a point a minute. Never below LOWEST, nor above the highest score there is. Raises
    ValueError for what is not positive.
    """
    if not (budget > 0 and points_per_day > 0):
        raise ValueError("a budget and the points of a day are above 0")
    points = points_per_day / budget - REST
    return min(max(LOWEST, math.log10(points)), HIGHEST) if points > 1 else LOWEST


def alarms_per_day(threshold: float, points_per_day: float) -> float:
    """At most so many false alarms per series and day come with a threshold: the inverse of `threshold_for`."""
    return points_per_day / (10**threshold + REST)
