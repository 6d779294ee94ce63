"""A snapshot is the store of one moment: whole, without what is written later, and nothing is written by looking."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from server.store import BlockKey, Flush, Store, StoreDamaged, StoreVersion, open_snapshot, open_store


def flush(store: Store, generation: int) -> None:
    """Overwrites every block with data of its generation."""
    data = str(generation).encode() * 500
    blocks = {BlockKey(0, start, name): data for start in range(0, 40_000, 1000) for name in ("a", "b")}
    store.write(Flush(generation, generation * 10, [data], blocks, series=[(generation, data)]))


def generations(url: str) -> set[int]:
    """The generations that blocks, checkpoint and series of a store are of."""
    found = open_snapshot(url)
    assert found is not None
    blocks = found.read_blocks(found.list_blocks(0, 0, 1 << 60))
    newest = found.newest_checkpoint()
    assert newest is not None and len(blocks) == 80
    last = max(id for id, _ in found.series())
    found.close()
    return {newest.generation, last, *(int(data[:1]) for _, data in blocks.values())}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


def test_later_writes_are_not_seen_and_nothing_is_written(url: str, tmp_path: Path) -> None:
    assert open_snapshot(url) is None and not list(tmp_path.iterdir())
    store = open_store(url)
    flush(store, 1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".db-shm"}
    one = open_snapshot(url)
    assert one is not None and one.checkpoints() == [(1, 10)]
    assert {path: path.read_bytes() for path in before} == before
    flush(store, 2)
    assert one.checkpoints() == [(1, 10)] and one.next_block(0, 500) == BlockKey(0, 1000, "a")
    assert one.block_counts() == {0: 80} and one.number("overwritten") == 1
    assert {generation for generation, _ in one.read_blocks(one.list_blocks(0, 0, 9000)).values()} == {1}
    one.close()
    one.close()
    assert generations(url) == {2}
    store.close()


def test_a_copy_is_of_one_moment_however_much_is_written_meanwhile(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    flush(store, 1)
    stop = threading.Event()

    def write() -> None:
        generation = 2
        while not stop.is_set() and generation < 10:
            flush(store, generation)
            generation += 1

    writer = threading.Thread(target=write)
    writer.start()
    for number in range(4):
        one = open_snapshot(url)
        assert one is not None
        seen: list[tuple[int, int]] = []
        copy = tmp_path / f"copy{number}.db"
        one.copy(copy, lambda *done, seen=seen: seen.append(done))  # type: ignore[misc]
        assert len(generations(f"sqlite:///{copy}")) == 1
        assert generations(f"sqlite:///{copy}") == {one.checkpoints()[0][0]}
        assert seen[-1][0] == seen[-1][1] > 0
        one.close()
        assert not list(tmp_path.glob(f"{copy.name}-*")), "a file that is whole by itself"
    stop.set()
    writer.join()
    store.close()
    restored = open_store(f"sqlite:///{tmp_path / 'copy0.db'}")
    flush(restored, 50)
    restored.close()


def test_what_is_no_store_is_refused(url: str, tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"x" * 10_000)
    with pytest.raises(StoreDamaged):
        open_snapshot(url)
    (tmp_path / "store.db").write_bytes(b"")
    assert open_snapshot(url) is None
    open_store(url).close()
    data = bytearray((tmp_path / "store.db").read_bytes())
    data[68:72] = b"\0\0\0\1"  # the application id
    (tmp_path / "store.db").write_bytes(data)
    with pytest.raises(StoreVersion):
        open_snapshot(url)
