"""What outlives the process: rollup blocks, the catalogue, events, documents, checkpoints. This is the contract.

A store blocks, so only threads call it, never the event loop; one object may serve any number of threads. All that a
checkpoint writes goes in as one `Flush`: after a crash the store holds the whole of it or nothing of it. Times are int
milliseconds UTC, ranges are [start, end).

StoreError
├── StoreDamaged      what was read is not what was written; the message names the place and says what to do
├── StoreUnavailable  the disk is full, the file is locked, an I/O error; nothing of the operation has been done
├── StoreConflict     the flush is not newer than what the store holds: somebody else writes to it
├── StoreVersion      the file was written by a newer program, or is no store of this program
├── StoreClosed       the store was used after `close`
└── TooManyRows       more events match than the caller is willing to read
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from server.store.addresses import dynamodb_place as dynamodb_place
from server.store.addresses import store_path as store_path

FieldValue = str | int | float | None
ScannedEvent = tuple[FieldValue, ...]
"""(time, user_id, session_id, one value for each field asked for)."""

SCAN_LIMIT = 1_000_000
SCAN_CHUNK = 5_000


class StoreError(Exception):
    """Anything a store refuses or fails at."""


class StoreDamaged(StoreError):
    """What was read is not what was written."""


class StoreUnavailable(StoreError):
    """The operation failed for a reason outside the store's contents; nothing of it has been done."""


class StoreConflict(StoreError):
    """A flush that is not newer than what the store holds, or that contradicts its catalogue."""


class StoreVersion(StoreError):
    """A store of a format this program does not know."""


class StoreClosed(StoreError):
    """The store was used after it was closed."""


class TooManyRows(StoreError):
    """More events match than may be read. `count`: how many match; `limit`: how many may be read."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"{count} events match, at most {limit} may be read at once; ask for a shorter time range")
        self.count = count
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Aws:
    """How to reach DynamoDB. Empty keys: the standard ways of AWS are tried (profile, role of the machine).

    endpoint: another address than that of AWS, such as http://127.0.0.1:8000. create_tables: make what is missing.
    """

    endpoint: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    create_tables: bool = False


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long the blocks of each level and events are kept, in ms, for a store whose items go by themselves."""

    levels: tuple[int, ...] = ()
    events: int = 0


class BlockKey(NamedTuple):
    """The place of a rollup block: one metric name over one stretch of time."""

    level: int
    """0 to 3: 5 s, 1 min, 1 h, 1 day; 4: 5 s, an hour of them together (see engine.levels.PACKED)."""
    start: int
    """ms of the stretch's beginning."""
    name: str


class StoredEvent(NamedTuple):
    """An event with its place in the log. (position, row) is its identity, (time, position, row) its order."""

    position: int
    row: int
    time: int
    type: str
    user_id: str | None
    session_id: str | None
    body: bytes


class Checkpoint(NamedTuple):
    """The engine's state as of a log position, as `Flush.checkpoint` had it, in one piece."""

    generation: int
    position: int
    data: bytes


class WrittenShare(NamedTuple):
    """Blocks of a flush that another process has written, by `SharedStore.write_share`: they count with the flush.

    version: under which they are written; buckets: level -> where their stretches of time are listed; size: bytes.
    """

    version: int
    buckets: dict[int, list[int]]
    size: int


@dataclass(slots=True)
class Flush:
    """Everything one checkpoint writes, in one transaction.

    generation: number of the flush, larger than every one before. position: the log position it contains.
    checkpoint: the engine's state, in parts of about 1 MiB, so that nobody has to wait while a larger piece is copied.
    blocks: overwrite what is at their keys. events: inserted; one whose (position, row) is there already is skipped.
    series: (id, packed key) of the series that are new in the catalogue. dedup_chunks: (number, data), overwriting a
    chunk of the same number; chunks with a number below dedup_drop_before are removed. packed_before: blocks of level 0
    that begin before this time are deleted first; others hold their panes since the flush before, so that whoever still
    looked for them has found those. shares: what others have written of it; only where several processes share a store.
    """

    generation: int
    position: int
    checkpoint: Sequence[bytes]
    blocks: dict[BlockKey, bytes] = field(default_factory=dict)
    events: list[StoredEvent] = field(default_factory=list)
    series: list[tuple[int, bytes]] = field(default_factory=list)
    dedup_chunks: list[tuple[int, bytes]] = field(default_factory=list)
    dedup_drop_before: int = 0
    packed_before: int = 0
    shares: Sequence[WrittenShare] = ()


class Store(Protocol):
    """Blocking and thread-safe. Any method may raise StoreDamaged, StoreUnavailable or StoreClosed."""

    def write(self, flush: Flush) -> None:
        """Write the whole flush or nothing; on return it survives power loss, so the log may be trimmed behind it.

        The checkpoint before it is kept, older ones go. StoreConflict unless its generation is larger than all before.
        """

    def newest_checkpoint(self) -> Checkpoint | None:
        """The newest good checkpoint; None in a new store.

        A damaged one is passed over for the one before it only where nothing else has been overwritten since: blocks
        of a newer generation under older state would count samples twice. Otherwise StoreDamaged.
        """

    def read_blocks(self, keys: Sequence[BlockKey]) -> dict[BlockKey, tuple[int, bytes]]:
        """key -> (generation that wrote it, data), all of one moment; keys without a block are absent."""

    def list_blocks(self, level: int, start: int, end: int, names: Collection[str] | None = None) -> list[BlockKey]:
        """Keys of the blocks that begin in [start, end), by start and name; of the given names only, if any are."""

    def expire(self, level: int, before: int, rows: Callable[[bytes], int] | None = None) -> int:
        """Delete the level's blocks that begin before the time; how many. In small steps: others get their turn.

        rows: how many samples the data of a block hold; the number `let_go` grows by them, in the same transaction.
        """

    def expire_events(self, before: int) -> int:
        """Delete the events before the time; how many. In small steps; the number `events_let_go` grows with each."""

    def delete_name(self, name: str) -> int:
        """Delete every block of a metric, in one transaction; how many."""

    def series(self) -> Iterator[tuple[int, bytes]]:
        """The whole catalogue as (id, packed key), in order of id."""

    def dedup_chunks(self) -> list[tuple[int, bytes]]:
        """The chunks of the dedup window as (number, data), in order of number."""

    def events(
        self,
        type: str | None,
        start: int,
        end: int,
        *,
        user_id: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        upto: tuple[int, int] | None = None,
        after: tuple[int, int, int] | None = None,
    ) -> list[StoredEvent]:
        """The events of [start, end) in order of (time, position, row), or the reverse of it.

        type, user_id: only these. upto: only those whose (position, row) is at or before it. after: only those that
        come after this (time, position, row) in the order asked for, so the last event of a page gives the next page.
        """

    def events_scan(
        self,
        type: str | None,
        start: int,
        end: int,
        fields: Sequence[str] = (),
        upto: tuple[int, int] | None = None,
        *,
        limit: int = SCAN_LIMIT,
    ) -> Iterator[list[ScannedEvent]]:
        """The events of [start, end) in order, as chunks of (time, user_id, session_id, *fields), all of one moment.

        A field is event_type, user_id, session_id, or the dotted path of a value in the body ("properties.plan").
        Numbers come as numbers, text as str, true and false as "true" and "false", objects and arrays as JSON text,
        null and what is not there as None. TooManyRows at the call, before anything is read, where more than `limit`
        match; ValueError for a path that is empty or has an empty part.
        """

    def event_types(self, start: int | None = None, end: int | None = None) -> dict[str, int]:
        """type -> number of its events in [start, end); None leaves that side open."""

    def put_document(self, kind: str, id: str, body: bytes) -> None:
        """Write a document, or overwrite it; survives power loss on return."""

    def get_document(self, kind: str, id: str) -> bytes | None:
        """The document, None where there is none."""

    def delete_document(self, kind: str, id: str) -> bool:
        """Delete a document; whether it was there. Survives power loss on return."""

    def list_documents(self, kind: str) -> list[tuple[str, bytes]]:
        """(id, body) of the documents of a kind, in the order in which they were first put."""

    def size(self) -> int:
        """Bytes on disk, free pages for reuse included."""

    def close(self) -> None:
        """Wait for the write in progress, then close. Closing twice does nothing."""


class SharedStore(Store, Protocol):
    """A store that several processes have open, of which one at a time writes flushes; all may write documents."""

    @property
    def generation(self) -> int:
        """Of the newest flush that this process sees."""

    guard: Callable[[], bool]
    """Asked before each step of a write: whether this process may still write. StoreConflict where not."""

    def take_over(self) -> int:
        """From here on who wrote flushes before can do so no more; the generation of the newest flush that counts."""

    def versions(self, count: int) -> list[int]:
        """As many versions, for shares of the next flush; for its owner."""

    def write_share(
        self, generation: int, version: int, blocks: Mapping[BlockKey, bytes], guard: Callable[[], bool]
    ) -> WrittenShare:
        """Write blocks of a flush that begins; for any process. None may be of level 0.

        They count once the owner's flush of this generation has the share, else never. guard: asked before each step;
        StoreConflict where it says no, and where that flush is there already.
        """

    def refresh(self, generation: int) -> None:
        """See what the owner has written, at least up to the flush of this generation; 0: whatever is there.

        StoreUnavailable if that is not there yet.
        """


def is_patient(url: str) -> bool:
    """Whether few large flushes suit the store at `url` better than many small ones: what is written is billed there.

    The log then holds more, and blocks are put together before they come (see engine.levels.Retention).
    """
    return url.startswith("dynamodb:")


def open_store(url: str, *, durable: bool = False, aws: Aws = Aws(), keeping: Keeping = Keeping()) -> Store:
    """Open the store at `sqlite:///path`, relative or absolute, or `dynamodb://region/prefix`.

    A missing file is made; missing tables where `aws` says so. Flushes and documents always survive power loss once
    they are written; `durable` asks the same of a file's deletions, which otherwise may have to be repeated. ValueError
    for an address of another form; StoreVersion, StoreDamaged or StoreUnavailable where the place cannot serve.
    """
    if is_patient(url):
        from server.store.dynamodb.store import DynamoStore

        return DynamoStore.open(dynamodb_place(url), aws, keeping.levels, keeping.events)
    path = store_path(url)
    from server.store.sqlite import SqliteStore

    return SqliteStore(str(path), durable=durable)


class Snapshot(Protocol):
    """A store as of one moment, read only, while a server may go on writing to it; for one thread at a time.

    Besides its own methods it has all of Store that read. Any may raise StoreDamaged or StoreUnavailable.
    """

    def newest_checkpoint(self) -> Checkpoint | None:
        """As in Store."""

    def read_blocks(self, keys: Sequence[BlockKey]) -> dict[BlockKey, tuple[int, bytes]]:
        """As in Store."""

    def list_blocks(self, level: int, start: int, end: int, names: Collection[str] | None = None) -> list[BlockKey]:
        """As in Store."""

    def series(self) -> Iterator[tuple[int, bytes]]:
        """As in Store."""

    def dedup_chunks(self) -> list[tuple[int, bytes]]:
        """As in Store."""

    def checkpoints(self) -> list[tuple[int, int]]:
        """(generation, position) of the checkpoints that are kept, good or not, newest first."""

    def number(self, name: str) -> int:
        """A number the store keeps about itself, 0 where it is not there."""

    def next_block(self, level: int, start: int) -> BlockKey | None:
        """The first block of a level that begins at or after a time; None where there is none."""

    def block_counts(self) -> dict[int, int]:
        """level -> blocks."""

    def event_count(self, upto: int = ...) -> int:
        """Stored events, up to a position where one is given."""

    def copy(self, path: Path, progress: Callable[[int, int], None]) -> None:
        """Writes the whole store as it was at that moment to a new file, on the disk when it returns.

        progress is told (pages done, pages in all).
        """

    def close(self) -> None:
        """Ends the moment. Closing twice does nothing."""


def open_snapshot(url: str, aws: Aws = Aws()) -> Snapshot | None:
    """The store at `url`, as `open_store` takes it, as it is now; None where there is none. Writes nothing.

    StoreVersion, StoreDamaged or StoreUnavailable where it cannot be read.
    """
    if is_patient(url):
        from server.store.dynamodb.snapshot import DynamoSnapshot

        return DynamoSnapshot.open(dynamodb_place(url), aws)
    path = store_path(url)
    if not path.exists() or not path.stat().st_size:
        return None
    from server.store.sqlite_snapshot import SqliteSnapshot

    return SqliteSnapshot(str(path))


def set_store_aside(url: str, mark: str) -> str:
    """Rename the store at `url`, which nobody may have open, by adding a mark; its new name, "" where there is none."""
    path = store_path(url)
    if not path.exists():
        for beside in (Path(f"{path}-wal"), Path(f"{path}-shm")):  # it must not pass for that of the next file
            if beside.exists():
                beside.rename(f"{beside}.{mark}")
        return ""
    from server.store.sqlite_files import fold_wal

    fold_wal(path)  # so that one rename does it, where the file is sound
    # What SQLite has not copied into the file yet lies beside it, under names made from the file's.
    for ending in ("-wal", "-shm", ""):
        beside = Path(f"{path}{ending}")
        if beside.exists():
            beside.rename(f"{path}.{mark}{ending}")
    return f"{path}.{mark}"
