"""Shares of a flush that other processes write: they count with the flush, all or none, whoever ends when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.store import BlockKey, Flush, StoreConflict, StoreUnavailable, WrittenShare
from server.store.dynamodb.store import DynamoStore
from tests.conformance.test_dynamodb_crashes import EVER, NAMES, History, history, seen, small_items, store_on
from tests.dynamodb_memory import Killed, MemoryClient, Tables

__all__ = ["history", "small_items"]  # fixtures

Parts = tuple[Flush, list[dict[BlockKey, bytes]]]


def split(flush: Flush) -> Parts:
    """A flush as its owner writes it, and the blocks of two shares."""
    upper = {key: data for key, data in flush.blocks.items() if key.level}
    shares = [{key: data for key, data in upper.items() if (key.name == NAMES[0]) == mine} for mine in (True, False)]
    return replace(flush, blocks={key: data for key, data in flush.blocks.items() if not key.level}), shares


def put(tables: Tables, generation: int, version: int, blocks: dict[BlockKey, bytes]) -> WrittenShare:
    """A share as another process writes it."""
    return store_on(tables)[1].write_share(generation, version, blocks, lambda: True)


def written(store: DynamoStore, tables: Tables, flush: Flush) -> None:
    """A flush in shares."""
    rest, shares = split(flush)
    versions = store.versions(2)
    done = [put(tables, flush.generation, *each) for each in zip(versions, shares, strict=True)]
    store.write(replace(rest, shares=done))


def test_a_flush_in_shares_is_the_flush(history: History) -> None:
    tables, model, coming = history
    _, store = store_on(tables)
    for flush in coming:
        written(store, tables, flush)
        model = model.after(flush)
        assert seen(store) == model == seen(store_on(tables)[1])
    # What retention and deletions let go of is the same.
    for level in (1, 2, 3):
        assert store.expire(level, EVER) == sum(key.level == level for key in model.blocks)
    assert not any(key.level in (1, 2, 3) for key in seen(store).blocks)


def test_nothing_is_seen_of_a_share_without_its_flush(history: History) -> None:
    tables, model, (first, second, *_) = history
    _, store = store_on(tables)
    rest, shares = split(first)
    versions = store.versions(2)
    done = [put(tables, first.generation, *each) for each in zip(versions, shares, strict=True)]
    assert seen(store) == model == seen(store_on(tables)[1])
    store.write(replace(rest, shares=done[:1]))  # the other one did not come in time
    model = model.after(replace(first, blocks=rest.blocks | shares[0]))
    assert seen(store) == model == seen(store_on(tables)[1])
    with pytest.raises(StoreConflict, match="in the store already"):
        put(tables, first.generation, versions[1], shares[1])
    store.write(second)
    assert seen(store) == model.after(second) == seen(store_on(tables)[1])


def test_shares_of_an_owner_that_was_replaced_never_count(history: History) -> None:
    tables, model, (first, second, *_) = history
    _, old = store_on(tables)
    rest, shares = split(first)
    versions = old.versions(2)
    late = store_on(tables)[1]
    _, new = store_on(tables)
    new.write(first)
    done = late.write_share(first.generation, versions[0], shares[0], lambda: True)  # it does not know
    with pytest.raises(StoreConflict):
        old.write(replace(rest, shares=[done]))
    written(new, tables, second)
    assert seen(new) == model.after(first).after(second) == seen(store_on(tables)[1])


def test_something_written_in_between_makes_shares_void(history: History) -> None:
    tables, model, (first, *_) = history
    _, store = store_on(tables)
    rest, shares = split(first)
    versions = store.versions(2)
    done = [put(tables, first.generation, *each) for each in zip(versions, shares, strict=True)]
    gone = len(model.events)
    assert store.expire_events(EVER) == gone
    with pytest.raises(StoreUnavailable, match="try again without"):
        store.write(replace(rest, shares=done))
    store.write(first)
    assert seen(store) == replace(model, events=frozenset()).after(first) == seen(store_on(tables)[1])


def test_who_may_not_write_any_more_stops(history: History) -> None:
    tables, model, (first, *_) = history
    _, store = store_on(tables)
    _, (share, _) = split(first)
    (version,) = store.versions(1)
    with pytest.raises(StoreConflict, match="is not to write a share"):
        store_on(tables)[1].write_share(first.generation, version, share, lambda: False)
    assert seen(store) == model


@pytest.mark.parametrize("late", [False, True])
def test_a_kill_at_any_item_leaves_the_whole_flush_or_nothing(history: History, late: bool) -> None:
    tables, before, (first, second, *_) = history
    after, outcomes = before.after(first), []
    for left in range(1000):
        copy = dict(tables)
        client, store = store_on(copy)
        client.left, client.late = left, late
        if not dies(client, store, copy, first):
            break
        _, store = store_on(copy)
        found = seen(store)
        assert found in (before, after), f"killed at item {left}"
        outcomes.append(found == after)
        if found == before:
            written(store, copy, first)
        written(store, copy, second)
        assert seen(store) == after.after(second) == seen(store_on(copy)[1])
    assert outcomes == sorted(outcomes) and not outcomes[0] and outcomes[-1], "only the head makes it count"


def dies(client: MemoryClient, store: DynamoStore, tables: Tables, flush: Flush) -> bool:
    """Whether the owner, who writes one share itself, or the writer of the other, which ends at the same item, dies."""
    rest, shares = split(flush)
    try:
        versions = store.versions(2)
        own = store.write_share(flush.generation, versions[0], shares[0], lambda: True)
        store.write(replace(rest, shares=[own, put(tables, flush.generation, versions[1], shares[1])]))
    except Killed:
        return True
    return False


@pytest.mark.parametrize("late", [False, True])
def test_a_flush_that_is_tried_again_without_its_shares_is_written_once(history: History, late: bool) -> None:
    tables, before, (first, second, *_) = history
    for left in range(1000):
        copy = dict(tables)
        client, store = store_on(copy)
        rest, shares = split(first)
        versions = store.versions(2)
        done = [put(copy, first.generation, *each) for each in zip(versions, shares, strict=True)]
        client.left, client.late, client.fault = left, late, StoreUnavailable("not now")
        try:
            store.write(replace(rest, shares=done))
            break
        except StoreUnavailable:
            store.write(first)
        assert seen(store) == before.after(first) == seen(store_on(copy)[1]), f"at item {left}"
    else:
        raise AssertionError("it never got through")
    written(store, copy, second)
    assert seen(store) == before.after(first).after(second)
