"""One alert by example: what people see of it, second by second."""

from __future__ import annotations

from engine.rules.model import (
    BEGAN,
    CANCELLED,
    CHANGED,
    CONDITION,
    CRITICAL,
    ERROR,
    FIRE,
    FIRED,
    KEEP,
    NO_DATA,
    NOTED,
    OK,
    QUIET,
    RESOLVED,
    SILENT,
    WARNING,
    Rule,
    State,
)
from engine.rules.step import NOTE_EVERY, due, step
from tests.rules_support import T0, Reading, rule, seconds, walk

Line = tuple[int, str, int]
BOTH = {"warning": 80.0, "critical": 100.0}


def lines(rule: Rule, readings: list[Reading]) -> list[Line]:
    """(seconds from the start, kind, level) of the edges but those that are only noted."""
    return [((at - T0) // 1000, kind, s.level) for at, kind, s in walk(rule, readings) if kind != NOTED]


def test_without_for_it_fires_and_resolves_at_once() -> None:
    edges = walk(rule(), seconds(100, 101, 300, 200, 99))
    assert [(at - T0, kind) for at, kind, _ in edges] == [(1000, FIRED), (4000, RESOLVED)]
    (_, _, fired), (_, _, resolved) = edges
    assert (fired.value, fired.peak, fired.fired, fired.since) == (101, 101, T0 + 1000, (T0 + 1000, T0 + 1000))
    assert (resolved.value, resolved.peak, resolved.peak_at, resolved.last) == (101, 300, T0 + 2000, 99)
    assert resolved.fired == T0 + 1000, "what was is told with its end"


def test_for_asks_that_it_lasts() -> None:
    slow = rule(hold=3000)
    assert lines(slow, seconds(101, 101, 101, 99)) == [(0, BEGAN, CRITICAL), (3, CANCELLED, OK)]
    assert lines(slow, seconds(101, 101, 99, 101, 101, 101, 101)) == [
        (0, BEGAN, CRITICAL), (2, CANCELLED, OK), (3, BEGAN, CRITICAL), (6, FIRED, CRITICAL),
    ]  # fmt: skip


def test_each_level_counts_its_own_for() -> None:
    both = rule(hold=2000, **BOTH)
    assert lines(both, seconds(90, 101, 101, 101, 90)) == [
        (0, BEGAN, WARNING), (2, FIRED, WARNING), (3, CHANGED, CRITICAL), (4, CHANGED, WARNING),
    ]  # fmt: skip
    assert lines(both, seconds(101, 101, 101)) == [(0, BEGAN, CRITICAL), (2, FIRED, CRITICAL)]


def test_warning_only_never_becomes_critical() -> None:
    assert lines(rule(warning=80.0), seconds(81, 1e9, 80)) == [(0, FIRED, WARNING), (2, RESOLVED, OK)]


def test_de_escalation_waits_as_the_end_does() -> None:
    both = rule(keep=2000, **BOTH)
    assert lines(both, seconds(101, 90, 101, 90, 90, 90, 1, 1, 1)) == [
        (0, FIRED, CRITICAL), (5, CHANGED, WARNING), (8, RESOLVED, OK),
    ]  # fmt: skip


def test_keep_firing_outlives_a_gap_and_says_since_when() -> None:
    edges = walk(rule(keep=3000), seconds(101, 1, 1, 101, 1, 1, 1, 1))
    assert [((at - T0) // 1000, kind) for at, kind, _ in edges] == [
        (0, FIRED), (1, NOTED), (3, NOTED), (4, NOTED), (7, RESOLVED),
    ]  # fmt: skip
    assert {state.since for _, kind, state in edges if kind == NOTED} == {(T0, T0)}


def test_recovery_keeps_it_firing_but_does_not_begin_it() -> None:
    steady = rule(critical=100.0, critical_recovery=90.0)
    assert lines(steady, seconds(95, 101, 95, 91, 90, 95)) == [(1, FIRED, CRITICAL), (4, RESOLVED, OK)]
    assert lines(rule(critical=100.0, critical_recovery=90.0, hold=2000), seconds(101, 95, 101)) == [
        (0, BEGAN, CRITICAL), (1, CANCELLED, OK), (2, BEGAN, CRITICAL),
    ]  # fmt: skip


def test_a_critical_alert_falls_to_warning_and_is_kept_there() -> None:
    both = rule(warning=80.0, critical=100.0, warning_recovery=70.0, critical_recovery=95.0)
    assert lines(both, seconds(101, 96, 75, 70)) == [(0, FIRED, CRITICAL), (2, CHANGED, WARNING), (3, RESOLVED, OK)]


def test_no_data_becomes_a_condition_without_a_resolve_in_between() -> None:
    watched = rule(on_no_data=FIRE, hold=2000)
    edges = walk(watched, seconds(None, None, None, None, 150, 150, 50))
    assert [((at - T0) // 1000, kind, s.cause) for at, kind, s in edges] == [
        (0, BEGAN, SILENT), (2, FIRED, SILENT), (4, NOTED, CONDITION), (6, RESOLVED, CONDITION),
    ]  # fmt: skip
    assert (edges[1][2].value, edges[1][2].peak, edges[3][2].peak) == (None, None, 150)


def test_a_pending_condition_goes_on_as_no_data_with_the_same_for() -> None:
    assert lines(rule(on_no_data=FIRE, hold=3000), seconds(101, 101, None, None)) == [
        (0, BEGAN, CRITICAL), (3, FIRED, CRITICAL),
    ]  # fmt: skip


def test_as_before_goes_on_to_fire_and_goes_on_to_end() -> None:
    kept = rule(on_no_data=KEEP, on_error=KEEP, hold=2000, keep=2000)
    assert lines(kept, seconds(101, None, "error", "error")) == [(0, BEGAN, CRITICAL), (2, FIRED, CRITICAL)]
    assert lines(kept, seconds(101, 101, 101, None, None, None, None)) == [(0, BEGAN, CRITICAL), (2, FIRED, CRITICAL)]
    assert lines(kept, seconds(101, 101, 101, 1, None, None)) == [
        (0, BEGAN, CRITICAL), (2, FIRED, CRITICAL), (5, RESOLVED, OK),
    ]  # fmt: skip
    assert lines(kept, seconds(None, "error", None)) == [], "nothing has been before"


def test_no_data_that_means_nothing_ends_an_alert_and_says_why() -> None:
    (_, _, fired), (_, kind, ended) = walk(rule(), seconds(101, None))
    assert fired.cause == CONDITION
    assert (kind, ended.cause, ended.last) == (RESOLVED, SILENT, None)


def test_a_rule_of_no_data_fires_when_a_source_goes_quiet() -> None:
    assert lines(rule(kind=NO_DATA, hold=1000), seconds(5, None, None, None, 0)) == [
        (1, BEGAN, CRITICAL), (2, FIRED, CRITICAL), (4, RESOLVED, OK),
    ]  # fmt: skip


def test_errors_fire_where_they_shall() -> None:
    edges = walk(rule(on_error=FIRE, warning=80.0), seconds(1, "error", 1))
    assert [(kind, s.level, s.cause) for _, kind, s in edges] == [
        (FIRED, WARNING, ERROR), (RESOLVED, OK, CONDITION),
    ]  # fmt: skip


def test_a_leap_of_the_log_ends_what_was_waited_for() -> None:
    leap = [Reading(T0, 101.0), Reading(T0, 101.0), Reading(T0 + 3_600_000, 101.0), Reading(T0 + 7_200_000, 1.0)]
    assert lines(rule(hold=60_000, keep=60_000), leap) == [(0, BEGAN, CRITICAL), (3600, FIRED, CRITICAL)]


def test_a_new_peak_is_noted_now_and_then_and_not_lost() -> None:
    rising = [100.0 + n for n in range(1, 16)] + [101.0] * 10
    edges = walk(rule(), seconds(*rising), every=False)
    assert [((at - T0) // 1000, kind, s.peak) for at, kind, s in edges] == [
        (0, FIRED, 101), (10, NOTED, 111), (20, NOTED, 115),
    ]  # fmt: skip
    state = State("firing", CRITICAL, since=(1, 1), fired=1, peak=5.0, peak_at=7, noted=3)
    assert due(rule(), state) == 3 + NOTE_EVERY


def test_the_peak_of_low_values_is_the_lowest_and_of_equal_ones_the_first() -> None:
    assert walk(rule(op="<", critical=0.0), seconds(-1, -5, -2, 1))[-1][2].peak == -5
    assert walk(rule(op="!=", critical=1.0), seconds(2, -5, 3, 1))[-1][2].peak == -5
    assert walk(rule(op="==", critical=1.0, keep=2000), seconds(1, 9, 9, 9))[-1][2].peak == 1


def test_nothing_to_say_is_always_the_same_state() -> None:
    assert step(rule(), QUIET, OK, OK, CONDITION, 5.0, T0) == (QUIET, None)
    ended, kind = step(rule(), step(rule(), QUIET, 2, 2, CONDITION, 5.0, T0)[0], 0, 0, CONDITION, 1.0, T0 + 1)
    assert kind == RESOLVED and ended != QUIET and due(rule(), ended) is None
    assert step(rule(), ended, OK, OK, CONDITION, 1.0, T0 + 2) == (QUIET, None)
    again, kind = step(rule(), ended, 2, 2, CONDITION, 7.0, T0 + 2)
    assert kind == FIRED and (again.fired, again.value, again.peak) == (T0 + 2, 7.0, 7.0)
