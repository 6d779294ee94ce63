"""Alerts beside a recount: what fires when, second by second, from the raw samples; and the same whatever is killed."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import parse_series_key
from engine.rules.model import CONDITION, SILENT, Group, Rule
from tests.alerting_support import SECOND, Evaluator, Killed, gauge, window
from tests.engine_support import T0, entry
from tests.rules_support import NAN, Naive, Seen, rule, told

MORE = 10 if os.environ.get("FAULTS_LONG") == "1" else 1
JUDGING = (">", "<", "==", "!=")
KEYS = [gauge(host="a", zone="x"), gauge(host="a", zone="y"), gauge(host="b", zone="x"), gauge(host="c")]
OFFSETS = (0, 40, 430, 990)
"""ms within a second at which entries come."""


class Sample(NamedTuple):
    """key: number of the series; age: ms that it is older than its entry."""

    key: int
    value: float
    age: int = 0


Entries = list[tuple[int, list[Sample]]]
"""(stamp, samples) of each."""


@st.composite
def entries(draw: st.DrawFn, ages: tuple[int, ...] = (0,), often: bool = True) -> Entries:
    """Up to 40 seconds. Where not `often`, a series has one sample in a second at most, and none in its first entry,
    with which the second before is evaluated: so that of each series one value at a time is judged."""
    found: Entries = []
    values = st.sampled_from([0.0, 50.0, 99.0, 100.0, 101.0, 150.0, 300.0])
    sample = st.builds(Sample, st.integers(0, len(KEYS) - 1), values, st.sampled_from(ages))
    for second in range(draw(st.integers(5, 40))):
        offsets = draw(st.lists(st.sampled_from(OFFSETS), min_size=1, max_size=3, unique=True))
        seen: set[int] = set()
        for offset in sorted(offsets):
            rows = draw(st.lists(sample, max_size=3))
            if not often:
                known = {row.key: row for row in rows if row.key not in seen and offset > min(offsets)}
                seen |= known.keys()
                rows = list(known.values())
            found.append((T0 + second * SECOND + offset, rows))
    return found


def _levels(draw: st.DrawFn, op: str) -> dict[str, float]:
    warning, critical = draw(st.sampled_from([(None, 100.0), (99.0, 150.0), (None, 0.0)]))
    if op in ("<", "<=") and warning is not None:
        warning, critical = critical, warning
    recovery = {"critical_recovery": 50.0} if op in (">", ">=") and draw(st.booleans()) else {}
    return {"critical": critical, **({"warning": warning} if warning is not None else {}), **recovery}


@st.composite
def window_rules(draw: st.DrawFn) -> Rule:
    op = draw(st.sampled_from([">", ">=", "<", "<=", "=="]))
    of = window(
        draw(st.sampled_from(["max", "min", "sum", "count", "average"])), draw(st.sampled_from([1, 2, 7, 30])),
        *draw(st.sampled_from([(), ("host",), ("host", "zone"), ("zone",)])),
    )  # fmt: skip
    timers = {name: draw(st.sampled_from([0, 0, 1000, 3000, 2500])) for name in ("hold", "keep")}
    more = _levels(draw, op) if op != "==" else {"critical": 100.0}
    return rule(query=of, op=op, on_no_data=draw(st.sampled_from(["ok", "ok", "keep"])), **timers, **more)


@st.composite
def each_rules(draw: st.DrawFn, operators: tuple[str, ...] = (">", ">=", "<", "<=", "==", "!=")) -> Rule:
    op = draw(st.sampled_from(operators))
    # Of several series with one deciding value, which is the first and which the last is not defined.
    by = draw(st.sampled_from([(), ("host",), ("zone",)])) if op not in ("==", "!=") else ()
    timers = {name: draw(st.sampled_from([0, 0, 1000, 3000, 2500])) for name in ("hold", "keep")}
    more = _levels(draw, op) if op not in ("==", "!=") else {"critical": 100.0}
    return rule(query=window("last", 60, *by), each=True, op=op, **timers, **more)


class Recount:
    """All samples that have come, and one naive alert for each group."""

    def __init__(self, of: Rule) -> None:
        self.rule = of
        self.samples: list[tuple[int, Group, float]] = []
        """(time, labels, value), in the order in which they came."""
        self.alerts: dict[Group, Naive] = {}
        self.last: dict[Group, float] = {}
        self.judged = 0

    def see(self, at: int) -> None:
        """An evaluation, with all that has come by now."""
        values = self._each() if self.rule.each else self._window(at)
        for group in values:
            self.alerts.setdefault(group, Naive(self.rule))
        if self.rule.each:
            self.last |= values
            values = self.last
        for group, alert in self.alerts.items():
            value = values.get(group, NAN)
            alert.see(at, value, SILENT if math.isnan(value) else CONDITION)

    def _group(self, labels: Group) -> Group:
        wanted = self.rule.query.group_by
        if not wanted:
            return labels if self.rule.each else ()
        return tuple((name, dict(labels)[name]) for name in wanted if name in dict(labels))

    def _window(self, at: int) -> dict[Group, float]:
        held: dict[Group, list[float]] = {}
        for time, labels, value in self.samples:
            if at - self.rule.query.range <= time < at:
                held.setdefault(self._group(labels), []).append(value)
        name = self.rule.query.aggregation or ""
        found = {group: AGGREGATED[name](values) for group, values in held.items()}
        if not self.rule.query.group_by and not found:  # a whole is there, with whatever nothing comes to
            found[()] = 0.0 if name in ("sum", "count") and self.samples else NAN
        return found

    def _each(self) -> dict[Group, float]:
        arrived, self.judged = self.samples[self.judged :], len(self.samples)
        held: dict[Group, list[float]] = {}
        for _, labels, value in arrived:
            held.setdefault(self._group(labels), []).append(value)
        deciding: dict[str, Callable[[list[float]], float]] = {">": max, ">=": max, "<": min, "<=": min}
        either = {
            "==": lambda values: values[0] if values[0] == 100.0 else values[-1],
            "!=": lambda values: values[0] if values[0] != 100.0 else values[-1],
        }
        return {group: (deciding | either)[self.rule.op](values) for group, values in held.items()}


AGGREGATED: dict[str, Callable[[list[float]], float]] = {
    "max": max, "min": min, "sum": sum, "count": len, "average": lambda values: sum(values) / len(values),
}  # fmt: skip


async def evaluated(of: Rule, stream: Entries) -> tuple[Evaluator, Recount]:
    """A rule evaluated over a stream, and the recount at the same moments."""
    found, recount = Evaluator([of]), Recount(of)
    await found.start()
    for stamp in range(T0 - 40 * SECOND, T0, 8 * SECOND):  # until nobody was away within a window
        await found.post(stamp)
    for stamp, samples in stream:
        rows = [(KEYS[each.key], stamp - each.age, each.value) for each in samples]
        recount.samples += [(time, parse_series_key(key).labels, value) for key, time, value in rows]
        before = len(found.moments)
        await found.post(stamp, rows)
        for at in found.moments[before:]:
            recount.see(at)
    return found, recount


def edges_of(found: Evaluator, group: Group) -> list[Seen]:
    return told([(edge.at, edge.kind, edge.state) for edge in found.edges(group=group)])


def when(edges: list[Seen]) -> list[tuple[int, str, int]]:
    return [(each.at, each.kind, each.level) for each in edges]


@settings(max_examples=30 * MORE, deadline=None)
@given(window_rules(), entries(ages=(0, 0, 0, 300, 1500, 8000, -2000)))
async def test_windows_fire_as_a_recount_of_raw_samples_says(of: Rule, stream: Entries) -> None:
    found, recount = await evaluated(of, stream)
    for group, alert in recount.alerts.items():
        assert edges_of(found, group) == alert.edges
    assert {edge.group for edge in found.edges()} <= recount.alerts.keys()


@settings(max_examples=30 * MORE, deadline=None)
@given(each_rules(), entries(ages=(0, 0, 0, 300, 1500, 8000, -2000)))
async def test_arriving_values_are_judged_as_a_recount_says(of: Rule, stream: Entries) -> None:
    found, recount = await evaluated(of, stream)
    for group, alert in recount.alerts.items():
        assert when(edges_of(found, group)) == when(alert.edges)
    assert {edge.group for edge in found.edges()} <= recount.alerts.keys()


kills = st.lists(
    st.tuples(
        st.sampled_from(["between", "before the append", "after the append"]), st.integers(0, 12), st.booleans(),
        st.booleans(),
    ),
    min_size=1, max_size=6,
)  # fmt: skip
"""(when, how many entries after the last start, whether a checkpoint is taken before, whether it is used)."""


async def killed(rules: list[Rule], stream: Entries, deaths: list[tuple[str, int, bool, bool]]) -> Evaluator:
    """The same rules over the same stream, by processes that are killed."""
    found, waiting, since = Evaluator(rules), list(deaths), 0
    before: Entries = [(at, []) for at in range(T0 - 35 * SECOND, T0, SECOND)]
    # The metric has been heard of before anybody evaluates, so that a sum is 0 and not unknown whoever looks back.
    found.world.apply(entry(before[0][0] - SECOND, [(KEYS[0], before[0][0] - SECOND, 100.0)]))
    await found.start()
    for stamp, samples in [*before, *stream, (stream[-1][0] // SECOND * SECOND + SECOND, [])]:
        rows = [(KEYS[each.key], stamp - each.age, each.value) for each in samples]
        dies = waiting.pop(0) if waiting and since >= waiting[0][1] else None
        if dies is not None and dies[0] != "between":
            found.dies, found.after = 1, dies[0] == "after the append"
        with contextlib.suppress(Killed):
            await found.post(stamp, rows)
        since += 1
        if dies is not None:
            if dies[2]:
                found.dies = None
                found.world.flush()
            found, since = await found.restarted(dies[3]), 0
    return found


def story(found: Evaluator, rule: Rule) -> dict[Group, list[tuple[str, int, int]]]:
    """(kind, ms, level) of the edges of each group."""
    told_of: dict[Group, list[tuple[str, int, int]]] = {}
    for edge in sorted(found.edges(rule.id), key=lambda edge: edge.at):
        if edge.kind != "noted":
            told_of.setdefault(edge.group, []).append((edge.kind, edge.at, edge.state.level))
    return told_of


@settings(max_examples=25 * MORE, deadline=None)
@given(window_rules(), entries(), kills)
async def test_windows_fire_the_same_whatever_is_killed(
    of: Rule, stream: Entries, deaths: list[tuple[str, int, bool, bool]]
) -> None:
    found, other = await killed([of], stream, deaths), await killed([of], stream, [])
    assert story(found, of) == story(other, of)
    mine, theirs = (
        {(each.group, each.fired, each.resolved) for each in process.book.episodes(of.id)} for process in (found, other)
    )
    assert mine == theirs


@settings(max_examples=25 * MORE, deadline=None)
@given(each_rules(JUDGING), entries(often=False), kills)
async def test_arriving_values_are_judged_the_same_whatever_is_killed(
    of: Rule, stream: Entries, deaths: list[tuple[str, int, bool, bool]]
) -> None:
    found, other = await killed([of], stream, deaths), await killed([of], stream, [])
    assert story(found, of) == story(other, of)


@settings(max_examples=25 * MORE, deadline=None)
@given(each_rules(JUDGING), entries(ages=(0, 0, 300, 8000), often=False), kills)
async def test_no_arriving_value_is_lost_or_judged_twice_whatever_its_time(
    of: Rule, stream: Entries, deaths: list[tuple[str, int, bool, bool]]
) -> None:
    of = replace(of, hold=0, keep=0, query=window("last", 60))
    found, other = await killed([of], stream, deaths), await killed([of], stream, [])
    mine, theirs = story(found, of), story(other, of)
    assert mine.keys() == theirs.keys()
    for group, edges in mine.items():
        assert [(kind, level) for kind, _, level in edges] == [(kind, level) for kind, _, level in theirs[group]]
        for (_, at, _), (_, expected, _) in zip(edges, theirs[group], strict=True):
            assert abs(at - expected) <= 10 * SECOND, "when it came is not known to whoever takes over"


@pytest.mark.parametrize("dies", ["before the append", "after the append"])
async def test_a_decision_that_is_not_in_the_log_is_made_again(dies: str) -> None:
    of = rule(query=window("max", 5))
    stream: Entries = [(T0 + second * SECOND, [Sample(0, 150.0 if second < 5 else 1.0)]) for second in range(15)]
    found = await killed([of], stream, [(dies, at, False, False) for at in (7, 0, 0, 0, 0, 0, 0)])
    assert [(kind, at - T0) for kind, at, _ in story(found, of)[()]] == [("firing", 1000), ("resolved", 10_000)]
    assert [edge.kind for edge in found.edges()] == ["firing", "resolved"]
