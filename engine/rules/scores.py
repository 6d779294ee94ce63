"""Scores of anomaly rules: what a detector says, as values that a rule compares with its threshold."""

from __future__ import annotations

import numpy as np

from engine.anomaly import THRESHOLD, Detector, Verdicts
from engine.model import Floats
from engine.rules.model import Rule


def scores_of(verdicts: Verdicts) -> Floats:
    """The highest score of an episode that goes on; else the newest one, as far as it is none; nan without a point.

    The threshold of a rule is never below THRESHOLD, so only an episode can reach it.
    """
    calm = np.minimum(verdicts.scores, THRESHOLD)
    return np.where(np.isnan(verdicts.scores), np.nan, np.where(verdicts.anomalous, verdicts.peaks, calm))


class Scorer:
    """Scores a past, part after part, in order of time."""

    def __init__(self) -> None:
        self._detector: Detector | None = None

    def __call__(self, rule: Rule, values: Floats, step: int) -> Floats:
        """The scores of values, [groups, steps] both; step: ms. A group has a point in each of the rule's windows, and
        keeps its score up to the next."""
        if step > rule.query.range:  # too long ago to be known so finely
            return np.full(values.shape, np.nan)
        groups, steps = values.shape
        if self._detector is None:
            self._detector = Detector(max(1, groups))
        stride = max(1, rule.query.range // step)
        numbers, scores = np.arange(groups), np.full(values.shape, np.nan)
        for at in range(stride - 1, steps, stride):
            found = scores_of(self._detector.observe(numbers, values[:, at], at * step))
            scores[:, at : at + stride] = found[:, None]
        return scores
