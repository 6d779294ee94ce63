"""What series have come to: the same as counting one by one, however the samples come, and across a restart."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from engine import lifetime
from engine.lifetime import BOUNDS
from engine.model import COUNTER, CUMULATIVE, DELTA, GAUGE, HISTOGRAM, TIMER, pack_series_key
from tests.engine_support import KEYS, T0, World, entry


def series(world: World, key: bytes) -> int:
    return world.engine.catalogue.keys.index(key)


@pytest.mark.parametrize("settle_at", [1, 7, 100_000])
def test_it_counts_like_counting_one_by_one(settle_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime, "SETTLE_AT", settle_at)
    random.seed(3)
    world = World(recount=False)
    seen: dict[bytes, list[tuple[int, int, float]]] = defaultdict(list)
    keys = [*KEYS, pack_series_key("s", HISTOGRAM, 0, "s", []), pack_series_key("b", TIMER, 0, "bytes", [])]
    for number in range(60):
        stamp = T0 + number * 1000
        rows = [
            (random.choice(keys), stamp - random.choice((0, 0, 5, 90_000)), random.choice((0.005, 1.0, 2.5, 80.0, 1e7)))
            for _ in range(random.randrange(1, 20))
        ]
        world.apply(entry(stamp, rows))
        for order, (key, time, value) in enumerate(rows):
            seen[key].append((time, number * 100 + order, value))
        if number == 30:
            world.flush()
            again = world.restored()
            assert again.state() == world.state()
            world.engine = again.engine  # the rest is applied to what came back
    kept = world.engine.lifetime
    for key, samples in seen.items():
        if key[:1] in (b"h", b"t"):
            key = pack_series_key(*_without_unit(key))
        one, values = series(world, key), [value for _, _, value in samples]
        assert kept.counts()[one] == len(values)
        total = 0.0
        for value in values:
            total += value
        assert kept.sums()[one] == total
        assert kept.newest()[one] == max(samples)[2]
        if key[:1] in (b"h", b"t"):
            bounds, counts = kept.buckets(one)
            below = [sum(value <= bound for value in values) for bound in bounds]
            assert [sum(counts[: at + 1]) for at in range(len(bounds))] == below
            assert sum(counts) == len(values)


def _without_unit(key: bytes) -> tuple[str, int, int, str, tuple[tuple[str, str], ...]]:
    from engine.model import parse_series_key

    parsed = parse_series_key(key)
    return parsed.name, parsed.type, parsed.temporality, "", parsed.labels


def test_the_bounds_follow_the_unit_and_stay() -> None:
    world = World(recount=False)
    late = [pack_series_key("late", TIMER, 0, unit, [("n", n)]) for unit, n in (("", "1"), ("ms", "2"))]
    for key in (pack_series_key("sec", TIMER, 0, "s", []), pack_series_key("byt", HISTOGRAM, 0, "bytes", []), *late):
        world.apply(entry(T0, [(key, T0, 1.0)]))
    found = [world.engine.lifetime.buckets(one)[0] for one in range(4)]
    assert found == [BOUNDS[1], BOUNDS[3], BOUNDS[0], BOUNDS[0]]
    world.flush()
    assert [world.restored().engine.lifetime.buckets(one)[0] for one in range(4)] == found


def test_a_running_total_grows_over_its_resets_and_a_restart() -> None:
    world = World(recount=False)
    key = pack_series_key("up", COUNTER, CUMULATIVE, "", [])
    shown = []
    for step, value in enumerate((1000.0, 1250.0, 40.0, 50.0, 50.0, 5.0)):
        stamp = T0 + step * 50_000
        world.apply(entry(stamp, [(key, stamp, value)]))
        world.flush()
        world = world.restored()
        wanted = world.engine.catalogue.temporalities == CUMULATIVE
        shown.append(float(world.engine.totals.reached(wanted)[0]))
    assert shown == [1000, 1250, 1290, 1300, 1300, 1305]


def test_the_servers_own_rows_are_told_apart() -> None:
    world = World(recount=False)
    own = pack_series_key("streamgauge_x", GAUGE, 0, "", [])
    delta = pack_series_key("streamgauge_y", COUNTER, DELTA, "", [])
    world.apply(entry(T0, [(own, T0, 1.0), (KEYS[3], T0, 2.0), (delta, T0, 3.0), (own, T0 + 1, 4.0)]))
    engine = world.engine
    assert engine.lifetime.own_samples() == 3 and engine.ledger.accepted == 4
    assert engine.newest.view().values.tolist() == [2.0], "they take no place from the others"
    assert engine.newest_of("streamgauge_x").view().values.tolist() == [1.0, 3.0, 4.0]
    assert engine.newest_of("streamgauge_x").view().rows.tolist() == [0, 2, 3]
    world.flush()
    assert world.restored().engine.newest_own.view().values.tolist() == [1.0, 3.0, 4.0]
