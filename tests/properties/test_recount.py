"""Whatever comes in, in whatever order, flushed whenever: every answer is the recount of all samples accepted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import engine as engine_module
from engine import slots
from engine.engine import Options
from engine.levels import DAY, HOUR, MINUTE, Retention
from engine.matchers import parse
from engine.query.value import Query
from tests.engine_support import AGGREGATIONS, KEYS, NAME, T0, World, entry

LATENESS = 20_000
SHORT = Retention((3 * MINUTE, 2 * HOUR, 3 * DAY, 100 * DAY))
PATIENT = Retention(SHORT.keep, patient=True)

# How far before (positive) or after its stamp a sample lies: in order, within lateness, late, at every level, ahead.
ages = st.one_of(
    st.just(0),
    st.integers(0, 3_000),
    st.integers(0, LATENESS + 6_000),
    st.integers(0, 10 * MINUTE),
    st.integers(0, 3 * HOUR),
    st.integers(0, 5 * DAY),
    st.integers(0, 200 * DAY),
    st.integers(-10 * MINUTE, 0),
)
values = st.one_of(
    st.integers(-5, 20).map(float),
    st.just(7.0),
    st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False),
    st.integers(0, 1 << 40).map(float),
)
rows = st.lists(st.tuples(st.sampled_from(KEYS), ages, values, st.sampled_from([1, 1, 1, 2, 30])), max_size=6)
jumps = st.sampled_from([0, 1, 400, 1000, 2600, 5000, 21_000, 61_000])
leaps = st.sampled_from([0, 500, 3000, 20_000, 65_000, 7 * MINUTE, 2 * HOUR + 7, 30 * HOUR, 40 * DAY])


def steps(gaps: st.SearchStrategy[int]) -> st.SearchStrategy[list[Any]]:
    """What happens: entries (gap since the last, rows), and flushes, whole or in two halves."""
    one = st.one_of(
        st.tuples(gaps, rows),
        st.tuples(gaps, rows),
        st.tuples(gaps, rows),
        st.sampled_from(["flush", "begin", "end", "expire"]),
    )
    return st.lists(one, min_size=2, max_size=14)


queries = st.builds(
    Query,
    st.just("metric"),
    st.sampled_from([NAME, NAME, "n", "unknown"]),
    st.sampled_from([(), (), parse('{host="a"}'), parse('{host=~"a|b",zone!="x"}'), parse('{zone=""}')]),
    st.sampled_from([None, None, 0, 1]),
    st.sampled_from(AGGREGATIONS),
    st.sampled_from([(), ("host",), ("host", "zone"), ("nowhere",)]),
    st.sampled_from([1000, 3000, 30_000, 4 * MINUTE, 5 * MINUTE, 3 * HOUR, 26 * HOUR, 90 * DAY]),
    start=st.sampled_from([None, None, None, T0 - 70_001, T0 + 4000]),
    step=st.sampled_from([None, None, None, 1000, 5000, 7000, MINUTE, 90_000, HOUR]),
)


@pytest.fixture(autouse=True)
def compact_early() -> Iterator[None]:
    """Slots fold their raw samples and their parts much earlier than in earnest."""
    with patch.object(slots, "FOLD_AT", 8), patch.object(slots, "MAX_FOLDED", 2):
        yield


def drive(world: World, script: list[Any], asked: list[Query]) -> None:
    """Plays a script, asking after each step."""
    stamp = T0
    for number, step in enumerate(script):
        if (step == "begin" or step == "flush") and world.flushing is None:
            world.begin_flush()
        if step in ("end", "flush"):
            if world.flushing is not None:
                world.end_flush()
        elif step == "expire":
            world.expire()
        elif step != "begin":
            gap, drawn = step
            stamp += gap
            world.apply(entry(stamp, list(unrolled(drawn, stamp))))
        for query in asked if number == len(script) - 1 else asked[number % len(asked) :][:1]:
            verify(world, query)


def unrolled(drawn: list[Any], stamp: int) -> Iterator[tuple[bytes, int, float]]:
    """Rows, the repeated ones a little apart in time and value."""
    for key, age, value, times in drawn:
        for again in range(times):
            yield key, stamp - age + again * 37, value + again % 3


def verify(world: World, query: Query) -> None:
    """Asks, unless the answer would have far too many steps."""
    last = world.engine.stamp + 1
    span = query.range if query.start is None else last - query.start
    if span <= 0 or (query.step is not None and span // query.step > 2000):
        return
    if last - span < world.engine.horizons[-1]:
        return  # every retention has let go of what lies there
    if query.aggregation == "unique" and span > 5000:
        return  # unknown beyond 64 values where it was not asked for before
    answer = world.verify(query)
    check_bounds(world, query, answer.bounds)


def check_bounds(world: World, query: Query, bounds: Any) -> None:
    """The range covers what was asked for and at most one aligned slice more at either end."""
    unit = bounds.step or bounds.resolution
    last = world.engine.stamp + 1
    assert bounds.start % unit == bounds.end % unit == 0
    assert last <= bounds.end < last + unit
    if query.start is None:
        assert bounds.end - bounds.start == -(-query.range // unit) * unit
    else:
        assert query.start - unit < bounds.start <= query.start
    if query.step is not None:
        assert query.step <= bounds.step < query.step + bounds.resolution
        assert bounds.step % bounds.resolution == 0


SETTINGS = settings(
    max_examples=100, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip


@SETTINGS
@given(steps(jumps), st.lists(queries, min_size=3, max_size=8))
def test_answers_are_the_recount(script: list[Any], asked: list[Query]) -> None:
    drive(World(Options(lateness=LATENESS)), script, asked)


@SETTINGS
@given(steps(leaps), st.lists(queries, min_size=3, max_size=8))
def test_answers_are_the_recount_where_retention_is_short(script: list[Any], asked: list[Query]) -> None:
    world = World(Options(lateness=LATENESS, retention=SHORT))
    drive(world, script, asked)
    assert world.engine.ledger.expired == world.oracle.expired


@SETTINGS
@given(steps(leaps), st.lists(queries, min_size=3, max_size=8))
def test_answers_are_the_recount_where_hours_and_days_are_put_together(script: list[Any], asked: list[Query]) -> None:
    world = World(Options(lateness=LATENESS, retention=PATIENT))
    drive(world, script, asked)
    assert world.engine.ledger.expired == world.oracle.expired


@SETTINGS
@given(steps(jumps), st.lists(queries, min_size=2, max_size=4))
def test_little_memory_changes_no_answer_but_the_increase_of_what_came_too_late(
    script: list[Any], asked: list[Query]
) -> None:
    with patch.object(engine_module, "CHECK_EVERY", 1):
        drive(World(Options(lateness=LATENESS, pane_memory=600)), script, asked)


def play(world: World, step: Any, stamp: int) -> None:
    """One step of a script on one world."""
    if step == "expire":
        world.expire()
    elif isinstance(step, str):
        if step in ("begin", "flush") and world.flushing is None:
            world.begin_flush()
        if step in ("end", "flush") and world.flushing is not None:
            world.end_flush()
    else:
        world.apply(entry(stamp, list(unrolled(step[1], stamp))))


def moments(script: list[Any], stamp: int) -> Iterator[tuple[Any, int]]:
    """The steps with their stamps."""
    for step in script:
        stamp += 0 if isinstance(step, str) else step[0]
        yield step, stamp


@settings(SETTINGS, max_examples=30)
@given(steps(leaps), steps(leaps), st.sampled_from([SHORT, PATIENT, Retention()]))
def test_a_replay_from_a_checkpoint_is_the_first_run(before: list[Any], after: list[Any], keep: Retention) -> None:
    options = Options(lateness=LATENESS, retention=keep, raw_samples=10, pane_memory=5000)
    with patch.object(engine_module, "CHECK_EVERY", 1):
        first = World(options, recount=False)
        stamp = T0
        for step, stamp in moments([*before, "end", "flush"], T0):
            play(first, step, stamp)
        again = first.restored()
        assert again.state() == first.state()
        for step, moment in moments(after, stamp):
            play(first, step, moment)
            play(again, step, moment)
            assert again.state() == first.state()
        assert again.engine.ledger == first.engine.ledger
        assert again.blocks == first.blocks
        for aggregation in AGGREGATIONS:
            query = Query("metric", NAME, (), None, aggregation, ("host",), 3 * HOUR)
            assert repr(again.ask(query)) == repr(first.ask(query))


@SETTINGS
@given(steps(leaps), queries, st.sampled_from([SHORT, PATIENT, Retention()]))
def test_crashes_at_any_moment_change_no_answer(script: list[Any], query: Query, keep: Retention) -> None:
    world = World(Options(lateness=LATENESS, retention=keep))
    world.flush()
    for step, stamp in moments(script, T0):
        play(world, step, stamp)
        if world.saved is None:
            continue
        again = world.restored()
        for position, given_entry in world.log:
            if position > again.engine.position:
                again.apply(given_entry)
        assert again.engine.ledger == world.engine.ledger
        assert again.engine.catalogue.keys == world.engine.catalogue.keys
        last = world.engine.stamp + 1
        span = query.range if query.start is None else last - query.start
        reaches = 0 < span <= last - world.engine.horizons[-1]
        if reaches and (query.step is None or span // query.step < 2000) and query.aggregation != "unique":
            world.oracle.check(query, again.ask(query))
