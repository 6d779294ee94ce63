"""Pane states as columns: folding, stored blocks, slots and flushes."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest

from engine import panes
from engine.engine import Options
from engine.model import GAUGE, pack_series_key
from engine.panes import ALL, Panes
from engine.query.value import Query
from server.wire.blocks import Block, encode
from tests.engine_support import AGGREGATIONS, KEYS, NAME, T0, World, entry


def samples(values: np.ndarray, series: np.ndarray) -> Panes:
    n = len(values)
    return panes.of_samples(series.astype(np.int32), np.arange(n), np.arange(n), np.arange(n), values, values)


def stored(part: Panes) -> Panes:
    return Block(encode(part)).panes(ALL)


def same(one: Panes, other: Panes) -> None:
    for name in panes.STATE:
        assert one.state[name].tolist() == other.state[name].tolist(), name
    assert one.series.tolist() == other.series.tolist() and one.start.tolist() == other.start.tolist()
    assert one.sketches is not None and other.sketches is not None
    assert one.sketches.values.tolist() == other.sketches.values.tolist()
    assert one.sketches.codes.tolist() == other.sketches.codes.tolist()


@pytest.mark.parametrize("each", [1, 2, 5, 70])
@pytest.mark.parametrize("rows", [1, 2, 3, 10])
def test_panes_of_one_count_fold_the_same_from_a_stored_block(each: int, rows: int) -> None:
    """A block writes a column of one value once; that value need not be the 1 of a raw sample."""
    values = np.random.default_rng(each).normal(5, 2, each * rows)
    keys = np.repeat(np.arange(rows), each)
    _, folded = panes.fold(samples(values, keys), keys)
    assert set(folded.state["count"].tolist()) == {each}
    once = stored(folded)
    same(once, folded)
    zeros = np.zeros(rows, np.int64)
    _, direct = panes.fold(folded, zeros)
    _, through = panes.fold(once, zeros)
    same(through, direct)
    _, twice = panes.fold(stored(panes.concat([once, stored(folded)])), np.zeros(2 * rows, np.int64))
    assert twice.state["count"].tolist() == [2 * each * rows]
    assert through.state["count"].tolist() == [each * rows]
    assert through.state["m2"][0] == pytest.approx(np.var(values) * len(values))
    assert through.state["sum"][0] == pytest.approx(math.fsum(values), rel=1e-12)


@pytest.mark.parametrize("at_once", [1, 3, 50])
@pytest.mark.parametrize("need", [ALL, frozenset({"max", "last"}), frozenset({"m2", "increase"})])
def test_a_fold_in_stretches_is_the_fold_at_once(at_once: int, need: frozenset[str]) -> None:
    rng = np.random.default_rng(at_once)
    keys = np.sort(rng.integers(0, 40, 900))[rng.permutation(900)] if at_once != 3 else np.repeat([5, 2], 450)
    part = samples(rng.lognormal(size=900), keys)
    unique = keys % 2 == 0
    whole_keys, whole = panes.fold(part, keys, need, unique)
    with patch.object(panes, "AT_ONCE", at_once):
        some_keys, some = panes.fold(part, keys, need, unique)
    assert some_keys.tolist() == whole_keys.tolist()
    states = [{name: column.tolist() for name, column in one.state.items()} for one in (some, whole)]
    assert states[0] == states[1]
    if "sketch" in need:
        same(some, whole)
        assert some.sketches is not None and whole.sketches is not None
        assert some.sketches.registers.tolist() == whole.sketches.registers.tolist()


@pytest.fixture(scope="module")
def steady() -> World:
    """Every pane holds as many samples of the same value as every other."""
    world = World(Options(lateness=10_000))
    world.apply(entry(T0, sketched=[NAME]))
    for second in range(0, 3 * 3600, 20):
        stamp = T0 + second * 1000
        world.apply(entry(stamp, [(key, stamp, 3.0) for key in KEYS[:3] for _ in range(2)]))
        if second % 900 == 0:
            world.flush()
    world.flush()
    return world


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_steady_series_through_every_level(steady: World, aggregation: str) -> None:
    for span, group_by, steps in ((60_000, (), 1), (3_600_000, ("host",), 4), (3 * 3_600_000, ("host",), 3)):
        steady.verify(Query("metric", NAME, aggregation=aggregation, range=span))
        steady.verify(Query("metric", NAME, aggregation=aggregation, group_by=group_by, range=span, step=span // steps))


def test_sums_of_whole_numbers_are_exact_to_2_53() -> None:
    world = World(Options(lateness=10_000))
    values = [2**53 - 2**20, 1, 2**19, -3]
    for number, value in enumerate(values):
        world.apply(entry(T0 + number * 9000, [(KEYS[3], T0 + number * 9000, float(value))]))
        world.flush()
    assert world.value(Query("metric", NAME, aggregation="sum", range=600_000)) == sum(values)


def test_variance_far_from_zero_keeps_its_digits() -> None:
    world = World(Options(lateness=10_000))
    for number in range(500):
        world.apply(entry(T0 + number * 1000, [(KEYS[3], T0 + number * 1000, 1e9 + number % 2)]))
        if number % 50 == 0:
            world.flush()
    assert world.value(Query("metric", NAME, aggregation="stddev", range=3_600_000)) == pytest.approx(0.5, rel=1e-6)


def test_the_largest_floats_have_a_sum_beyond_them_and_the_rest_stays() -> None:
    world = World()
    largest = float(np.finfo(np.float64).max)
    with np.errstate(over="ignore", invalid="ignore"):
        world.apply(entry(T0, [(KEYS[3], T0, largest), (KEYS[3], T0 + 1, -largest), (KEYS[3], T0 + 2, 1.0)]))
        for aggregation, wanted in (("max", largest), ("min", -largest), ("median", 1.0), ("last", 1.0), ("count", 3)):
            assert world.value(Query("metric", NAME, aggregation=aggregation, range=60_000)) == wanted


def test_ties_of_a_series_go_to_arrival_and_stay_there() -> None:
    world = World(Options(lateness=10_000))
    world.apply(entry(T0, [(KEYS[3], T0, 5.0), (KEYS[3], T0, 9.0), (KEYS[3], T0, 7.0)]))
    world.apply(entry(T0, [(KEYS[3], T0, 6.0)]))
    for _ in range(3):
        assert world.value(Query("metric", NAME, aggregation="first", range=60_000)) == 5
        assert world.value(Query("metric", NAME, aggregation="last", range=60_000)) == 6
        world.apply(entry(world.engine.stamp + 12_000))
        world.flush()


def test_a_late_sample_reopens_its_pane_and_every_coarser_one() -> None:
    world = World(Options(lateness=10_000))
    key = pack_series_key("late", GAUGE)
    for minute in range(200):
        stamp = T0 + minute * 60_000
        world.apply(entry(stamp, [(key, stamp, 1.0)]))
    world.flush()
    query = Query("metric", "late", aggregation="sum", range=4 * 3_600_000)
    assert world.value(query) == 200
    world.apply(entry(world.engine.stamp, [(key, T0 + 5 * 60_000, 10.0)]))
    assert world.engine.ledger.late == 1 and world.value(query) == 210
    world.begin_flush()
    world.apply(entry(world.engine.stamp, [(key, T0 + 5 * 60_000, 100.0)]))
    assert world.value(query) == 310
    world.end_flush()
    assert world.value(query) == 310
    world.flush()
    assert world.value(query) == 310
    world.apply(entry(T0 + 240 * 60_000))
    world.flush()
    for level, wanted in ((0, 310), (1, 310)):
        found = world.read([block for block in world.blocks if block.level == level])
        assert sum(float(rows.state["sum"].sum()) for rows in found.values()) == wanted
    before = dict(world.blocks)
    world.flush()
    assert world.blocks == before
