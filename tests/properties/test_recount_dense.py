"""The recount again, with panes of hundreds of samples: buckets, compaction, registers, memory pressure."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from unittest.mock import patch

import pytest

from engine import engine as engine_module
from engine import slots
from engine.engine import Options
from engine.levels import DAY, HOUR, MINUTE, Retention
from engine.model import Entry
from engine.query.value import Query
from tests.engine_support import AGGREGATIONS, KEYS, NAME, T0, World, entry

LATENESS = 20_000
RETENTIONS = (Retention(), Retention((3 * MINUTE, 2 * HOUR, 3 * DAY, 100 * DAY)))
AGES = (0, 900, 5_000, 19_000, 30_000, 2 * MINUTE, HOUR, 30 * HOUR)


def entries(random: Random, count: int) -> Iterator[Entry]:
    """Entries of 0 to 400 rows, in which steady, smooth and wild series come in bursts."""
    stamp = T0
    yield entry(stamp, sketched=["n"])
    for _ in range(count):
        stamp += random.choice([0, 1, 300, 1000, 3000, 20_000, 61_000, random.choice([0, HOUR, 9 * HOUR])])
        keys = random.sample(KEYS, random.randint(1, len(KEYS)))
        oldest, spread = random.choice(AGES), random.choice([0, 0, 3000])
        kind = random.randrange(4)
        rows = []
        for number in range(random.choice([0, 1, 2, 60, 400])):
            value = (7.0, float(number), random.lognormvariate(0, 3), random.gauss(0, 1))[kind]
            time = stamp - random.randint(0, oldest) + random.choice([0, spread, spread * random.randrange(100)])
            rows.append((keys[number % len(keys)], time, value))
        yield entry(stamp, rows)


def some_query(random: Random) -> Query:
    aggregation = random.choice(AGGREGATIONS)
    # Registers are kept for n alone, and only in panes that were made after they were asked for.
    name = "n" if aggregation == "unique" else random.choice([NAME, "n"])
    span = random.choice([3000, MINUTE, 5 * MINUTE, 2 * HOUR, 2 * DAY])
    step = random.choice([None, None, 1000, 5000, 7000, MINUTE, HOUR])
    step = None if step is not None and span // step > 3000 else step
    group_by = random.choice([(), ("host",), ("host", "zone")])
    return Query("metric", name, (), None, aggregation, group_by, span, step=step)


@pytest.mark.parametrize("seed", range(16))
def test_dense_answers_are_the_recount(seed: int) -> None:
    random = Random(seed)
    options = Options(lateness=LATENESS, retention=RETENTIONS[seed % 2], pane_memory=(256 << 20, 20_000)[seed // 2 % 2])
    with patch.object(slots, "FOLD_AT", 50), patch.object(engine_module, "CHECK_EVERY", 64):
        world = World(options)
        for given in entries(random, 40):
            world.apply(given)
            move = random.random()
            if move < 0.3:
                if world.flushing is not None:
                    world.end_flush()
                else:
                    world.begin_flush()
            elif move < 0.4:
                world.expire()
            for _ in range(3):
                world.verify(some_query(random))
    assert world.engine.ledger.accepted == len(world.oracle.samples) + world.oracle.expired


@pytest.mark.parametrize("seed", range(8))
def test_dense_replay_is_the_first_run(seed: int) -> None:
    random = Random(1000 + seed)
    options = Options(
        lateness=LATENESS, retention=RETENTIONS[seed % 2], pane_memory=(50_000, 20_000)[seed // 2 % 2], raw_samples=100
    )
    with patch.object(slots, "FOLD_AT", 50), patch.object(engine_module, "CHECK_EVERY", 64):
        first = World(options, recount=False)
        again: list[World] = []
        restores = random.randrange(20)
        for number, given in enumerate(entries(random, 30)):
            flush, restore = random.random() < 0.3, number in (restores, restores + 9)
            for world in (first, *again):
                world.apply(given)
                if flush or restore:
                    world.flush()
            if restore:
                again.append(first.restored())
            if again:
                state = first.state()
                assert all(world.state() == state for world in again)
        for _ in range(12):
            query = some_query(random)
            answers = {repr(world.ask(query)) for world in (first, *again)}
            assert len(answers) == 1
