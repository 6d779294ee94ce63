"""Running totals: resets, reordering, repeats of a moment, late totals, baselines, and rates."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest

from engine import engine as engine_module
from engine.engine import Options
from engine.model import COUNTER, CUMULATIVE, DELTA, GAUGE, UNSPECIFIED, pack_series_key
from engine.query.value import Query
from tests.engine_support import NAME, T0, World, entry

TOTAL = pack_series_key(NAME, COUNTER, CUMULATIVE)
PLAIN = pack_series_key(NAME, COUNTER, UNSPECIFIED, "", [("a", "1")])
CHANGES = pack_series_key(NAME, COUNTER, DELTA)
LEVEL = pack_series_key(NAME, GAUGE)
HOUR = 3_600_000
INCREASE = Query("metric", NAME, aggregation="increase", range=HOUR)


def world(lateness: int = 20_000) -> World:
    return World(Options(lateness=lateness))


def feed(into: World, *points: tuple[int, float], key: bytes = TOTAL, stamp: int = T0 + 10_000) -> None:
    """Points of (seconds after T0, value), each in an entry of its own, all stamped alike."""
    for seconds, value in points:
        into.apply(entry(stamp, [(key, T0 + seconds * 1000, value)]))


def at_every_stage(into: World, query: Query, expected: float) -> None:
    """Open, closed, half flushed, flushed and restored, the answer stays."""
    assert into.value(query) == expected
    into.apply(entry(T0 + 60_000))
    assert into.value(query) == expected
    into.begin_flush()
    assert into.value(query) == expected
    into.end_flush()
    assert into.value(query) == expected
    assert into.restored().value(query) == expected
    into.verify(query)


def test_the_first_point_is_the_baseline() -> None:
    into = world()
    feed(into, (0, 1000))
    at_every_stage(into, INCREASE, 0)


def test_growth_and_a_drop_is_a_reset() -> None:
    into = world()
    feed(into, (0, 10), (1, 15), (2, 15), (3, 4), (4, 6))
    at_every_stage(into, INCREASE, 5 + 0 + 4 + 2)


def test_points_count_in_order_of_time_not_of_arrival() -> None:
    into = world()
    feed(into, (4, 50), (0, 10), (2, 30), (1, 20), (3, 40))
    at_every_stage(into, INCREASE, 40)


def test_an_earlier_point_within_lateness_becomes_the_baseline() -> None:
    into = world()
    feed(into, (5, 50))
    feed(into, (-5, 20))
    at_every_stage(into, INCREASE, 30)


def test_of_one_moment_the_higher_offset_wins() -> None:
    into = world()
    feed(into, (0, 10), (1, 99), (1, 20), (2, 30))
    at_every_stage(into, INCREASE, 20)
    assert into.value(Query("metric", NAME, aggregation="count", range=HOUR)) == 4
    assert into.value(Query("metric", NAME, aggregation="sum", range=HOUR)) == 159


def test_of_one_moment_and_entry_the_later_row_wins() -> None:
    into = world()
    into.apply(entry(T0, [(TOTAL, T0, 10), (TOTAL, T0 + 1000, 99), (TOTAL, T0 + 1000, 20), (TOTAL, T0 + 2000, 30)]))
    at_every_stage(into, INCREASE, 20)


def test_the_increase_is_credited_to_the_later_point() -> None:
    into = world()
    feed(into, (-40, 10), (-10, 100))  # the first is late, so it is no baseline
    feed(into, (0, 130))
    into.apply(entry(T0 + 10 * 60_000))
    feed(into, (600, 160), stamp=T0 + 600_000)
    assert into.value(INCREASE) == 60
    steps = into.verify(Query("metric", NAME, aggregation="increase", range=15 * 60_000, step=60_000)).rows
    credited = {(time - T0) // 60_000: value for (_, time), (value, count) in steps.items() if count and value}
    assert sum(credited.values()) == 60 and len(credited) == 2


def test_a_late_total_counts_in_all_but_the_increase() -> None:
    into = world()
    feed(into, (0, 10), (10, 20))
    feed(into, (30, 50), stamp=T0 + 31_000)
    feed(into, (5, 1), stamp=T0 + 31_000)  # 26 s late
    assert into.engine.ledger.late_total == 1 and into.engine.ledger.late == 1
    feed(into, (100, 60), stamp=T0 + 100_000)
    assert into.value(INCREASE) == 50
    assert into.value(Query("metric", NAME, aggregation="min", range=HOUR)) == 1
    assert into.value(Query("metric", NAME, aggregation="count", range=HOUR)) == 5
    into.verify(INCREASE)
    feed(into, (-500, 1), stamp=T0 + 100_000)
    assert into.engine.ledger.late_total == 2 and into.value(INCREASE) == 50


def test_a_late_total_whose_slot_is_still_open_is_no_point_either() -> None:
    into = world()
    feed(into, (0, 10))
    # Watermark 2.5 s after T0: 1 s is late, though the slot [0, 5) is open yet.
    feed(into, (1, 5), stamp=T0 - T0 % 5000 + 22_500)
    assert into.engine.ledger.late_total == 1
    feed(into, (20, 30), stamp=T0 + 23_000)
    at_every_stage(into, INCREASE, 20)


def test_deltas_add_up_also_when_late() -> None:
    into = world()
    feed(into, (0, 5), (1, 3), key=CHANGES)
    feed(into, (-300, 2), key=CHANGES, stamp=T0 + 60_000)
    at_every_stage(into, INCREASE, 10)
    assert into.engine.ledger.late_total == 0 and into.engine.ledger.late == 1


def test_an_unspecified_counter_is_a_total_for_increase_and_values_for_sum() -> None:
    into = world()
    for n in range(100):
        feed(into, (n, n + 1), key=PLAIN, stamp=T0 + n * 1000)
    assert into.value(INCREASE) == 99
    assert into.value(Query("metric", NAME, aggregation="sum", range=HOUR)) == 5050


def test_what_is_no_counter_adds_nothing_beside_one() -> None:
    into = world()
    feed(into, (0, 5), (1, 8))
    feed(into, (0, 100), (1, 500), key=LEVEL)
    assert into.value(INCREASE) == 3
    into.verify(INCREASE)


def test_rate_is_the_increase_by_the_seconds_of_the_aligned_range() -> None:
    into = world()
    feed(into, (0, 100), (1, 400))
    query = Query("metric", NAME, aggregation="rate", range=10_000)
    answer = into.verify(query)
    seconds = (answer.bounds.end - answer.bounds.start) / 1000
    assert answer.rows[(), 0][0] == 300 / seconds
    stepped = into.verify(Query("metric", NAME, aggregation="rate", range=600_000, step=60_000)).rows
    assert sum(value for value, count in stepped.values() if count) == 300 / 60


def test_totals_closed_early_for_memory_are_counted_as_squeezed() -> None:
    with patch.object(engine_module, "CHECK_EVERY", 1):
        into = World(Options(lateness=60_000, pane_memory=1))
        feed(into, (-30, 10), (-20, 20), (0, 30), stamp=T0)
        into.apply(entry(T0, [(TOTAL, T0, 30.0)]))
        assert into.engine.closed > T0 - 20_000
        feed(into, (-25, 15), stamp=T0)
        assert into.engine.ledger.squeezed == 1 and into.engine.ledger.late == 0
        feed(into, (2, 45), stamp=T0 + 2000)
        into.verify(INCREASE)
        assert into.value(INCREASE) == 35


@pytest.mark.parametrize("seed", range(20))
def test_any_order_within_lateness_gives_the_same_increase(seed: int) -> None:
    random = Random(seed)
    total, points = 0.0, []
    for second in range(60):
        total = random.choice([total + random.randrange(50), random.randrange(10)])
        points.append((second // 2, float(total)))
    wanted: dict[int, float] = dict(points)
    orders = [points, sorted(points, key=lambda point: (random.random(), point))]
    for number, order in enumerate(orders):
        into = world(lateness=40_000)
        for seconds, value in order:
            into.apply(entry(T0 + 30_000, [(TOTAL, T0 + seconds * 1000, value)]))
            if random.random() < 0.2:
                into.flush()
        if number == 0:
            assert [into.value(INCREASE)] == [
                sum(
                    wanted[s] if wanted[s] < wanted[s - 1] else wanted[s] - wanted[s - 1] for s in range(1, 30)
                )
            ]  # fmt: skip
        at_every_stage(into, INCREASE, into.value(INCREASE))
