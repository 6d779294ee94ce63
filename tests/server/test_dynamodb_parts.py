"""The parts of the store in DynamoDB: manifest, stage, chunks, places of blocks, pages that are used again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.levels import DAY, HOUR, PACKED
from server.store import BlockKey, StoreDamaged, StoreVersion
from server.store.dynamodb import chunks, manifest, pages, shelf, stage
from server.store.dynamodb.chunks import Value, chunks_of, committed, in_key
from server.store.dynamodb.manifest import Blob, Manifest, is_below, with_floor
from server.store.dynamodb.pages import Pages
from server.store.dynamodb.shelf import Shelf, bucket_of
from server.store.dynamodb.stage import Staged
from tests.dynamodb_memory import MemoryClient, Tables

numbers = st.integers(0, 1 << 40)
names = st.text(max_size=12)
blobs = st.builds(Blob, st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple), numbers, numbers)
floors = st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple)
manifests = st.builds(
    Manifest, numbers, numbers, numbers, st.none() | blobs, st.dictionaries(numbers, blobs, max_size=3),
    st.lists(st.tuples(numbers, numbers, blobs), max_size=3).map(tuple), st.lists(blobs, max_size=3).map(tuple),
    st.dictionaries(st.integers(0, 4), floors, max_size=3), floors, st.dictionaries(names, numbers, max_size=3),
    st.dictionaries(st.integers(1, 4), st.lists(numbers, max_size=3), max_size=3),
    st.dictionaries(names, st.dictionaries(numbers, numbers, max_size=3), max_size=3),
    st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple), numbers, numbers, numbers,
)  # fmt: skip


@given(manifests)
def test_a_manifest_comes_back(given: Manifest) -> None:
    assert Manifest.decode(given.encode()) == given


@given(manifests, st.randoms(use_true_random=False))
def test_a_manifest_that_is_none_is_damaged_or_of_another_release(given: Manifest, random: Any) -> None:
    held = json.loads(given.encode())
    with pytest.raises(StoreVersion):
        Manifest.decode(json.dumps(held | {"format": manifest.FORMAT + 1}).encode())
    member = random.choice([name for name in held if name != "format"])
    for broken in ({name: value for name, value in held.items() if name != "format"}, held | {member: "?"}, [], None):
        data = json.dumps(broken).encode()
        if broken and member in ("version", "generation", "position", "let_go", "events_let_go", "size", "deleted"):
            continue
        with pytest.raises(StoreDamaged):
            Manifest.decode(data)
    with pytest.raises(StoreDamaged):
        Manifest.decode(given.encode()[: random.randrange(len(given.encode()))])


@given(st.lists(st.tuples(st.integers(1, 5), st.sets(st.integers(1, 4))), max_size=30), st.integers(0, 200))
def test_versions_between_two_commits_count_for_nothing_but_shares(
    steps: list[tuple[int, set[int]]], asked: int
) -> None:
    now, commits = Manifest(), {0}
    for step, shares in steps:
        also = {now.version + share for share in shares if share < step}
        now = now.following(now.version + step, also)
        commits |= {now.version, *also}
    assert now.counts(asked) == (asked in commits)


def test_of_ranges_that_are_no_commit_the_oldest_are_forgotten() -> None:
    now = Manifest()
    for _ in range(manifest.MAX_SKIPPED + 3):
        now = now.following(now.version + 2)
    assert len(now.skipped) == manifest.MAX_SKIPPED and now.skipped[-1] == (now.version - 1, now.version - 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=8), st.integers(0, 9), st.integers(0, 30))
def test_what_lies_below_a_floor_is_what_was_let_go_of(
    steps: list[tuple[int, int]], time: int, version: int
) -> None:
    held: manifest.Floors = ()
    at, gone = 0, False
    for before, later in steps:
        at += later
        held = with_floor(held, before, at)
        gone |= time < before and version <= at
    assert is_below(held, time, version) == gone


def test_a_block_of_a_deleted_name_is_there_again_when_it_is_written_again() -> None:
    now = Manifest(version=9, deleted={"a": 5}, floors={1: ((100, 7),)})
    assert not now.has(1, 200, "a", 5) and now.has(1, 200, "a", 6) and now.has(1, 200, "b", 5)
    assert not now.has(1, 99, "b", 7) and now.has(1, 99, "b", 8) and now.has(1, 100, "b", 7) and now.has(2, 99, "b", 7)


keys = st.builds(BlockKey, st.just(0), st.integers(0, 1 << 45), names)
staged = st.dictionaries(keys, st.builds(Staged, numbers, numbers, st.binary(max_size=50), st.none()), max_size=6)


@given(staged, blobs)
def test_a_stage_comes_back(given: dict[BlockKey, Staged], blob: Blob) -> None:
    found = dict(stage.unpack(stage.pack(given), blob))
    assert found == {key: held._replace(blob=blob) for key, held in given.items()}


@pytest.mark.parametrize("data", [b"", b"\x05", b"\x09\0\0\0[[1,2,3", b"\x02\0\0\0{}x", b"\x06\0\0\0[[1,2]]"])
def test_a_stage_that_is_none_is_damaged(data: bytes) -> None:
    if data == b"\x02\0\0\0{}x":
        assert dict(stage.unpack(data, Blob((), 0, 0))) == {}
        return
    with pytest.raises(StoreDamaged):
        dict(stage.unpack(data, Blob((), 0, 0)))


def test_a_stage_lets_go_of_pages_that_nothing_is_in_any_more() -> None:
    one, two = Blob(((1, 1),), 1, 1), Blob(((1, 2),), 1, 1)
    now = Manifest(version=3, stage=(one, two), floors={0: ((HOUR, 2),)})
    held = {BlockKey(0, 0, "a"): Staged(1, 1, b"", one), BlockKey(0, HOUR, "a"): Staged(1, 2, b"", two)}
    left = stage.living(held, now)
    assert list(left) == [BlockKey(0, HOUR, "a")] and stage.blobs_of(left, now) == (two,)


@given(st.binary(max_size=2_000), st.integers(1, 700))
def test_values_come_in_as_many_items_as_they_need(data: bytes, size: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chunks, "CHUNK_BYTES", size)
        items = list(chunks_of("p", Value("rank|with|bars", 7, 3, data), 99))
    assert len(items) == max(1, -(-len(data) // size)) and all(item["expires"] == 99 for item in items)
    [found] = committed(reversed(items), Manifest(version=7))
    assert found.value() == Value("rank|with|bars", 7, 3, data)
    assert committed(items, Manifest(version=6)) == []
    if len(items) > 1:
        for missing in (0, len(items) - 1):
            [found] = committed(items[:missing] + items[missing + 1 :], Manifest(version=7))
            with pytest.raises(StoreDamaged):
                found.value()
    if data:
        [found] = committed([{**items[0], "d": b"?" + bytes(items[0]["d"])[1:] + b"!"}, *items[1:]], Manifest(7))  # type: ignore[arg-type]
        with pytest.raises(StoreDamaged):
            found.value()


def test_long_names_fit_into_keys_and_stay_apart() -> None:
    long = ["ü" * 400 + end for end in ("a", "b")]
    assert len({in_key(name) for name in [*long, "ü" * 300, "#"]}) == 4
    assert all(len(in_key(name).encode()) <= 600 for name in long)


@given(st.dictionaries(
    st.builds(BlockKey, st.sampled_from([1, 2, 3, PACKED]), st.integers(0, 3000).map(lambda n: n * HOUR), names),
    st.binary(max_size=40), max_size=12,
))  # fmt: skip
def test_blocks_are_found_in_their_buckets(blocks: dict[BlockKey, bytes]) -> None:
    client = MemoryClient({})
    held = Shelf(client, "0", (DAY, 30 * DAY, 400 * DAY, 3650 * DAY))
    items = list(held.items(blocks, 1, 5))
    client.put_many(shelf.TABLE, items)
    now = Manifest(version=1, buckets=shelf.with_buckets(Manifest(), shelf.buckets_of(blocks)))
    assert held.read(blocks, now) == {key: (5, data) for key, data in blocks.items()}
    for level in shelf.BUCKETS:
        mine = {key for key in blocks if key.level == level}
        assert held.keys_of(level, 0, 1 << 60, now) == mine
        assert held.keys_of(level, 40 * DAY, 70 * DAY, now) == {k for k in mine if 40 * DAY <= k.start < 70 * DAY}
    assert all("expires" in item for item in items if "|3|" not in str(item["pk"]))
    assert not any("expires" in item for item in items if str(item["pk"]).startswith(("0|3|", "0|index|3|")))
    assert all(bucket_of(key) <= key.start < bucket_of(key) + shelf.BUCKETS[key.level] for key in blocks)


def test_pages_are_used_again_once_nobody_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 20)
    tables: Tables = {}
    held = Pages(MemoryClient(tables), "0")
    held.fence = 1
    now = Manifest()
    for generation in range(30):
        value = bytes(range(generation, generation + 90))
        (blob,) = held.write([value])
        before, now = now, Manifest(checkpoint=blob)
        assert held.read([blob]) == [value]
        if before.checkpoint is not None:
            assert held.read([before.checkpoint]), "what the commit before needs is still there"
        held.keep(now, before)
    assert len(tables) <= 3 * len(blob.slots) + 2
    other = Pages(MemoryClient(tables), "0")
    other.fence = 2
    other.write([b"of another owner" * 9])
    assert held.read([blob]) == [value], "every owner writes to pages of its own"
    with pytest.raises(StoreDamaged):
        held.read([blob._replace(crc=1)])
