"""The step of an alert beside a naive one that looks back at all of its past each second."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings

from engine.rules import conditions
from engine.rules.conditions import AS_BEFORE, levels
from engine.rules.model import CRITICAL, FIRED, FIRING, INACTIVE, OK, QUIET, RESOLVED, WARNING, Rule
from engine.rules.step import due, step, worse
from tests.rules_support import NUMBERS, Reading, condition, naive, rules, streams, told, walk


@settings(max_examples=120, deadline=None)
@given(rules(), streams())
def test_the_edges_are_those_of_the_naive_alert(rule: Rule, readings: list[Reading]) -> None:
    assert told(walk(rule, readings)) == naive(rule, readings)


@settings(max_examples=120, deadline=None)
@given(rules(), streams())
def test_only_changes_and_timers_have_to_be_stepped(rule: Rule, readings: list[Reading]) -> None:
    assert walk(rule, readings, every=False) == walk(rule, readings)


@settings(max_examples=80, deadline=None)
@given(rules(), streams())
def test_what_fires_is_resolved_before_it_fires_again(rule: Rule, readings: list[Reading]) -> None:
    fires = False
    for _, kind, state in walk(rule, readings):
        if kind in (FIRED, RESOLVED):
            assert fires == (kind == RESOLVED)
            fires = kind == FIRED
        assert (state.status == FIRING) == fires
        assert all(state.since) or not state.since[1], "a level never begins before the one below it"
        assert state.status == INACTIVE or state.since[0]


@settings(max_examples=80, deadline=None)
@given(rules(), streams())
def test_a_timer_is_set_while_something_counts_and_never_lies_behind(rule: Rule, readings: list[Reading]) -> None:
    values, causes = np.array([r.value for r in readings]), np.array([r.cause for r in readings], np.int32)
    state = QUIET
    for (at, number, cause), up, hold in zip(
        readings, *map(np.ndarray.tolist, levels(rule, values, causes)), strict=True
    ):
        state, _ = step(rule, state, up, hold, cause, None if math.isnan(number) else number, at)
        when = due(rule, state)
        assert when is None or when > at
        counts = state.status == "pending" or any(state.clear)
        assert not counts or when is not None


@settings(max_examples=100, deadline=None)
@given(rules(), streams())
def test_columns_say_what_scalars_say(rule: Rule, readings: list[Reading]) -> None:
    values, causes = np.array([r.value for r in readings]), np.array([r.cause for r in readings], np.int32)
    up, hold = levels(rule, values, causes)
    for reading, u, h in zip(readings, up.tolist(), hold.tolist(), strict=True):
        said = condition(rule, reading.value, reading.cause)
        if said is None:
            assert (u, h) == (AS_BEFORE, AS_BEFORE)
        else:
            reached = CRITICAL if said[1] else WARNING if said[0] else OK
            kept = CRITICAL if said[3] else WARNING if said[2] else OK
            assert (u, h) == (reached, kept)


@given(rules(), NUMBERS, NUMBERS)
def test_worse_in_columns_is_worse(rule: Rule, value: float, peak: float) -> None:
    columns = conditions.worse(rule, np.array([value, value, np.nan]), np.array([peak, np.nan, peak]))
    assert columns.tolist() == [worse(rule, value, peak), worse(rule, value, None), False]
