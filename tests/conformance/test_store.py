"""What every store promises, run against each of them: all or nothing, overwrite, order, readers undisturbed.

A new back-end adds its name to BACKENDS. What only a SQLite file can show is in test_store_sqlite.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.store import (
    BlockKey,
    Checkpoint,
    Flush,
    Store,
    StoreClosed,
    StoreConflict,
    StoredEvent,
    TooManyRows,
)
from tests.forks import Forked
from tests.store_support import BACKENDS, new_place, open_at, rounds
from tests.support import wait_until

HOUR = 3_600_000


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_place(request.param, tmp_path, request)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_at(url)
    yield opened
    opened.close()


def event(
    position: int, row: int = 0, time: int = 0, type: str = "click", *,
    user_id: str | None = None, session_id: str | None = None, **properties: object,
) -> StoredEvent:  # fmt: skip
    body = json.dumps({"properties": properties, "metadata": {}}, ensure_ascii=False).encode()
    return StoredEvent(position, row, time, type, user_id, session_id, body)


def test_new_store_is_empty(store: Store) -> None:
    assert store.newest_checkpoint() is None
    assert store.read_blocks([BlockKey(0, 0, "a")]) == {}
    assert store.list_blocks(0, 0, 1 << 60) == []
    assert list(store.series()) == [] and store.dedup_chunks() == []
    assert store.events(None, 0, 1 << 60) == [] and store.event_types() == {}
    assert list(store.events_scan(None, 0, 1 << 60, ["properties.a"])) == []
    assert store.list_documents("query") == [] and store.get_document("query", "q") is None
    assert store.expire(0, 1 << 60) == 0 and store.expire_events(1 << 60) == 0 and store.delete_name("a") == 0


def test_a_flush_comes_back_whole_after_reopening(url: str) -> None:
    blocks = {
        BlockKey(0, 5000, "small"): b"x",
        BlockKey(1, 0, "empty"): b"",
        BlockKey(3, 0, "large, compressible"): bytes(3_000_000),
        BlockKey(3, 0, "large, random"): random.Random(1).randbytes(1_000_000),
        BlockKey(2, 2 * HOUR, "unicode ✓"): "é".encode() * 300,
    }
    events = [event(7, 0, 10, user_id="u", session_id="s", plan="pro"), event(7, 1, 10)]
    flush = Flush(1, 7, [b"state" * 100], blocks, events, [(1, b"\xff\xfe"), (2, b"k")], [(4, b"four"), (3, b"three")])
    first = open_at(url)
    first.write(flush)
    first.close()
    again = open_at(url)
    assert again.newest_checkpoint() == Checkpoint(1, 7, b"state" * 100)
    assert again.read_blocks([*blocks, BlockKey(0, 0, "none")]) == {key: (1, data) for key, data in blocks.items()}
    assert again.events(None, 0, 11) == events
    assert list(again.series()) == [(1, b"\xff\xfe"), (2, b"k")]
    assert again.dedup_chunks() == [(3, b"three"), (4, b"four")]
    assert again.size() > 1_000_000
    again.close()


def test_blocks_follow_a_model_through_writes_expiry_and_deletion(url: str, store: Store) -> None:
    rng = random.Random(5)
    model: dict[BlockKey, tuple[int, bytes]] = {}
    names = [f"name {i}" for i in range(12)]
    everything = [BlockKey(level, start, name) for level in range(4) for start in range(0, 60, 5) for name in names]
    for generation in range(1, rounds(url, 60, 23)):
        chosen = rng.sample(everything, rng.randrange(40))
        blocks = {key: rng.randbytes(rng.choice([3, 300])) * rng.choice([1, 5]) for key in chosen}
        store.write(Flush(generation, generation, [b""], blocks))
        model.update({key: (generation, data) for key, data in blocks.items()})
        if generation % 7 == 0:
            level, before = rng.randrange(4), rng.randrange(60)
            gone = [key for key in model if key.level == level and key.start < before]
            assert store.expire(level, before) == len(gone)
            model = {key: value for key, value in model.items() if key not in gone}
        if generation % 11 == 0:
            name = rng.choice(names)
            gone = [key for key in model if key.name == name]
            assert store.delete_name(name) == len(gone)
            model = {key: value for key, value in model.items() if key not in gone}
        assert store.read_blocks(everything) == model
        level, start, end = rng.randrange(4), rng.randrange(60), rng.randrange(60)
        for wanted in (None, set(rng.sample(names, 3)) | {"unknown"}, ()):
            assert store.list_blocks(level, start, end, wanted) == sorted(
                key for key in model
                if key.level == level and start <= key.start < end and (wanted is None or key.name in wanted)
            )  # fmt: skip


def test_checkpoints_replace_one_another(store: Store) -> None:
    for generation in range(1, 6):
        store.write(Flush(generation, generation * 10, [b"%d" % generation]))
        assert store.newest_checkpoint() == Checkpoint(generation, generation * 10, b"%d" % generation)


def test_an_old_generation_changes_nothing(store: Store) -> None:
    key = BlockKey(0, 0, "a")
    store.write(Flush(2, 20, [b"state"], {key: b"new"}))
    for generation in (1, 2):
        with pytest.raises(StoreConflict, match="generation 2"):
            store.write(Flush(generation, 30, [b"other"], {key: b"old"}, [event(1)]))
    assert store.read_blocks([key]) == {key: (2, b"new")}
    assert store.newest_checkpoint() == Checkpoint(2, 20, b"state")
    assert store.events(None, 0, 1) == []


def test_a_flush_that_fails_half_way_changes_nothing(store: Store) -> None:
    key = BlockKey(0, 0, "a")
    store.write(Flush(1, 1, [b"one"], {key: b"one"}, series=[(1, b"first")], dedup_chunks=[(1, b"one")]))
    with pytest.raises(StoreConflict, match="series 1"):
        store.write(Flush(2, 2, [b"two"], {key: b"two"}, [event(2)], [(1, b"first"), (2, b"x"), (1, b"other")]))
    unwritable = event(2)._replace(position=1 << 70)
    with pytest.raises(OverflowError):
        store.write(Flush(2, 2, [b"two"], {key: b"two"}, [event(2), unwritable], [(2, b"x")], [(1, b"two")], 1))
    assert store.read_blocks([key]) == {key: (1, b"one")}
    assert (list(store.series()), store.dedup_chunks()) == ([(1, b"first")], [(1, b"one")])
    assert store.events(None, 0, 1) == [] and store.newest_checkpoint() == Checkpoint(1, 1, b"one")
    store.write(Flush(2, 2, [b"two"], {key: b"two"}, series=[(1, b"first"), (2, b"x")]))
    assert list(store.series()) == [(1, b"first"), (2, b"x")]


def test_dedup_chunks_are_overwritten_by_number_and_dropped_from_below(store: Store) -> None:
    store.write(Flush(1, 1, [b""], dedup_chunks=[(1, b"a"), (2, b"b"), (3, b"c")]))
    store.write(Flush(2, 2, [b""], dedup_chunks=[(3, b"cc"), (4, b"d")], dedup_drop_before=3))
    assert store.dedup_chunks() == [(3, b"cc"), (4, b"d")]


def test_a_catalogue_of_several_pages_comes_in_order(store: Store) -> None:
    rows = [(id, b"key %d" % id) for id in range(0, 24_000, 2)]
    store.write(Flush(1, 1, [b""], series=list(reversed(rows))))
    assert list(store.series()) == rows


def test_events_by_range_type_user_and_order(store: Store) -> None:
    rng = random.Random(3)
    events = [
        event(p, r, rng.randrange(50), rng.choice(["a", "b", "it's"]), user_id=rng.choice([None, "u", "v"]))
        for p in range(1, 40) for r in range(5)
    ]  # fmt: skip
    store.write(Flush(1, 100, [b""], events=events))
    for _ in range(150):
        start, end = rng.randrange(-1, 52), rng.randrange(-1, 52)
        type, user = rng.choice([None, "a", "it's", "none"]), rng.choice([None, "u", "nobody"])
        upto = rng.choice([None, (rng.randrange(42), rng.randrange(5))])
        newest_first, limit = rng.random() < 0.5, rng.choice([None, 0, 3, 1000])
        expected = sorted(
            (
                e for e in events
                if start <= e.time < end and type in (None, e.type) and user in (None, e.user_id)
                and (upto is None or (e.position, e.row) <= upto)
            ),
            key=lambda e: (e.time, e.position, e.row), reverse=newest_first,
        )[:limit]  # fmt: skip
        found = store.events(type, start, end, user_id=user, limit=limit, newest_first=newest_first, upto=upto)
        assert found == expected


@pytest.mark.parametrize("newest_first", [False, True])
def test_pages_of_events_join_without_gap_or_repeat(store: Store, newest_first: bool) -> None:
    store.write(Flush(1, 100, [b""], events=[event(p, r, p // 7) for p in range(50) for r in range(3)]))
    whole = store.events("click", 0, 100, newest_first=newest_first)
    pages: list[StoredEvent] = []
    after = None
    while page := store.events("click", 0, 100, limit=8, newest_first=newest_first, after=after):
        pages += page
        after = (page[-1].time, page[-1].position, page[-1].row)
    assert len(whole) == 150 and pages == whole


def test_a_repeated_event_counts_once(store: Store) -> None:
    store.write(Flush(1, 1, [b""], events=[event(1, 0, 5, plan="first"), event(1, 1, 5)]))
    store.write(Flush(2, 2, [b""], events=[event(1, 0, 5, plan="again"), event(2, 0, 6)]))
    assert [(e.position, e.row) for e in store.events(None, 0, 10)] == [(1, 0), (1, 1), (2, 0)]
    assert b"first" in store.events(None, 0, 10)[0].body
    assert store.event_types() == {"click": 3}


def test_event_types_and_expiry_keep_to_half_open_ranges(store: Store) -> None:
    store.write(Flush(1, 1, [b""], events=[event(1, t, t, "ab"[t % 2]) for t in range(7000)]))
    assert store.event_types() == {"a": 3500, "b": 3500}
    assert store.event_types(10, 13) == {"a": 2, "b": 1}
    assert store.event_types(start=6999) == {"b": 1} and store.event_types(end=1) == {"a": 1}
    assert store.expire_events(6000) == 6000
    assert [e.time for e in store.events(None, 0, 6002)] == [6000, 6001]
    assert store.event_types() == {"a": 500, "b": 500}


def test_a_scan_gives_the_values_at_paths(store: Store) -> None:
    properties = {
        "text": "pro", "whole": 12, "real": 0.5, "yes": True, "no": False, "nothing": None, "list": [1, "b"],
        "object": {"inner": {"deep": "down"}}, "straße": "ß", "a/b": 1, 'quo"te': 2, "it's": True, "huge": 10**30,
        "spaced name": -1, "long": 2**63 - 1,
    }  # fmt: skip
    paths = [f"properties.{name}" for name in [*properties, "object.inner.deep", "missing", "text.deeper"]]
    given = event(1, 0, 5, user_id="u", session_id="s", **properties)  # type: ignore[arg-type]
    escaped = given._replace(row=1, body=json.dumps(json.loads(given.body)).replace("a/b", "a\\/b").encode())
    store.write(Flush(1, 1, [b""], events=[given, escaped]))
    expected = (
        "pro", 12, 0.5, "true", "false", None, '[1,"b"]', '{"inner":{"deep":"down"}}', "ß", 1, 2, "true", 1e30,
        -1, 2**63 - 1, "down", None, None,
    )  # fmt: skip
    (rows,) = store.events_scan("click", 0, 10, ["event_type", "user_id", "session_id", *paths])
    assert rows == [(5, "u", "s", "click", "u", "s", *expected)] * 2


def test_a_scan_refuses_what_is_no_path(store: Store) -> None:
    for path in ("", ".", "properties.", "properties..a"):
        with pytest.raises(ValueError, match="path"):
            store.events_scan(None, 0, 1, [path])


def test_a_scan_is_in_order_in_chunks_up_to_a_place_and_within_its_limit(store: Store) -> None:
    store.write(
        Flush(1, 99, [b""], events=[event(p, r, 100 - p, n=p * 1000 + r) for p in range(100) for r in range(120)])
    )
    chunks = list(store.events_scan("click", 0, 200, ["properties.n"], upto=(98, 59)))
    rows = [row for chunk in chunks for row in chunk]
    assert len(chunks) > 1
    assert rows == [
        (100 - p, None, None, p * 1000 + r) for p in range(98, -1, -1) for r in range(60 if p == 98 else 120)
    ]
    with pytest.raises(TooManyRows) as refused:
        store.events_scan(None, 0, 200, limit=11_999)
    assert (refused.value.count, refused.value.limit) == (12_000, 11_999)
    assert sum(map(len, store.events_scan(None, 0, 200, limit=12_000))) == 12_000


def test_scans_left_in_the_middle_hold_nothing(store: Store) -> None:
    store.write(Flush(1, 1, [b""], events=[event(1, r) for r in range(6000)]))
    for _ in range(40):
        next(store.events_scan(None, 0, 1))
        store.events_scan(None, 0, 1)
    assert len(store.events(None, 0, 1)) == 6000


def test_documents(url: str, store: Store) -> None:
    for id in ("z", "a", "m"):
        store.put_document("query", id, b'{"id":"%s"}' % id.encode())
    store.put_document("dashboard", "a", b"other kind")
    store.put_document("query", "z", b"changed")
    assert store.list_documents("query") == [("z", b"changed"), ("a", b'{"id":"a"}'), ("m", b'{"id":"m"}')]
    assert store.delete_document("query", "a") and not store.delete_document("query", "a")
    assert store.get_document("query", "a") is None and store.get_document("dashboard", "a") == b"other kind"
    store.close()
    again = open_at(url)
    assert again.list_documents("query") == [("z", b"changed"), ("m", b'{"id":"m"}')]
    again.close()


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    for use in (store.newest_checkpoint, lambda: store.write(Flush(1, 1, [b""])), lambda: list(store.series())):
        with pytest.raises(StoreClosed):
            use()


def test_readers_see_one_generation_while_others_are_written(url: str, store: Store) -> None:
    keys = [BlockKey(level, 0, f"n{i}") for level in range(4) for i in range(rounds(url, 25, 8))]
    finished = threading.Event()
    failures: list[BaseException] = []
    seen: set[int] = set()

    def content(generation: int, key: BlockKey) -> bytes:
        return f"{generation} {key}".encode() * 40

    def read() -> None:
        try:
            newest = 0
            while not finished.is_set():
                found = store.read_blocks(keys)
                generations = {generation for generation, _ in found.values()}
                assert len(generations) <= 1
                if generations:
                    generation = generations.pop()
                    assert generation >= newest and len(found) == len(keys)
                    assert all(data == content(generation, key) for key, (_, data) in found.items())
                    newest = generation
                    seen.add(generation)
                    checkpoint = store.newest_checkpoint()
                    assert checkpoint is not None and checkpoint.generation >= generation
                    (rows,) = store.events_scan(None, 0, 1, ["properties.g"], upto=(checkpoint.position, 0))
                    assert [row[3] for row in rows] == list(range(1, checkpoint.generation + 1))
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    generation, deadline = 0, time.monotonic() + 20
    while (generation < rounds(url, 40, 12) or len(seen) < 5) and not failures and time.monotonic() < deadline:
        generation += 1
        blocks = {key: content(generation, key) for key in keys}
        store.write(Flush(generation, generation, [b""], blocks, [event(generation, g=generation)]))
    finished.set()
    for thread in readers:
        thread.join(30)
    assert not failures, failures
    assert len(seen) >= 5


CHILD = """
import sys
from server.store import BlockKey, Flush, StoredEvent
from tests.store_support import open_at
store = open_at(sys.argv[1])
newest = store.newest_checkpoint()
generation = newest.generation if newest else 0
while True:
    generation += 1
    mark = b"%d " % generation
    store.write(Flush(
        generation, generation * 10, [mark * 20_000],
        {BlockKey(i % 4, 0, f"n{i}"): mark * 500 for i in range(300)},
        [StoredEvent(generation, row, generation, "e", None, None, b"{}") for row in range(200)],
        [(generation, mark)], [(generation, mark * 100)], generation - 3,
    ))
    print(generation, flush=True)
"""


def acknowledged_in(folder: Path) -> int:
    """The newest flush that children have said to be written; 0 for none."""
    said = folder / "said.txt"
    return max(map(int, said.read_bytes().split(b"\n")[:-1]), default=0) if said.exists() else 0


def test_kill_9_leaves_whole_flushes_and_every_acknowledged_one(url: str, tmp_path: Path) -> None:
    rng = random.Random(9)
    reached = 0
    for _ in range(rounds(url, 8, 4)):
        child = Forked([sys.executable, "-c", CHILD, url], os.environ, tmp_path / "said.txt", tmp_path / "errors.txt")
        wait_until(lambda reached=reached: acknowledged_in(tmp_path) > reached, 30, "a flush")  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.2))
        child.kill()
        assert child.wait() == -signal.SIGKILL, (tmp_path / "errors.txt").read_text()
        acknowledged = acknowledged_in(tmp_path)
        store = open_at(url)
        found = store.newest_checkpoint()
        assert found is not None and acknowledged <= found.generation <= acknowledged + 1
        reached = found.generation
        mark = b"%d " % reached
        assert found == Checkpoint(reached, reached * 10, mark * 20_000)
        keys = [BlockKey(i % 4, 0, f"n{i}") for i in range(300)]
        assert store.read_blocks(keys) == dict.fromkeys(keys, (reached, mark * 500))
        assert store.event_types() == {"e": 200 * reached} == {"e": len(store.events(None, 0, reached + 1))}
        assert list(store.series()) == [(i, b"%d " % i) for i in range(1, reached + 1)]
        assert store.dedup_chunks() == [(i, b"%d " % i * 100) for i in range(max(1, reached - 3), reached + 1)]
        store.close()
