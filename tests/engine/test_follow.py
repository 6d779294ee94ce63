"""Who follows a query gets what a fresh asking gives, whatever happens in between (World.ask compares the two)."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from engine import slots
from engine.engine import Options
from engine.model import GAUGE, pack_series_key
from engine.query.value import Query
from tests.engine_support import AGGREGATIONS, KEYS, NAME, T0, World, entry


def test_steps_that_grow_because_the_start_is_closed_meanwhile() -> None:
    world = World(Options(lateness=20_000))
    query = Query("metric", NAME, aggregation="count", start=T0 - 1000, step=1000)
    resolutions = set()
    world.apply(entry(T0 - 20_000))
    for second in range(60):
        stamp = T0 + second * 1000
        # Ahead of its stamp as well: the slot of such a sample stays open for long and is not touched any more.
        world.apply(entry(stamp, [(KEYS[3], stamp, 1.0)]))
        resolutions.add(world.verify(query).bounds.step)
    assert resolutions == {1000, 5000}


@pytest.mark.parametrize("aggregation", ["sum", "last", "percentile_95", "increase", "stddev"])
def test_one_asked_as_of_many_times(aggregation: str) -> None:
    world = World(Options(lateness=20_000))
    query = Query("metric", NAME, aggregation=aggregation, group_by=("host",), range=12_000, step=3000)
    for second in range(0, 60, 3):
        stamp = T0 + second * 1000
        world.apply(entry(stamp, [(key, stamp - 700, float(second)) for key in KEYS[:6]]))
        if second % 12 == 0:
            world.flush()
        for back in (0, 3500, 17_000, 0):
            world.verify(query, stamp - back)


def test_new_series_labels_and_names_that_come_while_it_is_followed() -> None:
    world = World(Options(lateness=20_000))
    queries = [
        Query("metric", "late", aggregation=aggregation, group_by=group_by, range=60_000)
        for aggregation in ("sum", "max") for group_by in ((), ("n",), ("n", "z"))
    ]  # fmt: skip
    for number in range(40):
        stamp = T0 + number * 500
        labels = [("n", str((number * 7) % 20))] + ([("z", "1")] if number % 3 else [])
        key = pack_series_key("late", GAUGE, 0, "", labels) if number > 3 else KEYS[7]
        world.apply(entry(stamp, [(key, stamp - number % 5 * 1000, float(number))]))
        for query in queries:
            world.verify(query)


def test_compaction_of_a_slot_between_two_askings() -> None:
    with patch.object(slots, "FOLD_AT", 10), patch.object(slots, "MAX_FOLDED", 2):
        world = World(Options(lateness=20_000))
        for number in range(45):
            stamp = T0 + number * 100
            world.apply(entry(stamp, [(key, stamp, float(number % 7)) for key in KEYS[:4]]))
            for aggregation in AGGREGATIONS[number % 2 :: 2]:
                if aggregation != "unique":
                    world.verify(Query("metric", NAME, aggregation=aggregation, range=8000))
                    world.verify(Query("metric", NAME, aggregation=aggregation, range=8000, step=2000))
