"""What a SQLite file can suffer: damaged values and pages, other programs' files, newer formats, a full disk."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server.store import (
    BlockKey,
    Checkpoint,
    Flush,
    Store,
    StoreConflict,
    StoreDamaged,
    StoredEvent,
    StoreUnavailable,
    StoreVersion,
    open_store,
)
from server.store.sqlite import SqliteStore

KEY = BlockKey(0, 0, "requests")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{path}")
    yield opened
    opened.close()


def alter(path: Path, statement: str, *parameters: object) -> None:
    """Change the file behind the store's back."""
    db = sqlite3.connect(path)
    with db:
        assert db.execute(statement, parameters).rowcount > 0
    db.close()


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def damage_checkpoint(path: Path, generation: int) -> None:
    alter(path, "UPDATE checkpoint_parts SET data = x'00' || data WHERE generation = ?", generation)


def test_the_checkpoint_before_a_damaged_one_serves_where_nothing_was_overwritten(path: Path, store: Store) -> None:
    store.write(Flush(1, 10, [b"one"], {KEY: b"block"}))
    store.write(Flush(2, 20, [b"two"], events=[StoredEvent(11, 0, 1, "click", None, None, b"{}")]))
    damage_checkpoint(path, 2)
    assert store.newest_checkpoint() == Checkpoint(1, 10, b"one")
    store.write(Flush(3, 20, [b"three"], events=[StoredEvent(11, 0, 1, "click", None, None, b"{}")]))
    assert store.newest_checkpoint() == Checkpoint(3, 20, b"three")
    assert store.event_types() == {"click": 1}


@pytest.mark.parametrize(
    "second",
    [
        Flush(2, 20, [b"two"], blocks={BlockKey(1, 0, "other"): b"block"}),
        Flush(2, 20, [b"two"], series=[(2, b"new")]),
        Flush(2, 20, [b"two"], dedup_chunks=[(2, b"keys")]),
        Flush(2, 20, [b"two"], dedup_drop_before=2),
    ],
    ids=["blocks", "series", "chunks", "dropped chunks"],
)
def test_the_checkpoint_before_a_damaged_one_is_refused_under_newer_contents(
    path: Path, store: Store, second: Flush
) -> None:
    store.write(Flush(1, 10, [b"one"], {KEY: b"block"}, dedup_chunks=[(1, b"keys")]))
    store.write(second)
    damage_checkpoint(path, 2)
    with pytest.raises(StoreDamaged, match="count samples twice"):
        store.newest_checkpoint()


def test_only_damaged_checkpoints_are_not_a_new_store(path: Path, store: Store) -> None:
    for generation in (1, 2):
        store.write(Flush(generation, 10, [b"state"]))
        damage_checkpoint(path, generation)
    with pytest.raises(StoreDamaged, match="every checkpoint"):
        store.newest_checkpoint()


@pytest.mark.parametrize("value", [b"short", b"long and compressible " * 50, random.Random(1).randbytes(400)])
def test_any_changed_byte_is_seen(path: Path, store: Store, value: bytes) -> None:
    store.write(Flush(1, 10, [value], {KEY: value}, dedup_chunks=[(1, value)]))
    db = sqlite3.connect(path, isolation_level=None)
    for table, read in (
        ("checkpoint_parts", store.newest_checkpoint),
        ("blocks", lambda: store.read_blocks([KEY])),
        ("dedup_chunks", store.dedup_chunks),
    ):
        (data,) = db.execute(f"SELECT data FROM {table}").fetchone()
        for place in range(0, len(data), max(1, len(data) // 40)):
            db.execute(f"UPDATE {table} SET data = ?", (flip(data, place),))
            with pytest.raises(StoreDamaged):
                read()
        db.execute(f"UPDATE {table} SET data = ?", (data[:-1],))
        with pytest.raises(StoreDamaged):
            read()
        db.execute(f"UPDATE {table} SET data = ?", (data,))
        assert read()
    for change in ("checkpoints SET position = 11", "blocks SET generation = 2"):
        db.execute(f"UPDATE {change}")
    db.close()
    for read in (store.newest_checkpoint, lambda: store.read_blocks([KEY])):
        with pytest.raises(StoreDamaged):
            read()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM checkpoint_parts WHERE number = 1",
        "DELETE FROM checkpoint_parts WHERE number = 2",
        "UPDATE checkpoint_parts SET number = 7 WHERE number = 1",
        "UPDATE checkpoint_parts SET size = 5 WHERE number = 0",
        "UPDATE checkpoints SET parts = 2",
    ],
)
def test_a_large_checkpoint_lacks_no_part(path: Path, store: Store, damage: str) -> None:
    state = bytes(1_200_000) + random.Random(1).randbytes(1_500_000)
    store.write(Flush(1, 10, [state[:1_000_000], state[1_000_000:2_000_000], state[2_000_000:]]))
    assert store.newest_checkpoint() == Checkpoint(1, 10, state)
    alter(path, damage)
    with pytest.raises(StoreDamaged):
        store.newest_checkpoint()


def test_a_damaged_block_is_named_and_the_others_can_be_read(path: Path, store: Store) -> None:
    other = BlockKey(2, 3_600_000, "latency")
    store.write(Flush(1, 10, [b""], {KEY: b"requests", other: b"latency"}))
    alter(path, "UPDATE blocks SET data = (SELECT data FROM blocks WHERE name = 'latency') WHERE name = 'requests'")
    with pytest.raises(StoreDamaged, match="block of 'requests', level 0, start 0"):
        store.read_blocks([other, KEY])
    assert store.read_blocks([other]) == {other: (1, b"latency")}


def test_damaged_pages_are_damage_whatever_they_hit(path: Path) -> None:
    store = open_store(f"sqlite:///{path}")
    keys = [BlockKey(0, i, "n") for i in range(400)]
    events = [StoredEvent(1, i, i, "e", "u", None, b"{}") for i in range(2000)]
    store.write(Flush(1, 10, [b"state" * 999], dict.fromkeys(keys, bytes(range(250)) * 9), events, [(1, b"k")]))
    store.close()
    sound, rng, seen = path.read_bytes(), random.Random(4), 0
    for _ in range(40):
        torn = bytearray(sound)
        place = rng.randrange(len(sound) // 512) * 512
        torn[place : place + 512] = rng.randbytes(512)
        path.write_bytes(torn)
        try:
            store = open_store(f"sqlite:///{path}")
            try:
                found = store.read_blocks(keys)
                assert set(found.values()) <= {(1, bytes(range(250)) * 9)}
                assert store.newest_checkpoint() in (Checkpoint(1, 10, b"state" * 999), None)
                store.event_types()
                list(store.series())
            finally:
                store.close()
        except (StoreDamaged, StoreVersion):
            seen += 1
    assert seen > 10


def test_a_newer_format_is_left_alone(path: Path, store: Store) -> None:
    store.close()
    alter(path, "UPDATE meta SET value = 99 WHERE key = 'schema_version'")
    with pytest.raises(StoreVersion, match="format 99"):
        open_store(f"sqlite:///{path}")


def test_a_newer_checkpoint_format_is_left_alone(path: Path, store: Store) -> None:
    store.write(Flush(1, 10, [b"state"]))
    alter(path, "UPDATE checkpoints SET version = 2")
    with pytest.raises(StoreVersion, match="unknown format 2"):
        store.newest_checkpoint()


def test_files_that_are_no_store(path: Path, tmp_path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(StoreVersion, match="another program"):
        open_store(f"sqlite:///{path}")
    text = tmp_path / "notes.txt"
    text.write_text("no database at all\n" * 100)
    with pytest.raises(StoreDamaged, match="not a database"):
        open_store(f"sqlite:///{text}")
    assert text.read_text().startswith("no database")
    for place in (tmp_path, text / "below.db"):
        with pytest.raises(StoreUnavailable):
            open_store(f"sqlite:///{place}")


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/a/b/store.db").close()
    assert (tmp_path / "a/b/store.db").exists()


def test_a_second_server_on_the_file_is_refused_at_its_first_flush(path: Path, store: Store) -> None:
    other = open_store(f"sqlite:///{path}")
    store.write(Flush(1, 10, [b"mine"], {KEY: b"mine"}))
    with pytest.raises(StoreConflict, match="another server"):
        other.write(Flush(1, 12, [b"theirs"], {KEY: b"theirs"}))
    other.close()
    assert store.read_blocks([KEY]) == {KEY: (1, b"mine")}


def test_a_full_disk_undoes_the_flush_and_a_later_one_works(store: Store) -> None:
    assert isinstance(store, SqliteStore)
    store.write(Flush(1, 10, [b"one"], {KEY: b"one"}))
    writer = store._files._writer  # the only way to a full disk that needs no disk
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable, match="full"):
        store.write(Flush(2, 20, [b"two"], {KEY: random.Random(1).randbytes(1_000_000)}))
    assert store.read_blocks([KEY]) == {KEY: (1, b"one")} and store.newest_checkpoint() == Checkpoint(1, 10, b"one")
    writer.execute("PRAGMA max_page_count = 1000000")
    store.write(Flush(2, 20, [b"two"], {KEY: b"two"}))
    assert store.read_blocks([KEY]) == {KEY: (2, b"two")}


@pytest.mark.parametrize(("durable", "deletions"), [(False, 1), (True, 2)])
def test_what_must_last_waits_for_the_disk(path: Path, durable: bool, deletions: int) -> None:
    store = SqliteStore(str(path), durable=durable)
    writer = store._files._writer
    store.write(Flush(1, 1, [b""]))
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    store.expire(0, 1)
    assert writer.execute("PRAGMA synchronous").fetchone() == (deletions,)
    store.put_document("query", "q", b"{}")
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def test_a_damaged_block_can_be_let_go_of(store: Store, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.write(Flush(1, 1, [b""], {KEY: b"three", KEY._replace(name="sound"): b"x"}))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE blocks SET crc = crc + 1 WHERE name = ?", (KEY.name,))
    assert store.expire(KEY.level, KEY.start + 1, len) == 2
    assert "cannot be counted" in caplog.text
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT value FROM meta WHERE key = 'let_go'").fetchone() == (1,)


def test_a_scan_takes_any_body(store: Store) -> None:
    bodies = [b"", b"null", b"[1]", b"{", b"\xff", b'{"properties":3}', b'{"properties":{"p":"\\ud800"}}',
              b'{"properties":{"p":1e999}}', b'{"properties":{"p":"x\\u0000y"}}', b'{"properties":{"p":"\xff"}}',
              b'{"properties":{"p":' + b"9" * 5000 + b"}}",
              b'{"properties":{"p":' + b"[" * 1500 + b"]" * 1500 + b"}}"]  # fmt: skip
    events = [StoredEvent(1, i, 0, "e", None, None, body) for i, body in enumerate(bodies)]
    store.write(Flush(1, 1, [b""], events=events))
    (rows,) = store.events_scan(None, 0, 1, ["properties.p", "properties.ö"])
    assert len(rows) == len(bodies)
    assert [row[3] for row in rows][:6] == [None] * 6 and rows[7][3] == float("inf")
    assert [e.body for e in store.events(None, 0, 1)] == bodies


@pytest.mark.parametrize("address", ["", "store.db", "sqlite://x", "sqlite:///", "sqlite:///:memory:", "mysql:///x"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no store address"):
        open_store(address)


def test_a_long_expiry_lets_other_writers_in(store: Store) -> None:
    store.write(Flush(1, 1, [b""], events=[StoredEvent(1, r, 0, "click", None, None, b"{}") for r in range(40_000)]))
    expiry = threading.Thread(target=store.expire_events, args=(1,))
    expiry.start()
    while store.event_types().get("click") == 40_000:
        time.sleep(0.001)
    store.put_document("query", "q", b"{}")
    left = len(store.events(None, 0, 1))
    expiry.join(30)
    assert left > 0, "the document was written only after the whole expiry"
    assert store.event_types() == {}
