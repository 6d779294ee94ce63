"""The log: every entry passes through it before anything else sees it, and everything later can be rebuilt from it.

A log moves opaque payloads. Positions are positive int64, strictly increasing in the order of the append calls.

    append ──▶ log ──▶ follow (history first, then live, without gap or repeat)
                └────▶ trim   (what every consumer has made durable elsewhere)

LogError
├── LogFull         the bound in bytes is reached; the append was not done and may be tried later
├── LogUnavailable  the log cannot take the append now (disk, connection); whether it was done is unknown
└── LogDamaged      what was stored cannot be trusted; the message names the place
    └── LogMissed   nothing is damaged, but another process has trimmed what this one had not read yet: begin anew
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from server.log.scan import Good, Hole
from server.log.scan import scan as scan_segments

__all__ = [
    "Good", "Hole", "Lease", "Log", "LogDamaged", "LogError", "LogFull", "LogMissed", "LogReader", "LogUnavailable",
    "Members", "Record", "log_owner", "mend_segments", "mend_stream", "open_archive", "open_lease", "open_log",
    "open_members", "open_reader", "recovered_strays", "scan_segments", "scan_stream", "set_log_aside", "write_archive",
]  # fmt: skip

MEMBER_LIFE = 3.0
"""Seconds after which a process that says nothing of itself is taken for dead."""
MAX_UNREAD_ATTACHMENTS = 65_536
"""Appended records with an attachment that no follower has taken yet; beyond it appends are refused."""


class LogError(Exception):
    """Anything a log refuses."""


class LogFull(LogError):
    """The log holds as many bytes as it may."""


class LogUnavailable(LogError):
    """The log cannot take an append now."""


class LogDamaged(LogError):
    """Stored records that are damaged, missing or replaced."""


class LogMissed(LogDamaged):
    """Records that were trimmed before this process had read them."""


class Record(NamedTuple):
    """One appended payload. `attachment` is what `append` was given, when that was in this process; else None."""

    position: int
    payload: bytes
    attachment: object | None = None


class Log(Protocol):
    """What every back-end does; `tests/conformance/test_log.py` says it in code. All methods on one event loop."""

    epoch: str
    """Identity of this log's life, [a-z0-9]+: another epoch means that its positions mean nothing here."""

    mode: str
    """One sentence for people: what a kill and what a power loss can lose."""

    setbacks: int
    """How often the log has lost records that were followed already: what later ones rest on must be said again."""

    reached: int
    """As of `open`, the newest position it is known to have had; above `last` where its end has gone missing."""

    async def append(self, payload: bytes, attachment: object | None = None, note: bytes = b"") -> int:
        """Append a payload (1 byte to 256 MiB) and return its position once it is as durable as `mode` says.

        The order of the calls is the order in the log. A cancelled call may still have appended. note: at most 32
        bytes, which a back-end that remembers how far it has reached keeps beside the position.
        Raises LogFull and LogUnavailable.
        """
        ...

    def follow(self, after: int) -> AsyncIterator[list[Record]]:
        """Every kept record whose position is above `after`, in order: history, then live ones until `close`.

        Yields non-empty lists bounded by bytes. Close the generator (contextlib.aclosing) to stop earlier.
        Attachments go to one follower. Raises LogDamaged, and LogUnavailable when reading is refused or no append
        can succeed any more, whatever happens, so that the process has to begin anew.
        """
        ...

    async def trim(self, upto: int) -> None:
        """Say that this consumer no longer needs the records at or below `upto`; they go when nobody else does.

        Back-ends may keep some of them longer (whole segments go at once).
        """
        ...

    async def sync(self) -> None:
        """Return when all that was appended before the call is as durable as the back-end can make it.

        To be awaited before writing a checkpoint elsewhere, so that a power loss cannot leave the checkpoint ahead
        of the log.
        """
        ...

    async def start_after(self, position: int, complete: bool = True) -> None:
        """Begin after a checkpoint of `position`: to be called before `follow` and the first append.

        Where the log ends before it, later appends land above it and the records kept are given up. complete: false
        where records may have been appended above it. Raises LogDamaged where some are missing, or may be although
        the back-end promises better.
        """
        ...

    async def reaches_back(self, position: int) -> bool:
        """Whether all that was appended above `position` and is not lost at the end is still kept."""
        ...

    async def last(self) -> int:
        """Position of the newest record ever appended, 0 for none."""
        ...

    async def newest(self) -> int:
        """Position of the newest kept record, 0 where none is kept."""
        ...

    async def first(self) -> int:
        """Position of the oldest kept record; last + 1 when none is kept."""
        ...

    async def trimmed(self) -> int:
        """Position up to which records have been let go, 0 where none has; those kept may begin later."""
        ...

    def size(self) -> int:
        """Bytes held, as last known."""
        ...

    async def close(self) -> None:
        """Finish the appends under way, end the followers, release everything. Safe to repeat."""
        ...


class Lease(Protocol):
    """Which of the processes that follow a stream owns it: at most one, which has to renew its lease.

    Only ownership is here; what an owner writes elsewhere has to carry the fence and be refused where a greater one
    was there before.
    """

    name: str
    """Of this process; no two that run at once have the same."""

    holder: str
    """Who owns the stream as "name:fence", when Redis last said so; "" where nobody does or it is unknown."""

    @property
    def fence(self) -> int:
        """Number of the ownership held now, greater than that of any before it; 0 while not owner."""
        ...

    @property
    def valid(self) -> bool:
        """Whether this process is owner, and its own clock says that the lease cannot have run out.

        Asks nobody, so it is right at once after the process was stopped for a while. Once false it stays false until
        the next ownership, with the next fence.
        """
        ...

    async def run(self) -> None:
        """Become owner when nobody is, and stay it: for ever. Trouble with Redis is logged once and tried again."""
        ...

    async def acquired(self) -> int:
        """The fence, once this process is owner; at once where it is."""
        ...

    async def lost(self) -> None:
        """Return when the ownership that is held now is over; at once where none is."""
        ...

    async def release(self) -> None:
        """Give the ownership up, so that another takes it at once; `run` lets the others go first.

        Where Redis does not answer the lease runs out by itself.
        """
        ...

    async def close(self) -> None:
        """Release the connection. To be called after `run` was cancelled, and `release`."""
        ...


async def open_lease(url: str, name: str, *, ttl: float = 3.0) -> Lease:
    """The ownership of the stream at `url`, a Redis URL as `open_log` takes it. Nothing is asked of Redis yet.

    ttl: seconds after which a silent owner has lost it. Raises ValueError for arguments that mean nothing.
    """
    if urlsplit(url).scheme == "file":
        raise ValueError("an embedded log has one process, which owns it; a lease needs a Redis URL")
    from server.log.redis_lease import RedisLease

    return RedisLease(url, name, ttl=ttl)


class Members(Protocol):
    """Which processes work on a stream, as they say themselves."""

    name: str
    """Of this process; no two that run at once have the same."""

    async def announce(self, info: dict[str, Any]) -> bool:
        """Say that this process is there, and what it is (JSON); to be called every second, or it is forgotten after
        MEMBER_LIFE. Whether Redis has taken it; trouble with it is logged once and not raised.
        """
        ...

    async def listed(self) -> list[dict[str, Any]]:
        """What each process there is last said, with its `name`, in the order of the names. Raises LogUnavailable."""
        ...

    async def leave(self, topic: str, value: bytes, life: float) -> None:
        """Leave something for the others, in place of what was left before; forgotten after `life` seconds.

        Trouble with Redis is logged once and not raised.
        """
        ...

    async def left(self, topic: str) -> list[bytes]:
        """What the others that are there have left. Raises LogUnavailable."""
        ...

    async def close(self) -> None:
        """This process is no longer there. To be called once nobody announces any more."""
        ...


def open_members(url: str, name: str) -> Members:
    """Who works on the stream at `url`, a Redis URL as `open_log` takes it. Nothing is asked of Redis yet.

    Raises ValueError for arguments that mean nothing.
    """
    if urlsplit(url).scheme == "file":
        raise ValueError("an embedded log has one process, which owns it; members need a Redis URL")
    from server.log.redis_members import RedisMembers

    return RedisMembers(url, name)


async def open_log(
    url: str, *, fsync: str = "200", max_bytes: int = 8 << 30, lease: Lease | None = None, shared: bool = False
) -> Log:
    """Open the log at `url`, creating it when it is new.

    url: `file:///directory` (embedded segment files), or `redis://`, `rediss://`, `unix://` (Redis Streams; the query
    parameters `stream` and `consumer` name the stream and this consumer's cursor).
    fsync: embedded only: milliseconds between syncs to disk, or `always`. max_bytes: the bound behind LogFull.
    lease: Redis only: `trim` is done by its owner, and raises LogUnavailable in any other process. shared: Redis only:
    another process trims, so `follow` raises LogDamaged where entries were trimmed that it had not read.
    Raises LogUnavailable, LogDamaged, and ValueError for arguments that mean nothing.
    """
    scheme = urlsplit(url).scheme
    if scheme == "file":
        from server.log.segments import SegmentLog

        if lease is not None:
            raise ValueError("an embedded log has one process, which owns it; a lease needs a Redis URL")
        return await SegmentLog.open(unquote(urlsplit(url).path), fsync=fsync, max_bytes=max_bytes)
    if scheme in ("redis", "rediss", "unix"):
        from server.log.redis_streams import RedisLog

        return await RedisLog.open(url, max_bytes=max_bytes, lease=lease, shared=shared)
    raise ValueError(f"a log URL starts with file://, redis://, rediss:// or unix://, not {scheme or 'nothing'}://")


class LogReader(Protocol):
    """A log read beside the server that owns it: no lock, no cursor, nothing written.

    Any method may raise LogUnavailable, and OSError where a file cannot be read.
    """

    epoch: str
    """Identity of the log's life, as in the offsets that its server gives out."""
    place: str
    """Where it is, for people."""
    dense: bool
    """Whether each position is the one before plus 1, so that a gap shows a loss."""

    def read(self, after: int) -> Iterator[Record | Hole]:
        """All that is there above a position, in order; what is appended meanwhile may come too.

        Holes, where the back-end can tell them, may also lie at or below the position.
        """
        ...

    def first(self) -> int:
        """Position of the oldest entry that is kept, or where the next one goes."""
        ...

    def close(self) -> None:
        """Release what reading took."""
        ...


def open_reader(url: str) -> LogReader | None:
    """A reader of the log at `url`, as `open_log` takes it; None where there is no log. Raises LogUnavailable."""
    if urlsplit(url).scheme == "file":
        from server.log.reader import SegmentsReader

        return SegmentsReader.open(Path(unquote(urlsplit(url).path)))
    from server.log.redis_reader import RedisReader

    return RedisReader.open(url)


def write_archive(path: Path, epoch: str, records: Iterable[Record]) -> int:
    """Write entries to a new file, on the disk when it returns; how many. Raises OSError."""
    from server.log import archive

    return archive.write_archive(path, epoch, records)


def open_archive(path: Path) -> LogReader:
    """A reader of a file that `write_archive` wrote. Raises LogDamaged."""
    from server.log.archive import ArchiveReader

    return ArchiveReader(path)


def log_owner(url: str) -> str:
    """Who is writing to the log at `url`, as a sentence; "" for nobody. Takes seconds for a Redis stream."""
    if urlsplit(url).scheme == "file":
        from server.log.reader import owner_of

        return owner_of(Path(unquote(urlsplit(url).path)))
    from server.log.redis_reader import RedisReader

    reader = RedisReader.open(url)
    return "" if reader is None else reader.owner()


def set_log_aside(url: str, mark: str) -> str:
    """Rename the log at `url`, which nobody may have open, by adding a mark; its new name, "" where there is none."""
    if urlsplit(url).scheme == "file":
        from server.log.reader import set_aside

        return set_aside(Path(unquote(urlsplit(url).path)), mark)
    from server.log.redis_reader import RedisReader

    reader = RedisReader.open(url)
    return "" if reader is None else reader.set_aside(mark)


def recovered_strays(holes: list[Hole]) -> dict[int, bytes]:
    """position -> payload of records that the holes lack, and that stand in them at the wrong place."""
    from server.log.mend import recovered

    return recovered(holes)


def mend_segments(directory: Path, aside: Path, holes: list[Hole], after: int, fill: Callable[[int], bytes]) -> int:
    """Make the segments of a directory whole; see `server.log.mend`. Raises LogUnavailable while a server runs."""
    from server.log.mend import locked, mend

    with locked(directory):
        return mend(directory, aside, holes, after, fill)


def scan_stream(url: str, after: int) -> Iterator[Good | Hole]:
    """The same as `scan_segments` of a stream on Redis, above a position. Raises LogUnavailable."""
    from server.log.redis_mend import scan as scan_entries

    return scan_entries(url, after)


def mend_stream(url: str, aside: Path, positions: list[int], filler: bytes) -> None:
    """Take entries out of a stream on Redis that nobody writes to, once they are written to a file in a new folder.

    filler: an entry to be appended, which accounts for what was taken out, here or before by somebody.
    Raises LogUnavailable.
    """
    from server.log.redis_mend import mend

    mend(url, aside, positions, filler)
