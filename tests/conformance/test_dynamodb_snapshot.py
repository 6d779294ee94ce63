"""A snapshot of a store in DynamoDB is whole, or says that the store has gone on; it writes nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from server.store import BlockKey, Flush, Snapshot, Store, StoredEvent, StoreUnavailable, open_snapshot
from tests.dynamodb_support import FaultProxy, aws_at
from tests.store_support import new_place, open_at, snapshot_at


@pytest.fixture(params=["dynalite", "moto"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_place(request.param, tmp_path, request)


def flush(store: Store, generation: int) -> None:
    """Overwrites every block with data of its generation."""
    data = str(generation).encode() * 50
    blocks = {BlockKey(level, start * 86_400_000, "a"): data for level in (0, 1, 2) for start in range(3)}
    events = [StoredEvent(generation, 0, generation, "x", None, None, b"{}")]
    store.write(Flush(generation, generation, [data], blocks, events, series=[(generation, data)]))


def generations(found: Snapshot) -> set[int]:
    """The generations that blocks, checkpoint and series are of."""
    blocks = [
        held for level in (0, 1, 2) for held in found.read_blocks(found.list_blocks(level, 0, 1 << 60)).items()
    ]  # fmt: skip
    newest = found.newest_checkpoint()
    assert newest is not None and len(blocks) == 9
    last = max(id for id, _ in found.series())
    assert all(data == str(generation).encode() * 50 for _, (generation, data) in blocks)
    return {newest.generation, last, found.event_count(), *(generation for _, (generation, _) in blocks)}


def test_later_writes_are_not_seen(place: str) -> None:
    store = open_at(place)
    assert snapshot_at(place) is None, "nothing has been stored"
    flush(store, 1)
    one = snapshot_at(place)
    assert one is not None and one.checkpoints() == [(1, 1)]
    flush(store, 2)
    assert generations(one) == {1}
    assert one.block_counts() == {0: 3, 1: 3, 2: 3} and one.next_block(1, 1) == BlockKey(1, 86_400_000, "a")
    one.close()
    one.close()
    two = snapshot_at(place)
    assert two is not None and generations(two) == {2}
    two.close()
    store.close()


def test_while_flushes_go_on_a_snapshot_is_of_one_of_them_or_says_that_it_cannot_be(place: str) -> None:
    store = open_at(place)
    flush(store, 1)
    stop = threading.Event()

    def write() -> None:
        generation = 2
        while not stop.is_set() and generation < 9:
            flush(store, generation)
            generation += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(6):
        one = snapshot_at(place)
        assert one is not None
        try:
            [generation] = generations(one)
            assert generation == one.checkpoints()[0][0]
        except StoreUnavailable as error:
            assert "went on while it was read" in str(error)
        one.close()
    stop.set()
    writer.join()
    last = snapshot_at(place)
    assert last is not None and len(generations(last)) == 1
    last.close()
    store.close()


def test_looking_writes_nothing_and_makes_no_tables(place: str) -> None:
    url, _, endpoint = place.partition(" ")
    with FaultProxy(endpoint) as proxy:
        with pytest.raises(StoreUnavailable, match="is not there"):
            open_snapshot(url, aws_at(proxy.url))
        store = open_at(place)
        flush(store, 1)
        found = open_snapshot(url, aws_at(proxy.url))
        assert found is not None and generations(found) == {1}
        found.close()
        store.close()
        assert not {name for name in proxy.seen if name.startswith(("Put", "BatchWrite", "Create", "Update", "Delete"))}
