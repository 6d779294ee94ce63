"""The ring of raw samples, and aggregations and lists that read it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from engine.engine import Options
from engine.errors import OutOfReach
from engine.newest import Newest
from engine.query import plan
from engine.query.execute import execute_custom, raw
from engine.query.plan import Limits
from engine.query.value import Query
from tests.engine_support import KEYS, NAME, T0, World, entry


@pytest.mark.parametrize("seed", range(10))
def test_the_ring_holds_the_newest_and_knows_the_newest_it_forgot(seed: int) -> None:
    random = Random(seed)
    size = random.choice([1, 3, 10])
    ring, naive = Newest(size), []
    for position in range(60):
        count = random.choice([0, 1, 2, size, size + 1, 3 * size])
        times = [random.randrange(1000) for _ in range(count)]
        rows = list(range(count))
        naive += [(row % 4, row, time, position, time / 3) for row, time in zip(rows, times, strict=True)]
        series = np.array([row % 4 for row in rows], np.int32)
        columns = np.array(rows, np.int64), np.array(times, np.int64), np.full(count, position), np.array(times) / 3
        ring.add(series, *columns)
        held = ring.view()
        assert list(zip(*(column.tolist() for column in held), strict=True)) == naive[-size:]
        gone = [time for _, _, time, _, _ in naive[:-size]]
        assert ring.forgotten == max(gone, default=np.iinfo(np.int64).min)
        if random.random() < 0.2:
            again = Newest(size)
            again.restore(ring.save(), int(ring.forgotten))
            ring = again


def spread(world: World, query: Query) -> dict[tuple[tuple[str, ...], int], float]:
    bounds = plan.bounds(query, world.engine, world.engine.stamp)
    groups = plan.groups(query, world.engine, Limits())
    table = execute_custom(
        query,
        bounds,
        groups,
        raw(world.engine, bounds, groups),
        lambda values, params: values[-1] - values[0] + params.get("plus", 0),
    )
    return {
        (group, time): value for group, values in zip(table.groups, table.values.tolist(), strict=True)
        for time, value in zip(table.times.tolist() if query.step else [0], values, strict=True)
    }  # fmt: skip


def test_a_registered_aggregation_sees_raw_values_in_order_of_time() -> None:
    world = World(Options(raw_samples=100))
    for number, age in enumerate([0, 2000, 1000, 3000]):
        world.apply(entry(T0, [(KEYS[3], T0 - age, float(number)), (KEYS[0], T0 - age, float(age))]))
    query = Query("metric", NAME, aggregation="spread", group_by=("zone",), range=20_000, params=(("plus", 10),))
    assert spread(world, query) == {(("",), 0): 0 - 3 + 10, (("x",), 0): 0 - 3000 + 10}
    steps = spread(world, Query("metric", NAME, type=1, aggregation="spread", range=20_000, step=10_000))
    assert steps[(), T0 - 10_000] == 2 - 3 and steps[(), T0] == 0


def test_a_registered_aggregation_is_refused_where_values_are_gone_and_says_what_fits() -> None:
    world = World(Options(raw_samples=5))
    for second in range(60):
        world.apply(entry(T0 + second * 1000, [(KEYS[3], T0 + second * 1000, float(second))]))
    with pytest.raises(OutOfReach, match="last 5 s"):
        spread(world, Query("metric", NAME, aggregation="spread", range=50_000))
    bounds = plan.bounds(Query("metric", NAME, range=5000), world.engine, world.engine.stamp)
    assert bounds.end - bounds.start == 5000
    assert spread(world, Query("metric", NAME, aggregation="spread", range=4000)) == {((), 0): 3.0}


def test_raw_rows_come_newest_first_within_the_bounds() -> None:
    world = World()
    for number, age in enumerate([0, 2000, 1000, 900_000]):
        world.apply(entry(T0, [(KEYS[3], T0 - age, float(number)), (KEYS[6], T0 - age, 9.0)]))
    query = Query("metric", NAME, range=60_000)
    bounds = plan.bounds(query, world.engine, world.engine.stamp)
    rows = raw(world.engine, bounds, plan.groups(query, world.engine, Limits()))
    assert rows.values.tolist() == [0.0, 2.0, 1.0]
    assert rows.complete_from <= bounds.start
