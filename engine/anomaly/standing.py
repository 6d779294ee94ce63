"""How a watched series stands: a line of the ranking of anomalies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.model import Floats

LOW, HIGH = 0.05, 0.95
"""Quantiles of the past values between which the typical range lies."""


class Standing(NamedTuple):
    """One watched series now.

    score: of its newest point; anomalous: whether an episode goes on, since when (ms) and how high its score came,
    else None and 0. value, at: the newest point. low, middle, high: typical values, the 5th, 50th and 95th percentile
    of what is kept from before the episode (4,000 points at most). likely: between which values the most similar
    moments of the past were, None for too few.
    """

    series: int
    score: float
    anomalous: bool
    since: int | None
    peak: float
    value: float
    at: int
    low: float
    middle: float
    high: float
    likely: tuple[float, float] | None


def typical(newest: Floats, unusual: int) -> tuple[float, float, float]:
    """Low, middle and high value of those, newest first, that come before the `unusual` newest ones."""
    usual = newest[unusual:] if unusual < len(newest) else newest
    places = [round(share * (len(usual) - 1)) for share in (LOW, 0.5, HIGH)]
    ordered = np.partition(usual, places)
    return float(ordered[places[0]]), float(ordered[places[1]]), float(ordered[places[2]])
