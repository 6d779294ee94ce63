"""Rules, readings and a naive alert for the tests of engine.rules: booleans, second by second, from the whole past."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from engine.query.value import Query
from engine.rules.conditions import levels
from engine.rules.model import (
    BEGAN,
    CANCELLED,
    CHANGED,
    CONDITION,
    CRITICAL,
    ERROR,
    FIRE,
    FIRED,
    FIRING,
    IGNORE,
    KEEP,
    NO_DATA,
    OK,
    OPERATORS,
    QUIET,
    RESOLVED,
    SILENT,
    THRESHOLD,
    WARNING,
    Rule,
    State,
)
from engine.rules.step import due, step, worse

T0 = 1_700_000_000_000
NAN = math.nan
QUERY = Query("metric", "latency", aggregation="average", range=300_000)


def rule(**members: Any) -> Rule:
    """A rule on `latency`, critical above 100 where nothing else is said."""
    given: dict[str, Any] = {"id": "alert_1", "name": "Slow", "kind": THRESHOLD, "query": QUERY, **members}
    if not {"critical", "warning"} & given.keys() and given["kind"] != NO_DATA:
        given["critical"] = 100.0
    return Rule(**given)


class Reading(NamedTuple):
    """What one alert sees at a moment."""

    at: int
    value: float
    cause: int = CONDITION


class Seen(NamedTuple):
    """An edge, as far as people see it."""

    at: int
    kind: str
    level: int
    cause: int
    value: float | None
    peak: float | None


def seconds(*values: float | str | None, start: int = T0) -> list[Reading]:
    """A reading each second; None for no data, "error" for an error."""
    found = []
    for number, value in enumerate(values):
        at = start + number * 1000
        cause = SILENT if value is None else ERROR if value == "error" else CONDITION
        found.append(Reading(at, float(value) if isinstance(value, float | int) else NAN, cause))
    return found


def walk(rule: Rule, readings: list[Reading], every: bool = True) -> list[tuple[int, str, State]]:
    """The edges of one alert. every: `step` is called for each reading, or only where that is needed."""
    values, causes = np.array([r.value for r in readings]), np.array([r.cause for r in readings], np.int32)
    up, hold = levels(rule, values, causes)
    state, edges, last = QUIET, [], (0, 0, CONDITION)
    for (at, number, cause), u, h in zip(readings, up.tolist(), hold.tolist(), strict=True):
        value = None if math.isnan(number) else number
        when = due(rule, state)
        timer = when is not None and when <= at
        peaked = state.status == FIRING and value is not None and worse(rule, value, state.peak)
        if every or (u, h, cause) != last or timer or peaked:
            state, kind = step(rule, state, u, h, cause, value, at)
            if kind is not None:
                edges.append((at, kind, state))
        last = (u, h, cause)
    return edges


def told(edges: list[tuple[int, str, State]]) -> list[Seen]:
    """Those that people see."""
    return [
        Seen(at, kind, s.level, s.cause, s.last, s.peak if kind in (FIRED, CHANGED, RESOLVED) else None)
        for at, kind, s in edges if kind != "noted"
    ]  # fmt: skip


def condition(rule: Rule, value: float, cause: int) -> tuple[bool, bool, bool, bool] | None:
    """(warning reached, critical reached, warning kept, critical kept), by hand; None for "as before"."""
    if cause == CONDITION and math.isnan(value):
        cause = SILENT
    if cause == SILENT and rule.kind == NO_DATA:
        return True, True, True, True
    if cause != CONDITION:
        meaning = rule.on_no_data if cause == SILENT else rule.on_error
        if meaning == KEEP:
            return None
        critical = meaning == FIRE and (rule.critical is not None or rule.kind == NO_DATA)
        return meaning == FIRE, critical, meaning == FIRE, critical
    if rule.kind == NO_DATA:
        return False, False, False, False

    def beyond(threshold: float | None) -> bool:
        if threshold is None:
            return False
        near = abs(value - threshold) <= 1e-9 * max(1, abs(threshold))
        return {
            ">": value > threshold, "<": value < threshold, ">=": value >= threshold, "<=": value <= threshold,
            "==": near, "!=": not near,
        }[rule.op]  # fmt: skip

    def kept(threshold: float | None, recovery: float | None) -> bool:
        return threshold is not None and (beyond(threshold) or beyond(threshold if recovery is None else recovery))

    critical = beyond(rule.critical)
    keeps_critical = kept(rule.critical, rule.critical_recovery)
    warning = critical or beyond(rule.warning)
    return warning, critical, warning or keeps_critical or kept(rule.warning, rule.warning_recovery), keeps_critical


@dataclass
class Naive:
    """An alert that remembers all it has seen, and looks back at it each time."""

    rule: Rule
    held: dict[int, list[tuple[int, bool]]] = field(default_factory=lambda: {WARNING: [], CRITICAL: []})
    """Of each level: whether its condition held, at each moment."""
    fires: dict[int, bool] = field(default_factory=lambda: {WARNING: False, CRITICAL: False})
    counting: bool = False
    cause: int = CONDITION
    values: list[float] = field(default_factory=list)
    """Those while it fired."""
    edges: list[Seen] = field(default_factory=list)

    def see(self, at: int, value: float, cause: int) -> None:
        """One reading."""
        before, counted = self.level, self.counting
        said = condition(self.rule, value, cause)
        for level in (WARNING, CRITICAL):
            past = self.held[level]
            if said is None:
                holds = past[-1][1] if past else False
            else:
                holds = said[level - 1] or (said[level + 1] and before >= level)
            past.append((at, holds))
        if said is not None and self.held[WARNING][-1][1]:
            self.cause = cause
        for level in (WARNING, CRITICAL):
            lasted, holds = self._streak(level), self.held[level][-1][1]
            if holds:
                self.fires[level] = self.fires[level] or lasted >= self.rule.hold
            else:
                self.fires[level] = self.fires[level] and lasted < self.rule.keep
        self.counting = not self.level and self.held[WARNING][-1][1]
        self._tell(before, counted, at, None if math.isnan(value) else value, CONDITION if said is None else cause)

    @property
    def level(self) -> int:
        return CRITICAL if self.fires[CRITICAL] else WARNING if self.fires[WARNING] else OK

    def _streak(self, level: int) -> int:
        """For how long the condition has been what it is now, ms."""
        past = self.held[level]
        since = past[-1][0]
        for at, holds in reversed(past):
            if holds != past[-1][1]:
                break
            since = at
        return past[-1][0] - since

    def _peak(self) -> float | None:
        target = self.rule.critical if self.rule.critical is not None else self.rule.warning
        if not self.values:
            return None
        if self.rule.op == "==":
            return self.values[0]
        if self.rule.op == "!=":
            return max(self.values, key=lambda each: abs(each - (target or 0.0)))
        return min(self.values) if self.rule.op in ("<", "<=") else max(self.values)

    def _tell(self, before: int, counted: bool, at: int, value: float | None, cause: int) -> None:
        if value is not None and self.level:
            self.values.append(value)
        if self.level and not before:
            self.edges.append(Seen(at, FIRED, self.level, self.cause, value, self._peak()))
        elif self.level != before and self.level:
            self.edges.append(Seen(at, CHANGED, self.level, self.cause, value, self._peak()))
        elif before and not self.level:
            self.edges.append(Seen(at, RESOLVED, OK, cause, value, self._peak()))
        elif self.counting and not counted:
            level = CRITICAL if self.held[CRITICAL][-1][1] else WARNING
            self.edges.append(Seen(at, BEGAN, level, self.cause, value, None))
        elif counted and not self.counting:
            self.edges.append(Seen(at, CANCELLED, OK, CONDITION, None, None))
        if not self.level:
            self.values = []


def naive(rule: Rule, readings: list[Reading]) -> list[Seen]:
    """The edges that people see, from an alert that looks back at all of its past each time."""
    alert = Naive(rule)
    for reading in readings:
        alert.see(*reading)
    return alert.edges


# Few different numbers, so that values meet thresholds and one another.
NUMBERS = st.sampled_from([-3.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0])
VALUES = st.one_of(NUMBERS, NUMBERS, st.sampled_from([NAN, math.inf, -math.inf, 1.0 + 1e-12, 0.5]))
MEANINGS = st.sampled_from([IGNORE, KEEP, FIRE])
DURATIONS = st.sampled_from([0, 0, 1000, 3000, 3500, 10_000])


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Any rule, with thresholds and recoveries in any order, mostly sensible ones."""
    op = draw(st.sampled_from([*OPERATORS, ">", ">", "<"]))
    critical, warning = draw(st.sampled_from([(3.0, 1.0), (2.0, None), (None, 2.0)]) | st.tuples(NUMBERS, NUMBERS))
    if op in ("<", "<="):
        critical, warning = (None if each is None else 3.0 - each for each in (critical, warning))

    def recovery(threshold: float | None) -> float | None:
        near = 0.0 if threshold is None else threshold + (1.5 if op in ("<", "<=") else -1.5)
        return draw(st.sampled_from([near, near, None]) | NUMBERS)

    return rule(
        kind=draw(st.sampled_from([*4 * [THRESHOLD], NO_DATA])), op=op,
        critical=critical, critical_recovery=recovery(critical), warning=warning, warning_recovery=recovery(warning),
        hold=draw(DURATIONS), keep=draw(DURATIONS), on_no_data=draw(MEANINGS), on_error=draw(MEANINGS),
    )  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> list[Reading]:
    """Readings, mostly a second apart, with runs of equal ones; time may stand still or leap, but never goes back."""
    runs = draw(
        st.lists(
            st.tuples(
                VALUES, st.sampled_from([CONDITION, CONDITION, CONDITION, SILENT, ERROR]), st.integers(1, 5),
                st.sampled_from([1000, 1000, 1000, 1000, 0, 250, 7000, 3_600_000]),
            ),
            max_size=25,
        )
    )  # fmt: skip
    found, at = [], T0
    for value, cause, length, apart in runs:
        for _ in range(length):
            found.append(Reading(at, value, cause))
            at += apart
    return found
