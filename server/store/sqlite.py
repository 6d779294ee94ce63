"""The store in one SQLite file."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from server.store import (
    BlockKey,
    Checkpoint,
    Flush,
    StoreConflict,
    StoreDamaged,
    StoreVersion,
)
from server.store.sealed import Damaged, Sealer, checksum
from server.store.sqlite_events import SqliteEvents
from server.store.sqlite_files import SqliteFiles

logger = logging.getLogger("streamgauge.store")

CHECKPOINT_VERSION = 1
EXPIRE_BLOCKS = 250  # per transaction
EXPIRE_EVENTS = 2_500
PAUSE = 0.001  # seconds between two of them, in which another writer gets the lock
SERIES_CHUNK = 5_000

# Blocks come compressed, column by column, so they are stored as they are.
_PUT_BLOCK = """INSERT INTO blocks (level, start, name, generation, crc, data) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (level, start, name) DO UPDATE SET
    generation = excluded.generation, crc = excluded.crc, data = excluded.data"""
_GET_BLOCK = "SELECT generation, crc, data FROM blocks WHERE level = ? AND start = ? AND name = ?"
# Few blocks begin at different times: step from one start to the next, then look the names up, instead of walking
# through the blocks of all the other names.
_LIST_NAMED = """WITH RECURSIVE starts (start) AS (
    SELECT min(start) FROM blocks WHERE level = ?1 AND start >= ?2 AND start < ?3
    UNION ALL
    SELECT (SELECT min(b.start) FROM blocks b WHERE b.level = ?1 AND b.start > s.start AND b.start < ?3)
    FROM starts s WHERE s.start IS NOT NULL)
    SELECT b.start, b.name FROM starts s CROSS JOIN json_each(?4) n CROSS JOIN blocks b
    ON b.level = ?1 AND b.start = s.start AND b.name = n.value ORDER BY b.start, b.name"""
_LIST_ALL = "SELECT start, name FROM blocks WHERE level = ? AND start >= ? AND start < ? ORDER BY start, name"


class SqliteStore(SqliteEvents):
    """server.store.Store in one SQLite file at `path`."""

    def __init__(self, path: str, *, durable: bool = False) -> None:
        super().__init__(SqliteFiles(path, durable))
        self._sealer = Sealer()

    # checkpoints

    def write(self, flush: Flush) -> None:
        with self._files.writing(must_last=True) as db:
            newest = db.execute("SELECT max(generation) FROM checkpoints").fetchone()[0]
            if newest is not None and flush.generation <= newest:
                raise StoreConflict(
                    f"{self._files.path} holds generation {newest}, so generation {flush.generation} comes too late; "
                    "is another server writing to this file?"
                )
            packed = db.execute("DELETE FROM blocks WHERE level = 0 AND start < ?", (flush.packed_before,)).rowcount
            overwrites = bool(flush.blocks or flush.series or flush.dedup_chunks or packed)
            db.executemany(_PUT_BLOCK, self._sealed_blocks(flush))
            self._put_series(db, flush.series)
            db.executemany("INSERT OR REPLACE INTO dedup_chunks VALUES (?, ?, ?, ?, ?)", self._sealed_chunks(flush))
            dropped = db.execute("DELETE FROM dedup_chunks WHERE number < ?", (flush.dedup_drop_before,)).rowcount
            self._put_events(db, flush.events)
            if overwrites or dropped:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('overwritten', ?)", (flush.generation,))
            self._put_checkpoint(db, flush)
            if newest is not None:
                db.execute("DELETE FROM checkpoints WHERE generation < ?", (newest,))
                db.execute("DELETE FROM checkpoint_parts WHERE generation < ?", (newest,))

    def _put_checkpoint(self, db: sqlite3.Connection, flush: Flush) -> None:
        parts = len(flush.checkpoint)
        db.execute(
            "INSERT INTO checkpoints (generation, position, version, parts) VALUES (?, ?, ?, ?)",
            (flush.generation, flush.position, CHECKPOINT_VERSION, parts),
        )
        for number, part in enumerate(flush.checkpoint):
            sealed = self._sealer.seal(_part_place(flush.generation, flush.position, number, parts), part)
            db.execute("INSERT INTO checkpoint_parts VALUES (?, ?, ?, ?, ?)", (flush.generation, number, *sealed))

    def _sealed_blocks(self, flush: Flush) -> Iterator[tuple[object, ...]]:
        # made one by one while they are written, so that a flush is never in memory twice
        for key, data in flush.blocks.items():
            yield (*key, flush.generation, checksum(_block_place(key, flush.generation), data), data)

    def _sealed_chunks(self, flush: Flush) -> Iterator[tuple[object, ...]]:
        for number, data in flush.dedup_chunks:
            place = f"dedup chunk {number} of generation {flush.generation}"
            yield (number, flush.generation, *self._sealer.seal(place, data))

    def _put_series(self, db: sqlite3.Connection, rows: list[tuple[int, bytes]]) -> None:
        inserted = db.executemany("INSERT OR IGNORE INTO series (id, key) VALUES (?, ?)", rows).rowcount
        if not rows or inserted == len(rows):
            return
        for id, key in rows:
            found = db.execute("SELECT key FROM series WHERE id = ?", (id,)).fetchone()[0]
            if found != key:
                raise StoreConflict(f"series {id} is {found!r} in {self._files.path}, the flush has {key!r}")

    def newest_checkpoint(self) -> Checkpoint | None:
        with self._files.reading() as db:
            rows = db.execute(
                "SELECT generation, position, version, parts FROM checkpoints ORDER BY generation DESC"
            ).fetchall()
            for generation, position, version, parts in rows:
                if version != CHECKPOINT_VERSION:
                    raise StoreVersion(
                        f"checkpoint {generation} in {self._files.path} has the unknown format {version}; use the "
                        "release of Streamgauge that wrote it, or a newer one"
                    )
                try:
                    value = self._checkpoint(db, generation, position, parts)
                except Damaged:
                    continue
                self._check_fits(generation, self._files.meta(db, "overwritten"))
                return Checkpoint(generation, position, value)
        if rows:
            raise StoreDamaged(
                f"every checkpoint in {self._files.path} is damaged. Restore the file from a backup, or move it away "
                "to start with what the log still holds"
            )
        return None

    def _checkpoint(self, db: sqlite3.Connection, generation: int, position: int, parts: int) -> bytes:
        rows = db.execute(
            "SELECT number, crc, size, data FROM checkpoint_parts WHERE generation = ? ORDER BY number", (generation,)
        )
        values = [self._sealer.open(_part_place(generation, position, row[0], parts), *row[1:]) for row in rows]
        if len(values) != parts:
            raise Damaged(f"parts of checkpoint {generation}")
        return b"".join(values)

    def _check_fits(self, generation: int, overwritten: int) -> None:
        """Refuse a checkpoint that is older than the contents it would be joined with."""
        if generation < overwritten:
            raise StoreDamaged(
                f"the newest checkpoint in {self._files.path} is damaged, and the one before it (generation "
                f"{generation}) is older than the stored rollups (generation {overwritten}): starting from it would "
                "count samples twice. Restore the file from a backup, or move it away to start with what the log "
                "still holds"
            )

    # blocks

    def read_blocks(self, keys: Sequence[BlockKey]) -> dict[BlockKey, tuple[int, bytes]]:
        found = {}
        with self._files.reading() as db:
            for key in keys:
                row = db.execute(_GET_BLOCK, key).fetchone()
                if row is not None:
                    found[key] = row
        return {key: (row[0], self._open_block(key, row)) for key, row in found.items()}

    def _open_block(self, key: BlockKey, row: tuple[int, int, bytes]) -> bytes:
        generation, crc, data = row
        try:
            return self._sealer.open(_block_place(key, generation), crc, None, data)
        except Damaged as error:
            raise StoreDamaged(
                f"block of {key.name!r}, level {key.level}, start {key.start} in {self._files.path} is damaged "
                f"({error}); restore the file from a backup"
            ) from error

    def list_blocks(self, level: int, start: int, end: int, names: Collection[str] | None = None) -> list[BlockKey]:
        with self._files.reading() as db:
            if names is None:
                rows = db.execute(_LIST_ALL, (level, start, end))
            else:
                rows = db.execute(_LIST_NAMED, (level, start, end, json.dumps(sorted(set(names)))))
            return [BlockKey(level, start, name) for start, name in rows]

    def expire(self, level: int, before: int, rows: Callable[[bytes], int] | None = None) -> int:
        if rows is not None:
            return self._expire_counted(level, before, rows)
        return self._in_steps(
            "DELETE FROM blocks WHERE rowid IN (SELECT rowid FROM blocks WHERE level = ? AND start < ? LIMIT ?)",
            (level, before),
            EXPIRE_BLOCKS,
        )

    def _expire_counted(self, level: int, before: int, rows: Callable[[bytes], int]) -> int:
        found = self.list_blocks(level, -(1 << 62), before)
        for at in range(0, len(found), EXPIRE_BLOCKS):
            with self._files.writing(must_last=False) as db:
                for key in found[at : at + EXPIRE_BLOCKS]:
                    data = self._block_let_go(db, key)
                    if data is not None:
                        self._grow(db, "let_go", rows(data))
                    db.execute("DELETE FROM blocks WHERE level = ? AND start = ? AND name = ?", key)
            time.sleep(PAUSE)
        return len(found)

    def _block_let_go(self, db: sqlite3.Connection, key: BlockKey) -> bytes | None:
        """The data of a block that is to be deleted, None where they are damaged or gone."""
        row = db.execute(_GET_BLOCK, key).fetchone()
        try:
            return None if row is None else self._open_block(key, row)
        except StoreDamaged as error:
            logger.error("retention lets go of rows that cannot be counted any more: %s", error)
            return None

    def expire_events(self, before: int) -> int:
        return self._in_steps(
            "DELETE FROM events WHERE (position, row) IN "
            "(SELECT position, row FROM events INDEXED BY events_by_time WHERE time < ? LIMIT ?)",
            (before,),
            EXPIRE_EVENTS,
            counted="events_let_go",
        )

    def _in_steps(self, statement: str, parameters: tuple[int, ...], step: int, counted: str = "") -> int:
        """counted: the number of the meta table that grows by what is deleted."""
        total = 0
        while True:
            with self._files.writing(must_last=False) as db:
                deleted = db.execute(statement, (*parameters, step)).rowcount
                if counted and deleted:
                    self._grow(db, counted, deleted)
            total += deleted
            if deleted < step:
                return total
            time.sleep(PAUSE)

    def _grow(self, db: sqlite3.Connection, number: str, by: int) -> None:
        """Adds to a number of the meta table."""
        db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + excluded.value",
            (number, by),
        )

    def delete_name(self, name: str) -> int:
        with self._files.writing(must_last=True) as db:
            return db.execute("DELETE FROM blocks WHERE name = ?", (name,)).rowcount

    # the catalogue and the dedup window

    def series(self) -> Iterator[tuple[int, bytes]]:
        last = -1
        while True:
            with self._files.reading() as db:
                rows = db.execute(
                    "SELECT id, key FROM series WHERE id > ? ORDER BY id LIMIT ?", (last, SERIES_CHUNK)
                ).fetchall()
            yield from rows
            if len(rows) < SERIES_CHUNK:
                return
            last = rows[-1][0]

    def dedup_chunks(self) -> list[tuple[int, bytes]]:
        with self._files.reading() as db:
            rows = db.execute("SELECT number, generation, crc, size, data FROM dedup_chunks ORDER BY number").fetchall()
        return list(self._opened_chunks(rows))

    def _opened_chunks(self, rows: Iterable[tuple[int, int, int, int | None, bytes]]) -> Iterator[tuple[int, bytes]]:
        for number, generation, crc, size, data in rows:
            try:
                yield number, self._sealer.open(f"dedup chunk {number} of generation {generation}", crc, size, data)
            except Damaged as error:
                raise StoreDamaged(
                    f"dedup chunk {number} in {self._files.path} is damaged; restore the file from a backup, or move "
                    "it away to start with what the log still holds"
                ) from error

    # documents

    def put_document(self, kind: str, id: str, body: bytes) -> None:
        with self._files.writing(must_last=True) as db:
            db.execute(
                "INSERT INTO documents (kind, id, body) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                (kind, id, body),
            )

    def get_document(self, kind: str, id: str) -> bytes | None:
        with self._files.reading() as db:
            found = db.execute("SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, id)).fetchone()
        return None if found is None else found[0]

    def delete_document(self, kind: str, id: str) -> bool:
        with self._files.writing(must_last=True) as db:
            return db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, id)).rowcount > 0

    def list_documents(self, kind: str) -> list[tuple[str, bytes]]:
        with self._files.reading() as db:
            return db.execute("SELECT id, body FROM documents WHERE kind = ? ORDER BY number", (kind,)).fetchall()

    # the file

    def size(self) -> int:
        with self._files.reading() as db:
            pages, page_size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return int(pages) * int(page_size)

    def close(self) -> None:
        self._files.close()


def _block_place(key: BlockKey, generation: int) -> str:
    return f"block {key.level} {key.start} {key.name} of generation {generation}"


def _part_place(generation: int, position: int, number: int, parts: int) -> str:
    return f"part {number} of {parts} of checkpoint {generation} at {position}"
