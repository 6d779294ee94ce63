"""Bounds, covers and groups of queries; which level answers for which stretch of time."""

from __future__ import annotations

import itertools
import math

import pytest

from engine.aggregates import AGGREGATES, Registry, find
from engine.engine import Options
from engine.errors import BadQuery, TooExpensive
from engine.levels import DAY, HOUR, MINUTE, SECOND, SPANS, WIDTHS, Retention
from engine.matchers import parse
from engine.query import plan
from engine.query.plan import OPEN, Limits
from engine.query.value import Query, filters_as_matchers, parse_duration, parse_target
from server.wire.answers import as_columns, as_rows
from tests.engine_support import AGGREGATIONS, KEYS, NAME, T0, World, entry

START = T0 - T0 % DAY + 12 * HOUR


def history(days: int = 3) -> World:
    """One sample of value 1 every 2 min over some days, flushed now and then."""
    world = World(Options(lateness=20_000))
    for number in range(days * DAY // 120_000):
        stamp = START + number * 120_000
        world.apply(entry(stamp, [(KEYS[3], stamp, 1.0)]))
        if number % 170 == 169:
            world.flush()
    world.flush()
    return world


@pytest.fixture(scope="module")
def world() -> World:
    return history()


@pytest.mark.parametrize("span", [SECOND, 59_999, HOUR, 26 * HOUR, 60 * HOUR])
@pytest.mark.parametrize("step", [None, 1000, 7000, 90_000, HOUR, DAY])
@pytest.mark.parametrize("end", [None, START + 40 * HOUR + 12_345, START + 71 * HOUR])
def test_every_moment_is_covered_once(world: World, span: int, step: int | None, end: int | None) -> None:
    start = None if end is None else end - span
    bounds = plan.bounds(
        Query("metric", NAME, range=span, step=step, start=start, end=end), world.engine, world.engine.stamp
    )
    stretches = sorted(plan.cover(bounds, world.engine), key=lambda stretch: stretch.start)
    assert stretches[0].start == bounds.start and stretches[-1].end == bounds.end
    for one, following in itertools.pairwise(stretches):
        assert one.end == following.start
    for level, begin, finish in stretches:
        if level == OPEN:
            assert begin >= world.engine.closed
            continue
        assert begin % WIDTHS[level] == 0 and finish % WIDTHS[level] == 0 and finish <= world.engine.closed
        assert step is None or (bounds.step or 0) % WIDTHS[level] == 0
        if level:
            assert finish <= world.engine.rolled[level - 1]


def test_old_whole_stretches_are_read_coarse(world: World) -> None:
    bounds = plan.bounds(Query("metric", NAME, range=60 * HOUR), world.engine, world.engine.stamp)
    levels = {stretch.level for stretch in plan.cover(bounds, world.engine)}
    assert levels >= {OPEN, 1, 2, 3}
    blocks = plan.blocks(Query("metric", NAME), plan.cover(bounds, world.engine), world.engine)
    assert len(blocks) < 100  # of 5 s panes alone it would be 3600


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_steps_sum_up_to_the_whole(world: World, aggregation: str) -> None:
    if aggregation == "unique":
        return
    for span, step in ((HOUR, 5000), (20 * HOUR, MINUTE), (60 * HOUR, HOUR), (60 * HOUR, 7000)):
        world.verify(Query("metric", NAME, aggregation=aggregation, range=span, step=step))
        world.verify(Query("metric", NAME, aggregation=aggregation, range=span))


def test_one_second_steps_reach_as_far_as_the_open_panes(world: World) -> None:
    answer = world.verify(Query("metric", NAME, aggregation="count", range=10_000, step=1000))
    assert answer.bounds.resolution == 1000 and answer.bounds.step == 1000
    answer = world.verify(Query("metric", NAME, aggregation="count", range=10 * MINUTE, step=1000))
    assert answer.bounds.resolution == 5000 and answer.bounds.step == 5000


def test_a_step_is_rounded_up_to_what_is_kept(world: World) -> None:
    query = Query("metric", NAME, aggregation="count", range=60 * HOUR, step=7000)
    bounds = world.ask(query).bounds
    assert (bounds.resolution, bounds.step) == (MINUTE, MINUTE)
    assert world.ask(Query("metric", NAME, aggregation="count", range=HOUR, step=7000)).bounds.step == 10_000


def test_what_is_not_rolled_yet_is_read_after_a_leap_of_time() -> None:
    """A server that was down for days answers from its store before the first flush after it."""
    world = World(Options(lateness=20_000))
    for number in range(30):
        world.apply(entry(T0 + number * 5000, [(KEYS[3], T0 + number * 5000, 1.0)]))
    world.flush()
    world.apply(entry(T0 + 3 * DAY))
    whole = Query("metric", NAME, aggregation="count", range=4 * DAY)
    assert world.value(whole) == 30
    world.flush()
    world.expire()
    assert world.value(whole) == 30


def test_retention_moves_old_ranges_to_coarser_panes() -> None:
    world = World(Options(lateness=20_000, retention=Retention((HOUR, DAY, 10 * DAY, 100 * DAY))))
    world.apply(entry(START, [(KEYS[3], START, 5.0)]))
    world.apply(entry(START + 3 * HOUR))
    world.flush()
    world.expire()
    query = Query("metric", NAME, aggregation="sum", start=START - 30_000, end=START + 30_000)
    assert world.verify(query).bounds.resolution == MINUTE
    world.apply(entry(START + 3 * HOUR + 1, [(KEYS[3], START + 10, 2.0)]))
    assert world.value(query) == 7
    world.flush()
    assert world.value(query) == 7
    world.apply(entry(START + 3 * DAY))
    world.flush()
    world.expire()
    assert world.verify(query).bounds.resolution == HOUR
    assert not any(block.level < 2 for block in world.blocks)
    world.apply(entry(START + 20 * DAY, [(KEYS[3], START, 1.0)]))
    world.flush()
    world.expire()
    answer = world.verify(query)
    assert answer.bounds.resolution == DAY and answer.rows[(), 0] == (8.0, 3)
    world.apply(entry(START + 20 * DAY, [(KEYS[3], START - 200 * DAY, 1.0)]))
    assert world.engine.ledger.expired == 1


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("off", [0, 1, -1, 12_345_678])
def test_the_horizon_is_the_oldest_block_that_is_not_expired(level: int, off: int) -> None:
    retention, watermark = Retention(), START + off
    horizon = retention.horizon(level, watermark)
    assert watermark - retention.keep[level] - SPANS[level] < horizon <= watermark - retention.keep[level]


def test_a_range_that_ends_before_it_starts_is_refused(world: World) -> None:
    for query in (Query("metric", NAME, start=5000, end=5000), Query("metric", NAME, start=world.engine.stamp + 1)):
        with pytest.raises(BadQuery, match="ends before it starts"):
            plan.bounds(query, world.engine, world.engine.stamp)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("group_by", [(), ("host",), ("host", "zone")])
@pytest.mark.parametrize("step", [None, 5000])
def test_nothing_found_is_an_answer(aggregation: str, group_by: tuple[str, ...], step: int | None) -> None:
    world = World()
    world.apply(entry(T0, [(KEYS[3], T0, 1.0)]))
    for name, matchers in (("unknown", ()), (NAME, parse('{host="zzz"}'))):
        query = Query("metric", name, matchers, None, aggregation, group_by, 10_000, step=step)
        answer = world.ask(query)
        rows, columns = as_rows(query, answer.bounds, answer.table), as_columns(query, answer.bounds, answer.table)
        empty = find(aggregation).empty
        assert all(row["count"] == 0 and row["value"] == empty for row in rows)
        assert len(rows) == (0 if group_by else 1 if step is None else len(columns["times"]))


def test_groups_are_by_label_values_with_absent_ones_empty() -> None:
    world = World()
    world.apply(entry(T0, [(key, T0, 1.0) for key in KEYS[:6]]))
    answer = world.verify(Query("metric", NAME, aggregation="count", group_by=("zone", "host"), range=MINUTE))
    assert {group: count for (group, _), (_, count) in answer.rows.items()} == {
        ("x", "a"): 1, ("x", "b"): 1, ("y", "a"): 1, ("", "b"): 1, ("y", ""): 1, ("x", "c"): 1,
    }  # fmt: skip
    answer = world.verify(Query("metric", NAME, type=0, aggregation="count", group_by=("zone",), range=MINUTE))
    assert {group: count for (group, _), (_, count) in answer.rows.items()} == {("x",): 2, ("y",): 1}


def test_what_costs_too_much_is_refused_with_what_would_fit() -> None:
    world = World()
    world.apply(entry(T0, [(key, T0, 1.0) for key in KEYS[:6]]))
    with pytest.raises(TooExpensive, match="6 series, more than the 5"):
        plan.groups(Query("metric", NAME), world.engine, Limits(series=5))
    query = Query("metric", NAME, range=HOUR, step=5000)
    bounds = plan.bounds(query, world.engine, world.engine.stamp)
    with pytest.raises(TooExpensive, match="720 points") as refused:
        plan.check_points(query, bounds, 1, Limits(points=100))
    step = int(str(refused.value).split("a step of ")[1].split("s")[0]) * 1000
    fitting = Query("metric", NAME, range=HOUR, step=step)
    plan.check_points(fitting, plan.bounds(fitting, world.engine, world.engine.stamp), 1, Limits(points=100))


def test_rate_of_what_is_no_counter_is_unknown_and_says_so() -> None:
    world = World()
    world.apply(entry(T0, [(KEYS[3], T0, 1.0)]))
    answer = world.ask(Query("metric", NAME, aggregation="rate", range=10_000))
    assert math.isnan(answer.rows[(), 0][0]) and "none of these series is one" in answer.table.notes[0]


def test_aggregations_by_name() -> None:
    assert find("avg") is AGGREGATES["average"] and find("p99_9").name == "p99_9"
    for name in ("percentile_101", "percentile_", "p100_1", "nope"):
        with pytest.raises(BadQuery):
            find(name)
    registry = Registry()
    registry.register_aggregation("spread", lambda values, params: max(values) - min(values))
    assert registry.check("spread") == "spread" and registry.check("mean") == "average"
    for taken in ("sum", "spread", "p95", "mean", "not ok"):
        with pytest.raises(ValueError):
            registry.register_aggregation(taken, lambda values, params: None)


def test_durations_and_targets() -> None:
    assert [parse_duration(text) for text in ("1s", "15m", "2 h", "7d", "2w")] == [
        1000,
        900_000,
        2 * HOUR,
        7 * DAY,
        14 * DAY,
    ]
    for bad in ("", "0s", "5", "m", "1.5h", "-1h", "999999999w"):
        with pytest.raises(BadQuery):
            parse_duration(bad)
    assert parse_target(' metric:a.b {x="}"} ') == ("metric", "a.b", parse('{x="}"}'))
    assert parse_target("event:sign up") == ("event", "sign up", ())
    for bad in ("a", "metric:", "metric:{}", "log:a", 'metric:a{b="c"'):
        with pytest.raises(BadQuery):
            parse_target(bad)


def test_filters_are_equalities_and_lists_any_of_them() -> None:
    one, many = filters_as_matchers({"a": True, "b": ["x.y", 5]})
    assert one.accepts("true") and not one.accepts("True")
    assert many.accepts("x.y") and many.accepts("5") and not many.accepts("xzy")
    with pytest.raises(BadQuery):
        filters_as_matchers({"a": {"b": 1}})


def test_a_raised_retention_does_not_bring_back_what_was_let_go_of() -> None:
    world = World(Options(lateness=20_000, retention=Retention((HOUR, DAY, 10 * DAY, 100 * DAY))))
    world.apply(entry(START, [(KEYS[0], START + i, 1.0) for i in range(5)]))
    world.apply(entry(START + 3 * HOUR))
    world.flush()
    world.expire()
    world.options = Options(lateness=20_000)
    world = world.restored()
    world.apply(entry(START + 3 * HOUR + 1000, [(KEYS[0], START + 10, 1.0)]))
    world.flush()
    answer = world.ask(Query("metric", NAME, aggregation="count", start=START - DAY, end=START + DAY))
    assert [count for _, count in answer.rows.values()] == [6]
