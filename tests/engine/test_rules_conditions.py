"""Conditions by example: thresholds of 0, equal values, recoveries, unknowns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.rules.conditions import AS_BEFORE, levels
from engine.rules.model import CONDITION, CRITICAL, ERROR, FIRE, KEEP, NO_DATA, OK, SILENT, WARNING, Rule
from tests.rules_support import NAN, rule


def both(rule: Rule, *values: float, cause: int = CONDITION) -> list[tuple[int, int]]:
    up, hold = levels(rule, np.array(values), np.full(len(values), cause, np.int32))
    return list(zip(up.tolist(), hold.tolist(), strict=True))


@pytest.mark.parametrize(
    ("op", "reached"),
    [
        (">", [False, False, True]), ("<", [True, False, False]), (">=", [False, True, True]),
        ("<=", [True, True, False]), ("==", [False, True, False]), ("!=", [True, False, True]),
    ],
)  # fmt: skip
def test_a_threshold_of_zero_is_one_like_any_other(op: str, reached: list[bool]) -> None:
    expected = [(CRITICAL, CRITICAL) if each else (OK, OK) for each in reached]
    assert both(rule(op=op, critical=0.0), -1.0, -0.0, 1.0) == expected


def test_equal_is_equal_but_for_the_last_digits() -> None:
    same = both(rule(op="==", critical=0.3), 0.1 + 0.2, 0.3001, NAN, np.inf)
    assert same == [(2, 2), (0, 0), (0, 0), (0, 0)]
    other = both(rule(op="!=", critical=1e12), 1e12 + 1, 1e12 + 10_000, NAN, np.inf)
    assert other == [(0, 0), (2, 2), (0, 0), (2, 2)]


def test_a_recovery_keeps_a_level_that_would_not_be_reached() -> None:
    latency = rule(warning=80.0, critical=100.0, warning_recovery=60.0, critical_recovery=90.0)
    assert both(latency, 60, 70, 80, 85, 95, 100, 101) == [(0, 0), (0, 1), (0, 1), (1, 1), (1, 2), (1, 2), (2, 2)]
    memory = rule(op="<", critical=10.0, critical_recovery=20.0)
    assert both(memory, 9, 10, 19, 20) == [(2, 2), (0, 2), (0, 2), (0, 0)]


def test_recoveries_that_contradict_their_thresholds_change_nothing() -> None:
    assert both(rule(critical=100.0, critical_recovery=120.0), 100, 110, 130) == [(0, 0), (2, 2), (2, 2)]
    # Warning kept at no value at which critical is not kept too.
    assert both(rule(warning=80.0, critical=100.0, critical_recovery=50.0), 55, 85, 101) == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, (OK, OK)),
        ({"on_no_data": KEEP}, (AS_BEFORE, AS_BEFORE)),
        ({"on_no_data": FIRE}, (CRITICAL, CRITICAL)),
        ({"on_no_data": FIRE, "warning": 5.0}, (WARNING, WARNING)),
        ({"kind": NO_DATA}, (CRITICAL, CRITICAL)),
        ({"on_error": FIRE}, (OK, OK)),
    ],
)
def test_no_data_means_what_the_rule_says(members: dict[str, Any], expected: tuple[int, int]) -> None:
    assert both(rule(**members), 500.0, NAN, cause=SILENT) == [expected, expected]
    assert both(rule(**members), NAN, cause=CONDITION) == [expected], "an unknown value is no data"


def test_an_error_means_what_the_rule_says_and_is_not_no_data() -> None:
    assert both(rule(), NAN, cause=ERROR) == [(AS_BEFORE, AS_BEFORE)]
    assert both(rule(on_error=FIRE), NAN, cause=ERROR) == [(CRITICAL, CRITICAL)]
    assert both(rule(on_error="ok", on_no_data=FIRE), NAN, 500.0, cause=ERROR) == [(OK, OK), (OK, OK)]


def test_a_rule_of_no_data_sees_nothing_in_values() -> None:
    assert both(rule(kind=NO_DATA), 0.0, 1e9) == [(OK, OK), (OK, OK)]


def test_tables_have_levels_of_their_shape() -> None:
    up, hold = levels(rule(), np.array([[1.0, 101.0], [NAN, 200.0]]), np.zeros((2, 2), np.int32))
    assert up.tolist() == [[0, 2], [0, 2]] == hold.tolist()
    empty, _ = levels(rule(), np.empty(0), np.empty(0, np.int32))
    assert empty.shape == (0,)
