"""Checkpoints: all that the store does not hold comes back, and what is damaged is refused."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from engine import checkpoint, slots
from engine.engine import Engine, Options
from engine.errors import BadCheckpoint
from engine.model import COUNTER, DELTA, GAUGE, pack_series_key
from engine.query.value import Query
from tests.engine_support import KEYS, NAME, T0, World, entry


def series(number: int, unit: str = "", name: str = NAME) -> bytes:
    return pack_series_key(name, GAUGE, 0, unit, [("n", str(number))])


def test_an_engine_that_saw_nothing_comes_back() -> None:
    world = World()
    world.flush()
    assert world.restored().state() == world.state()


def test_a_slot_goes_on_folding_when_it_would_have() -> None:
    with patch.object(slots, "FOLD_AT", 8):
        world = World(recount=False)
        world.apply(entry(T0, [(series(n), T0, 1.0) for n in range(9)]))
        world.flush()
        again = world.restored()
        for count in range(12):
            given = entry(T0, [(series(0), T0, float(count))])
            world.apply(given)
            again.apply(given)
            assert again.state() == world.state()
            assert again.engine.open_bytes == world.engine.open_bytes


def test_a_capture_does_not_change_while_entries_go_on() -> None:
    world = World(recount=False)
    with patch.object(slots, "FOLD_AT", 20), patch.object(slots, "MAX_FOLDED", 1):
        for number in range(10):
            world.apply(entry(T0 + number, [(key, T0 + number, float(number)) for key in KEYS]))
        captured = checkpoint.capture(world.engine)
        before = checkpoint.encode(*captured)
        for number in range(200):
            world.apply(entry(T0 + number * 1000, [(key, T0 + number * 1000, float(number)) for key in KEYS]))
        assert checkpoint.encode(*captured) == before


def test_the_unit_is_a_function_of_the_log() -> None:
    """Restoring forgets which keys, as they were sent, are which series; the unit must not depend on it."""
    world = World(recount=False)
    world.apply(entry(T0, [(series(1, "ms"), T0, 1.0)]))
    world.apply(entry(T0, [(series(2, "s"), T0, 1.0)]))
    world.flush()
    again = world.restored()
    for given in (entry(T0, [(series(1, "ms"), T0, 1.0)]), entry(T0, [(series(1), T0, 1.0)])):
        world.apply(given)
        again.apply(given)
        assert again.engine.catalogue.names[NAME].unit == world.engine.catalogue.names[NAME].unit


def test_ids_types_and_flags_of_series_come_back() -> None:
    world = World(Options(max_series_per_name=3), recount=False)
    keys = [*KEYS[:3], pack_series_key(NAME, COUNTER, DELTA, "", [("x", "1")]), series(5)]
    world.apply(entry(T0, [(key, T0, 1.0) for key in keys], sketched=["n", "later"]))
    world.flush()
    one, other = world.engine.catalogue, world.restored().engine.catalogue
    assert one.keys == other.keys and one.sketched == other.sketched == {"n", "later"}
    for column in ("types", "temporalities", "totals", "deltas", "name_numbers"):
        assert getattr(one, column).tolist() == getattr(other, column).tolist()
    assert [name.name for name in one.by_number] == [name.name for name in other.by_number]
    assert {n.name: (n.unit, n.folded, n.types) for n in one.by_number} == {
        n.name: (n.unit, n.folded, n.types) for n in other.by_number
    }
    assert one.names[NAME].folded == 2


def test_the_raw_ring_comes_back_and_knows_what_it_forgot() -> None:
    world = World(Options(raw_samples=10), recount=False)
    for number in range(13):
        world.apply(entry(T0 + number, [(series(0), T0 + number, float(number))]))
    world.flush()
    again = world.restored()
    assert again.engine.newest.view().values.tolist() == list(map(float, range(3, 13)))
    assert again.engine.newest.forgotten == T0 + 2
    smaller = Engine(Options(raw_samples=4))
    assert world.saved is not None
    checkpoint.restore(smaller, world.saved.data, world.saved.series, [])
    assert smaller.newest.view().values.tolist() == [9.0, 10.0, 11.0, 12.0]
    assert smaller.newest.forgotten == T0 + 8


@pytest.mark.parametrize("harm", ["short", "magic", "version", "header", "series", "empty"])
def test_a_damaged_checkpoint_is_refused(harm: str) -> None:
    world = World(recount=False)
    world.apply(entry(T0, [(key, T0, 1.0) for key in KEYS]))
    world.flush()
    assert world.saved is not None
    data, stored = world.saved.data, world.saved.series
    damaged = {
        "short": data[:-1], "magic": b"X" + data[1:], "version": data[:4] + b"\x09" + data[5:], "header": data[:60],
        "series": data, "empty": b"",
    }[harm]  # fmt: skip
    with pytest.raises(BadCheckpoint):
        checkpoint.restore(Engine(), damaged, stored[:-1] if harm == "series" else stored, [])


def test_events_after_the_checkpoint_are_held_again() -> None:
    world = World(recount=False)
    world.apply(entry(T0, [(KEYS[0], T0, 1.0)]))
    world.flush()
    assert world.engine.flushed_position == 1 == world.restored().engine.flushed_position


def test_a_query_at_a_time_before_is_the_same_after_a_restore() -> None:
    world = World()
    for number in range(200):
        world.apply(entry(T0 + number * 1000, [(KEYS[0], T0 + number * 1000, float(number))]))
        if number in (50, 120):
            world.flush()
    world.flush()
    again = world.restored()
    for at in range(T0 + 50_000, T0 + 199_000, 7000):
        query = Query("metric", NAME, aggregation="increase", range=30_000)
        world.verify(query, at)
        assert repr(again.ask(query, at)) == repr(world.ask(query, at))
