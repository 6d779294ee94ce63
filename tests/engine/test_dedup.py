"""Repeats: ids, idempotency keys, writer sequences; across checkpoints; and the ledger that counts them."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from engine.dedup import EVENT, METRIC, REQUEST, Bound, Seen, Window
from engine.engine import Options
from engine.model import Event, KeyedRequest
from engine.query.value import Query
from tests.engine_support import KEYS, NAME, T0, World, entry

COUNT = Query("metric", NAME, aggregation="count", range=3_600_000)


def key(number: int) -> bytes:
    return number.to_bytes(16, "little")


def rows(count: int, stamp: int = T0, at: int = 3) -> list[tuple[bytes, int, float]]:
    return [(KEYS[at], stamp, float(number)) for number in range(count)]


def request(
    number: int, metrics: tuple[int, int], events: tuple[int, int] = (0, 0), body: bytes = b"12345678"
) -> KeyedRequest:
    return KeyedRequest(key(number), body, metrics, events)


def test_an_id_counts_once_and_says_where() -> None:
    world = World()
    first, _ = world.apply(entry(T0, rows(3), ids={1: key(1)}))
    assert first.duplicate is not None and not first.duplicate.any()
    again, delivery = world.apply(entry(T0 + 5, rows(2), ids={0: key(1), 1: key(2)}))
    assert again.duplicate is not None and again.duplicate.tolist() == [True, False]
    assert again.first == {0: (1, 1)}
    assert delivery.rows.tolist() == [1] and delivery.values.tolist() == [1.0]
    assert world.value(COUNT) == 4
    assert world.engine.ledger.duplicate == 1


def test_an_id_twice_in_one_entry_counts_once() -> None:
    world = World()
    applied, _ = world.apply(entry(T0, rows(3), ids={0: key(1), 2: key(1)}))
    assert applied.duplicate is not None and applied.duplicate.tolist() == [False, False, True]
    assert applied.first == {2: (1, 0)}


def test_ids_of_metrics_events_and_requests_are_kept_apart() -> None:
    world = World()
    event = Event(T0, "click", None, None, b"{}", key(1))
    world.apply(entry(T0, rows(2), ids={0: key(1)}, events=[event], requests=[request(1, (1, 2))]))
    ledger = world.engine.ledger
    assert (ledger.accepted, ledger.events, ledger.duplicate) == (2, 1, 0)
    applied, delivery = world.apply(entry(T0, rows(1), events=[event], requests=[request(2, (0, 1))]))
    assert applied.events_duplicate is not None and applied.events_duplicate.tolist() == [True]
    assert applied.events_first == {0: (1, 0)} and delivery.events == []
    assert (ledger.accepted, ledger.events, ledger.duplicate) == (3, 1, 1)


def test_a_repeated_request_is_all_duplicates_and_says_where() -> None:
    world = World()
    event = Event(T0, "click", None, None, b"{}")
    world.apply(entry(T0, rows(5), events=[event, event], requests=[request(9, (2, 4), (1, 2))]))
    applied, delivery = world.apply(entry(T0, rows(3), events=[event], requests=[request(9, (1, 3), (0, 1))]))
    assert applied.duplicate is not None and applied.duplicate.tolist() == [False, True, True]
    assert applied.first == {1: (1, 2), 2: (1, 3)} and applied.events_first == {0: (1, 1)}
    assert applied.conflicts == [] and delivery.rows.tolist() == [0]
    assert world.engine.ledger.duplicate == 3


def test_a_key_with_another_body_is_a_conflict_whose_rows_are_rejected() -> None:
    world = World()
    event = Event(T0, "click", None, None, b"{}")
    world.apply(entry(T0, rows(2), requests=[request(9, (0, 2))]))
    given = entry(T0, rows(4), events=[event], requests=[request(9, (0, 2), (0, 1), b"otherone"), request(8, (2, 4))])
    applied, delivery = world.apply(given)
    ledger = world.engine.ledger
    assert applied.conflicts == [0] and delivery.rows.tolist() == [2, 3] and delivery.events == []
    assert ledger.rejected == {"conflict": 3} and ledger.duplicate == 0 and ledger.accepted == 4
    assert ledger.received == 7
    assert world.value(COUNT) == 4


@pytest.mark.parametrize("body", [b"12345678", b"1234567\0", b"\0" * 8])
def test_repeats_are_known_after_a_restore(body: bytes) -> None:
    world = World()
    event = Event(T0, "click", None, None, b"{}", key(7))
    given = entry(T0, rows(2), ids={0: key(0)}, events=[event], requests=[request(5, (1, 2), body=body)])
    world.apply(given)
    world.flush()
    again = world.restored()
    applied, _ = again.apply(
        entry(T0 + 1, rows(2), ids={0: key(0)}, events=[event], requests=[request(5, (1, 2), body=body)])
    )
    assert applied.duplicate is not None and applied.duplicate.all()
    assert applied.events_duplicate is not None and applied.events_duplicate.all()
    assert applied.first == {0: (1, 0), 1: (1, 1)} and applied.conflicts == []
    other = again.apply(entry(T0 + 1, rows(1), requests=[request(5, (0, 1), body=b"87654321")]))[0]
    assert other.conflicts == [0]


def test_a_repeated_append_changes_nothing_but_its_own_count() -> None:
    world = World()
    world.apply(entry(T0, rows(3), epoch=77, sequence=1, rejected={"bad_value": 2}))
    before = world.engine.ledger.as_dict()
    applied, delivery = world.apply(entry(T0, rows(3), epoch=77, sequence=1, rejected={"bad_value": 2}))
    assert applied.position == 2 and not len(delivery.series)
    assert world.engine.ledger.as_dict() == before | {"repeated": 1}
    assert world.engine.position == 2 and world.value(COUNT) == 3
    world.flush()
    again = world.restored()
    again.apply(entry(T0, rows(3), epoch=77, sequence=1))
    again.apply(entry(T0, rows(3), epoch=78, sequence=1))
    again.apply(entry(T0, rows(3), epoch=77, sequence=2))
    assert again.value(COUNT) == 9 and again.engine.ledger.repeated == 2


def test_keys_leave_by_age() -> None:
    window = Window(Bound(keys=100, age=1000))
    window.add(METRIC, key(1), 0, Seen(1, 0))
    window.add(METRIC, key(2), 500, Seen(2, 0))
    window.expire(999)
    assert window.find(METRIC, key(1))
    window.expire(1000)
    assert window.find(METRIC, key(1)) is None and window.find(METRIC, key(2)) == Seen(2, 0)


def test_keys_leave_by_count_oldest_first() -> None:
    window = Window(Bound(keys=10, age=1000))
    for number in range(25):
        window.add(METRIC, key(number), number // 7, Seen(number, 0))
        window.expire(number // 7)
    assert [number for number in range(25) if window.find(METRIC, key(number))] == list(range(15, 25))
    assert len(window) == 10


def naive(adds: list[tuple[int, bytes, int]], stamp: int, bound: Bound) -> set[tuple[int, bytes]]:
    return {(kind, k) for kind, k, at in adds[-bound.keys :] if at > stamp - bound.age}


@pytest.mark.parametrize("seed", range(20))
def test_the_window_is_the_same_after_any_restore(seed: int) -> None:
    """Keys that were forgotten and came again, flushes, and a bound by count as well as by age."""
    random = Random(seed)
    bound = Bound(keys=random.choice([5, 20, 10_000]), age=random.choice([50, 1000]))
    window, adds, chunks, stamp = Window(bound), [], {}, 1000
    for number in range(400):
        stamp += random.choice([0, 0, 1, 5, 60])
        window.expire(stamp)
        kind, k = random.choice([METRIC, EVENT, REQUEST]), key(random.randrange(15))
        assert (window.find(kind, k) is not None) == ((kind, k) in naive(adds, stamp, bound))
        if window.find(kind, k) is None:
            window.add(kind, k, stamp, Seen(number, number % 7, number % 3, b"abcdefgh" if kind == REQUEST else b""))
            adds.append((kind, k, stamp))
        if random.random() < 0.1:
            chunk = window.take_chunk(number)
            oldest = window.oldest_chunk(number)
            chunks = {n: data for n, data in chunks.items() if n >= oldest} | ({number: chunk} if chunk else {})
            restored = Window(bound)
            restored.restore(sorted(chunks.items()), stamp)
            assert len(restored) == len(window)
            for kind in (METRIC, EVENT, REQUEST):
                assert [restored.find(kind, key(n)) for n in range(15)] == [
                    window.find(kind, key(n)) for n in range(15)
                ]
            if random.random() < 0.5:
                window = restored


def test_a_window_full_at_the_checkpoint_is_the_same_after_it() -> None:
    world = World(Options(dedup=Bound(keys=4, age=10**9)))
    world.apply(entry(T0, rows(4), ids={n: key(n) for n in range(4)}))
    world.apply(entry(T0, rows(2), ids={n: key(n + 4) for n in range(2)}))
    world.flush()
    again = world.restored()
    given = entry(T0, rows(6), ids={n: key(n) for n in range(6)})
    first, second = world.apply(given)[0], again.apply(given)[0]
    assert first.duplicate is not None and second.duplicate is not None
    assert first.duplicate.tolist() == second.duplicate.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_ledger_adds_up_whatever_comes(seed: int) -> None:
    random = Random(seed)
    world = World(Options(dedup=Bound(keys=30, age=5000), max_series=5))
    sent, rejected, stamp = 0, 0, T0
    sequence = 0
    for _ in range(150):
        stamp += random.choice([0, 10, 3000])
        count = random.randrange(6)
        events = [
            Event(stamp, "e", None, None, b"{}", key(random.randrange(40)) if random.random() < 0.5 else None)
        ] * random.randrange(3)
        cut = random.randrange(count + 1)
        requests = [request(random.randrange(30), (0, cut), (0, len(events)), random.choice([b"a" * 8, b"b" * 8]))]
        refused = {"bad_value": random.randrange(3)}
        batch = [(random.choice(KEYS), stamp - random.choice([0, 100_000, 10**12]), 1.0) for _ in range(count)]
        ids = {row: key(random.randrange(60)) for row in range(count) if random.random() < 0.5}
        repeat = random.random() < 0.2 and sequence > 0
        sequence += not repeat
        world.apply(
            entry(stamp, batch, epoch=5, sequence=sequence, ids=ids, events=events,
                  requests=requests if random.random() < 0.5 else (),
                  rejected=refused)
        )  # fmt: skip
        if not repeat:
            sent += count + len(events) + refused["bad_value"]
            rejected += refused["bad_value"]
        ledger = world.engine.ledger
        assert ledger.received == sent
        assert ledger.rejected["bad_value"] == rejected
        assert ledger.accepted == len(world.oracle.samples) + ledger.expired
        assert ledger.events == len(world.engine.events)
        assert min(value for value in ledger.as_dict().values() if isinstance(value, int)) >= 0
        if random.random() < 0.1:
            world.flush()
            world.engine.events = list(world.engine.frozen_events)
            assert world.restored().engine.ledger == ledger
            sent -= ledger.events
            ledger.received, ledger.events = sent, 0
    assert np.isfinite(sent)
