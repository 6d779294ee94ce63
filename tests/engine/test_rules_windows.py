"""Windows folded from steps beside windows over the raw samples."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.windows import change, deciding, fold, parts, slide, worst
from tests.rules_support import NAN, rule

STEP = 5_000
SAMPLES = st.lists(
    st.lists(st.lists(st.sampled_from([-2.0, 0.0, 0.1, 1e9, 3.5]), max_size=3), min_size=12, max_size=12),
    min_size=1, max_size=3,
)  # fmt: skip
"""Of each group, of each step, the samples."""


def one(aggregation: str, samples: list[float], window: int) -> float:
    """An aggregation of raw samples; `increase` stands for the sum of what they add."""
    if not samples:
        return 0.0 if aggregation in ("sum", "count") else NAN
    return {
        "sum": sum(samples), "count": float(len(samples)), "average": statistics.fmean(samples), "min": min(samples),
        "max": max(samples), "first": samples[0], "last": samples[-1], "increase": sum(samples),
        "rate": sum(samples) / (window / 1000), "stddev": statistics.pstdev(samples),
    }[aggregation]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    SAMPLES, st.integers(1, 13),
    st.sampled_from(["sum", "count", "average", "min", "max", "first", "last", "increase", "rate", "stddev"]),
)  # fmt: skip
def test_a_window_of_steps_is_one_of_samples(samples: list[list[list[float]]], size: int, aggregation: str) -> None:
    steps = {
        part: np.array([[one(part, each, STEP) for each in group] for group in samples]) for part in parts(aggregation)
    }
    counts = np.array([[len(each) for each in group] for group in samples])
    values, held = fold(aggregation, steps, counts, STEP, size * STEP)
    assert values.shape == held.shape == (len(samples), max(0, 13 - size))
    for group, found, many in zip(samples, values, held, strict=True):
        largest = max((abs(sample) for each in group for sample in each), default=0.0)
        for end, (value, count) in enumerate(zip(found.tolist(), many.tolist(), strict=True)):
            within = [sample for each in group[end : end + size] for sample in each]
            assert count == len(within)
            expected = one(aggregation, within, size * STEP)
            # A deviation is told about the mean of the whole row; anything else sees only what is in the window.
            error = 1e-7 * largest if aggregation == "stddev" else 1e-12 * max(map(abs, within), default=0.0)
            assert value == pytest.approx(expected, rel=1e-9, abs=error, nan_ok=True)


@given(st.lists(st.integers(-5, 5), max_size=40), st.integers(1, 12))
def test_slides_are_those_of_a_loop(values: list[int], size: int) -> None:
    rows = np.array([values, values[::-1]], np.int64).reshape(2, -1)
    for operation, naive in ((np.add, sum), (np.maximum, max), (np.minimum, min)):
        expected = [[naive(row[at : at + size]) for at in range(len(row) - size + 1)] for row in rows.tolist()]
        assert slide(operation, rows, size).tolist() == expected


def test_nothing_is_left_of_what_has_gone() -> None:
    values = np.zeros((1, 50))
    values[0, 10] = 1e17
    values[0, 11] = 0.1
    total, _ = fold("sum", {"sum": values}, np.ones((1, 50), np.int64), STEP, 4 * STEP)
    assert total[0, 11] == 0.1 and not total[0, 12:].any()


def test_a_window_that_is_no_whole_number_of_steps_is_scaled() -> None:
    values, counts = np.full((1, 4), 6.0), np.ones((1, 4), np.int64)
    for aggregation, expected in (("sum", 3.0), ("increase", 3.0), ("rate", 0.1), ("max", 6.0), ("average", 6.0)):
        found, _ = fold(aggregation, dict.fromkeys(parts(aggregation), values), counts, 60_000, 30_000)
        assert found.tolist() == [[pytest.approx(expected)] * 4], aggregation


def test_what_cannot_be_folded_says_so() -> None:
    assert [parts(name) for name in ("percentile_95", "median", "unique", "of mine")] == [()] * 4


def test_changes_are_absolute_or_in_percent_of_what_was() -> None:
    now, before = np.array([15.0, 5.0, 5.0, NAN, -5.0]), np.array([10.0, 0.0, NAN, 1.0, -10.0])
    assert change(now, before, relative=False).tolist()[:2] == [5.0, 5.0]
    percent = change(now, before, relative=True).tolist()
    assert percent[0] == 50.0 and percent[4] == 50.0 and all(map(math.isnan, percent[1:4]))


def test_of_each_arriving_value_the_one_that_decides() -> None:
    columns = {"first": np.array([1.0, 2.0]), "last": np.array([2.0, 1.0]), "min": np.array([0.0, 0.0])}
    assert deciding(rule(op=">=")) == ("max",) and deciding(rule(op="<")) == ("min",)
    assert worst(rule(op="<"), columns).tolist() == [0.0, 0.0]
    assert deciding(rule(op="==")) == ("first", "last")
    assert worst(rule(op="==", critical=1.0), columns).tolist() == [1.0, 1.0]
    assert worst(rule(op="!=", critical=1.0), columns).tolist() == [2.0, 2.0]
