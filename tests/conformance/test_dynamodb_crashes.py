"""A flush into DynamoDB that ends at any single item is there whole or not at all, and one who was replaced changes
nothing; compared with a model of plain dicts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from engine.levels import DAY, HOUR, MINUTE, PACKED
from server.store import BlockKey, Flush, StoreConflict, StoredEvent, StoreUnavailable
from server.store.dynamodb import chunks, pages, reader
from server.store.dynamodb.store import DynamoStore
from tests.dynamodb_memory import Killed, MemoryClient, Tables

EVER = 1 << 62
LEVELS = (0, 1, 2, 3, PACKED)
NAMES = ("a", "b", "ü" * 400)


@dataclass
class Model:
    """What a store holds after some flushes."""

    state: tuple[int, int, bytes] | None = None
    blocks: dict[BlockKey, tuple[int, bytes]] = field(default_factory=dict)
    series: dict[int, bytes] = field(default_factory=dict)
    chunks: dict[int, bytes] = field(default_factory=dict)
    events: frozenset[StoredEvent] = frozenset()

    def after(self, flush: Flush) -> Model:
        """The model when it is written."""
        kept = {key: held for key, held in self.blocks.items() if key.level or key.start >= flush.packed_before}
        return Model(
            (flush.generation, flush.position, b"".join(flush.checkpoint)),
            kept | {key: (flush.generation, data) for key, data in flush.blocks.items()},
            self.series | dict(flush.series),
            {
                number: data for number, data in (self.chunks | dict(flush.dedup_chunks)).items()
                if number >= flush.dedup_drop_before
            },
            self.events | set(flush.events),
        )  # fmt: skip


def seen(store: DynamoStore) -> Model:
    """All that a store shows."""
    newest = store.newest_checkpoint()
    blocks: dict[BlockKey, tuple[int, bytes]] = {}
    for level in LEVELS:
        keys = store.list_blocks(level, -EVER, EVER)
        blocks |= store.read_blocks(keys)
        assert blocks.keys() >= set(keys), "what is listed is there"
    events = store.events(None, -EVER, EVER)
    assert len(events) == len(set(events)) == sum(store.event_types().values())
    state = None if newest is None else (newest.generation, newest.position, newest.data)
    return Model(state, blocks, dict(store.series()), dict(store.dedup_chunks()), frozenset(events))


def flush_of(rng: random.Random, generation: int) -> Flush:
    """A flush that overwrites some of what is there, and packs an hour now and then."""
    hour = generation // 3 * HOUR
    keys = [BlockKey(0, hour + rng.randrange(60) * MINUTE, name) for name in NAMES]
    keys += [BlockKey(1, rng.randrange(30) * HOUR, rng.choice(NAMES)) for _ in range(3)]
    keys += [BlockKey(2, rng.randrange(3) * DAY, rng.choice(NAMES)), BlockKey(3, 0, rng.choice(NAMES))]
    keys += [BlockKey(PACKED, hour - HOUR, name) for name in NAMES[: rng.randrange(3)]]
    events = [StoredEvent(generation * 10, row, hour + row, rng.choice("xy"), None, None, b"{}") for row in range(3)]
    return Flush(
        generation, generation * 10 + 5, [rng.randbytes(rng.randrange(1, 90)) for _ in range(2)],
        {key: rng.randbytes(rng.randrange(1, 90)) for key in keys}, events,
        [(2 * generation + n, b"series %d" % (2 * generation + n)) for n in range(2)],
        [(generation, rng.randbytes(20))], max(0, generation - 3), hour - HOUR if rng.random() < 0.4 else 0,
    )  # fmt: skip


def store_on(tables: Tables) -> tuple[MemoryClient, DynamoStore]:
    client = MemoryClient(tables)
    return client, DynamoStore(client, "0")


@pytest.fixture(autouse=True)
def small_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that values come in more than one."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 40)
    monkeypatch.setattr(pages, "PAGE_BYTES", 60)


@pytest.fixture(params=range(3))
def history(request: pytest.FixtureRequest) -> tuple[Tables, Model, list[Flush]]:
    """(tables after some flushes, their model, the flushes that come next)."""
    rng = random.Random(request.param)
    tables: Tables = {}
    model = Model()
    _, store = store_on(tables)
    for generation in range(1, 8):
        flush = flush_of(rng, generation)
        store.write(flush)
        model = model.after(flush)
        store.read_blocks(list(model.blocks))  # so that what is replaced next is deleted later
    assert seen(store) == model == seen(store_on(tables)[1])
    return tables, model, [flush_of(rng, generation) for generation in range(8, 16)]


History = tuple[Tables, Model, list[Flush]]


def changes_of(tables: Tables, flush: Flush) -> int:
    """How many items a new owner's flush puts and deletes."""
    client, store = store_on(dict(tables))
    store.write(flush)
    return client.changes


@pytest.mark.parametrize("late", [False, True])
def test_a_kill_at_any_item_leaves_the_whole_flush_or_nothing(history: History, late: bool) -> None:
    tables, before, coming = history
    first, *rest = coming
    outcomes = []
    for left in range(changes_of(tables, first)):
        copy = dict(tables)
        client, store = store_on(copy)
        client.left, client.late = left, late
        with pytest.raises(Killed):
            store.write(first)
        _, store = store_on(copy)
        after = before.after(first)
        found = seen(store)
        assert found in (before, after), f"killed at item {left}"
        outcomes.append(found == after)
        if found == before:
            store.write(first)
        for flush in rest:
            store.write(flush)
            after = after.after(flush)
        assert seen(store) == after == seen(store_on(copy)[1])
    assert outcomes == sorted(outcomes) and not outcomes[0] and outcomes[-1], "only the head makes it count"


@pytest.mark.parametrize("late", [False, True])
def test_a_flush_that_is_tried_again_is_written_once(history: History, late: bool) -> None:
    tables, before, (first, *rest) = history
    found = 0
    for left in range(changes_of(tables, first)):
        copy = dict(tables)
        client, store = store_on(copy)
        client.left, client.late, client.fault = left, late, StoreUnavailable("not now")
        model = before.after(first)
        try:
            store.write(first)
        except StoreUnavailable:
            held = seen(store_on(copy)[1])
            assert held in (before, model)
            if held == model:  # the head was put, and nobody knows
                with pytest.raises(StoreUnavailable, match="answer was lost"):
                    store.write(first)
                found += 1
            store.write(first)
        for flush in rest[:3]:
            store.write(flush)
            model = model.after(flush)
        assert seen(store) == model == seen(store_on(copy)[1])
    assert found == late


def test_a_change_between_two_tries_of_a_flush_that_has_got_through(history: History) -> None:
    tables, before, (first, second, *_) = history
    client, store = store_on(tables)
    store.write(first)
    # The put of the second one's head is its last change but for what is let go of afterwards.
    client.left, client.late, client.fault = changes_till_head(tables, second), True, StoreUnavailable("not now")
    with pytest.raises(StoreUnavailable, match="not now"):
        store.write(second)
    model = before.after(first).after(second)
    with pytest.raises(StoreUnavailable, match="answer was lost"):
        store.expire_events(1)
    store.write(second)
    assert seen(store) == model == seen(store_on(tables)[1])
    assert store.expire_events(EVER) == len(model.events)


def changes_till_head(tables: Tables, flush: Flush) -> int:
    """How many items an owner's flush puts before the head."""
    for left in range(1000):
        copy = dict(tables)
        client, store = store_on(copy)
        store._take_over()
        client.left, client.late = left, True
        with pytest.raises(Killed):
            store.write(flush)
        if copy["state", ("head", "0")]["version"] != tables["state", ("head", "0")]["version"]:
            return left
    raise AssertionError


def test_who_was_replaced_changes_nothing(history: History) -> None:
    tables, model, (first, second, third, *_) = history
    _, old = store_on(tables)
    old.write(first)
    _, new = store_on(tables)
    new.write(second)
    model = model.after(first).after(second)
    changing: list[Any] = [
        lambda: old.write(third), lambda: old.write(second), lambda: old.expire(1, EVER),
        lambda: old.expire_events(EVER), lambda: old.delete_name("a"), lambda: old.write(third),
    ]  # fmt: skip
    for change in changing:
        with pytest.raises(StoreConflict):
            change()
        assert seen(new) == model == seen(store_on(tables)[1])
    new.write(third)
    assert seen(new) == model.after(third) == seen(store_on(tables)[1])


def test_who_comes_too_late_does_not_take_over(history: History) -> None:
    tables, model, (first, second, *_) = history
    _, old = store_on(tables)
    old.write(first)
    _, late = store_on(tables)
    old.write(second)
    with pytest.raises(StoreConflict, match="since this one was started"):
        late.write(second)
    third = flush_of(random.Random(1), 20)
    old.write(third)
    model = model.after(first).after(second).after(third)
    assert seen(old) == model == seen(store_on(tables)[1])
    fourth = flush_of(random.Random(2), 21)
    _, knowing = store_on(tables)
    knowing.write(fourth)
    with pytest.raises(StoreConflict, match="taken over"):
        old.write(fourth)
    assert seen(knowing) == model.after(fourth)


def rewriting(generation: int) -> Flush:
    """A flush that writes one block over."""
    return Flush(generation, generation, [b"c"], {BlockKey(1, 0, "a"): b"%d" % generation})


def test_who_is_a_few_flushes_behind_finds_what_there_was_and_who_is_further_behind_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "LOOK_SECONDS", 0)
    tables: Tables = {}
    _, store = store_on(tables)
    late: list[DynamoStore] = []
    for generation in range(1, 20):
        store.read_blocks([BlockKey(1, 0, "a")])  # as each flush does, so that what is replaced is deleted later
        store.write(rewriting(generation))
        late.append(store_on(tables)[1])
        for other in late:
            known = other.generation
            found, _ = other.read_blocks([BlockKey(1, 0, "a")])[BlockKey(1, 0, "a")]
            assert found == known if generation - known < reader.LASTING else found in (known, generation)
    blocks = [item for (table, key), item in tables.items() if table == "blocks" and key[0].startswith("0|1|")]
    assert len(blocks) <= reader.LASTING + 2, "what nobody can need is deleted"


def test_two_owners_that_end_in_the_midst_of_a_flush_leave_nothing_to_the_third(history: History) -> None:
    tables, model, _ = history
    for number in range(2):  # each begins with other blocks of the same flush
        client, store = store_on(tables)
        client.left = changes_of(tables, flush_of(random.Random(number), 8)) // 2
        with pytest.raises(Killed):
            store.write(flush_of(random.Random(number), 8))
    first = replace(flush_of(random.Random(9), 8), blocks={BlockKey(3, 0, "a"): b"all"})
    _, store = store_on(tables)
    store.write(first)
    assert seen(store) == model.after(first) == seen(store_on(tables)[1])
