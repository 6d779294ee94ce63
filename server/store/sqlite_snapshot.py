"""The SQLite store as of one moment, read only, beside the server that writes to it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from server.store import BlockKey, StoreUnavailable, StoreVersion
from server.store.sealed import Sealer
from server.store.sqlite import SqliteStore
from server.store.sqlite_events import SqliteEvents
from server.store.sqlite_files import APPLICATION_ID, SCHEMA_VERSION, SqliteFiles

_COPY_PAGES = 2048
_NO_MORE_THAN = 1 << 62


class OneMoment(SqliteFiles):
    """One connection in one read transaction, which sees the file as it was when it began."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._closed = False
        with self.translated():
            address = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
            self.db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
            self.db.text_factory = partial(str, encoding="utf-8", errors="replace")
            self.db.execute("BEGIN")
            found = self.db.execute("PRAGMA application_id").fetchone()[0]
            tables = self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if found != APPLICATION_ID or not tables:
                self.db.close()
                raise StoreVersion(f"{path} is no store of Streamgauge")
            version = self.meta(self.db, "schema_version")
            if version != SCHEMA_VERSION:
                self.db.close()
                raise StoreVersion(f"{path} has format {version}, this program knows format {SCHEMA_VERSION}")

    @contextmanager
    def writing(self, *, must_last: bool) -> Iterator[sqlite3.Connection]:
        raise StoreUnavailable(f"{self.path} is only being read")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self.translated():
            self._check_open()
            yield self.db

    def close(self) -> None:
        self._closed = True
        self.db.close()


class SqliteSnapshot(SqliteStore):
    """See server.store.Snapshot."""

    def __init__(self, path: str) -> None:
        self._moment = OneMoment(path)
        SqliteEvents.__init__(self, self._moment)
        self._sealer = Sealer()

    def checkpoints(self) -> list[tuple[int, int]]:
        with self._files.reading() as db:
            return db.execute("SELECT generation, position FROM checkpoints ORDER BY generation DESC").fetchall()

    def number(self, name: str) -> int:
        with self._files.reading() as db:
            return self._files.meta(db, name)

    def next_block(self, level: int, start: int) -> BlockKey | None:
        with self._files.reading() as db:
            found = db.execute(
                "SELECT level, start, name FROM blocks WHERE level = ? AND start >= ? ORDER BY start, name LIMIT 1",
                (level, start),
            ).fetchone()
        return None if found is None else BlockKey(*found)

    def block_counts(self) -> dict[int, int]:
        with self._files.reading() as db:
            return dict(db.execute("SELECT level, count(*) FROM blocks GROUP BY level"))

    def event_count(self, upto: int = _NO_MORE_THAN) -> int:
        with self._files.reading() as db:
            return int(db.execute("SELECT count(*) FROM events WHERE position <= ?", (upto,)).fetchone()[0])

    def copy(self, path: Path, progress: Callable[[int, int], None]) -> None:
        # The open transaction pins the moment: a backup that began its own would start again at each write of others.
        with self._files.translated():
            target = sqlite3.connect(path, isolation_level=None)
            try:
                self._moment.db.backup(
                    target, pages=_COPY_PAGES, progress=lambda _, left, total: progress(total - left, total), sleep=0
                )
                # A file that is whole by itself; a server that opens it gives it a write-ahead log again.
                target.execute("PRAGMA journal_mode = DELETE")
            finally:
                target.close()
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
