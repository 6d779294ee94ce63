"""The SQLite file: its schema, its connections, and what its failures mean.

One connection writes, under a lock; a bounded pool of others reads. In WAL mode neither waits for the other, and a read
transaction sees the state of its first read to its end.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from server.store import StoreClosed, StoreDamaged, StoreError, StoreUnavailable, StoreVersion

SCHEMA_VERSION = 1
APPLICATION_ID = 0x53474147  # in the file's header: tells our files from other programs'
PAGE_SIZE = 8192
WAL_PAGES = 2048  # 16 MB: how much the WAL takes before it is copied into the file
WRITER_CACHE_KB = 16_384
READER_CACHE_KB = 4_096
MAX_READERS = 16
IDLE_READERS = 4
WAIT_SECONDS = 3.0
"""For the lock of another process, and for a connection to read with; then the operation is to be tried again."""

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE checkpoints (generation INTEGER PRIMARY KEY, position INTEGER NOT NULL, version INTEGER NOT NULL,
    parts INTEGER NOT NULL);
CREATE TABLE checkpoint_parts (generation INTEGER NOT NULL, number INTEGER NOT NULL, crc INTEGER NOT NULL,
    size INTEGER, data BLOB NOT NULL, UNIQUE (generation, number));
CREATE TABLE blocks (level INTEGER NOT NULL, start INTEGER NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
    crc INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (level, start, name));
CREATE TABLE series (id INTEGER PRIMARY KEY, key BLOB NOT NULL);
CREATE TABLE dedup_chunks (number INTEGER PRIMARY KEY, generation INTEGER NOT NULL, crc INTEGER NOT NULL, size INTEGER,
    data BLOB NOT NULL);
CREATE TABLE events (position INTEGER NOT NULL, row INTEGER NOT NULL, time INTEGER NOT NULL, type TEXT NOT NULL,
    user_id TEXT, session_id TEXT, body BLOB NOT NULL, readable INTEGER NOT NULL,
    PRIMARY KEY (position, row)) WITHOUT ROWID;
CREATE INDEX events_by_type ON events (type, time, position, row);
CREATE INDEX events_by_time ON events (time, position, row);
CREATE INDEX events_by_user ON events (user_id, time, position, row) WHERE user_id IS NOT NULL;
CREATE TABLE documents (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,
    UNIQUE (kind, id));
"""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip


class SqliteFiles:
    """The connections to one file. `durable`: transactions that could be repeated wait for the disk too."""

    def __init__(self, path: str, durable: bool) -> None:
        self.path = path
        self._relaxed = "FULL" if durable else "NORMAL"
        self._closed = False
        self._write_lock = threading.Lock()
        self._readers_free = threading.BoundedSemaphore(MAX_READERS)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        with self.translated():
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreUnavailable(f"cannot make the directory of {path}: {error}") from error
            self._writer = self._connect(WRITER_CACHE_KB)
            try:
                self._prepare()
            except BaseException:
                self._writer.close()
                raise

    def _connect(self, cache_kb: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        connection.execute(f"PRAGMA cache_size = -{cache_kb}")
        # JSON text may hold half a surrogate pair, which SQLite hands out as bytes that are no UTF-8
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        return connection

    def _prepare(self) -> None:
        """Check that the file is ours, make what is missing."""
        writer = self._writer
        writer.execute(f"PRAGMA page_size = {PAGE_SIZE}")  # takes effect in a new file only
        found = writer.execute("PRAGMA application_id").fetchone()[0]
        empty = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if found != APPLICATION_ID and not empty:
            raise StoreVersion(f"{self.path} is a SQLite file of another program; name another file")
        if writer.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreUnavailable(f"{self.path} lies on a file system that cannot keep a write-ahead log")
        writer.execute("PRAGMA secure_delete = OFF")  # on in some builds; zeroing what is overwritten doubles the I/O
        writer.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        writer.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * PAGE_SIZE * 4}")
        with self.writing(must_last=True) as db:
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute("INSERT INTO meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))
            version = self.meta(db, "schema_version")
        if version != SCHEMA_VERSION:
            raise StoreVersion(
                f"{self.path} has format {version}, this program knows format {SCHEMA_VERSION}; "
                "use the version of Streamgauge that wrote it, or a newer one"
            )

    @staticmethod
    def meta(db: sqlite3.Connection, key: str) -> int:
        """A number of the meta table, 0 where it is not there."""
        found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return 0 if found is None else int(found[0])

    @contextmanager
    def writing(self, *, must_last: bool) -> Iterator[sqlite3.Connection]:
        """A transaction on the writing connection: committed at the end, undone by an exception.

        must_last: on return it survives power loss. Without it a later one that lasts makes it last as well.
        """
        with self._write_lock, self.translated():
            self._check_open()
            db = self._writer
            db.execute(f"PRAGMA synchronous = {'FULL' if must_last else self._relaxed}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite has undone it itself after some errors
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read transaction on a connection of the pool."""
        if not self._readers_free.acquire(timeout=WAIT_SECONDS):
            raise StoreUnavailable(f"{MAX_READERS} reads of {self.path} have not ended in {WAIT_SECONDS:.0f} s")
        try:
            with self.translated():
                self._check_open()
                with self._idle_lock:
                    db = self._idle.pop() if self._idle else None
                if db is None:
                    db = self._connect(READER_CACHE_KB)
                    db.execute("PRAGMA query_only = ON")
                try:
                    db.execute("BEGIN")
                    yield db
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    self._give_back(db)
        finally:
            self._readers_free.release()

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._idle_lock:
            keep = not self._closed and len(self._idle) < IDLE_READERS
            if keep:
                self._idle.append(db)
        if not keep:
            db.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """SQLite's errors as the store's; those that only a mistake in this program can cause pass unchanged."""
        try:
            yield
        except sqlite3.Error as error:
            translated = self._translate(error)
            if translated is None:
                raise
            raise translated from error

    def _translate(self, error: sqlite3.Error) -> StoreError | None:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            return StoreDamaged(
                f"{self.path} is damaged ({error}); restore it from a backup, or move it away to start "
                "with what the log still holds"
            )
        if code == sqlite3.SQLITE_TOOBIG:
            return StoreError(f"{self.path} cannot take a value of 1 GB or more")
        if code in _UNAVAILABLE:
            return StoreUnavailable(f"{self.path}: {error}")
        return None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self.path} is closed")

    def close(self) -> None:
        with self._write_lock:
            if self._closed:
                return
            with self._idle_lock:
                self._closed = True
                idle, self._idle = self._idle, []
            for db in idle:
                db.close()
            with self.translated():
                self._writer.close()


def fold_wal(path: Path) -> None:
    """Copies what lies beside a file that nobody has open into it, as far as that can be done."""
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
