"""The embedded log: append-only segment files in one directory, written by one process.

    DIR/lock                            held with flock while the log is open
    DIR/00000000000000000001.segment    see segment_file; the newest one is appended to
    DIR/end                             how far the log has reached, see end_mark

An append is one write to the page cache, so a kill loses nothing; a thread syncs to disk every LOG_FSYNC ms, or, with
`always`, before the append returns (all appends that wait share one sync). Live followers get records in memory; one
that falls behind by more than HAND_OVER_BYTES goes back to reading the files.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator
from itertools import pairwise, starmap
from pathlib import Path

from server.log import MAX_UNREAD_ATTACHMENTS, LogDamaged, LogFull, LogUnavailable, Record
from server.log.end_mark import End, EndMark
from server.log.segment_file import MAX_PAYLOAD, RECORD, pack_record_head
from server.log.segment_set import Found, Segment, SegmentReader, clear_tail, create, lock_and_recover
from server.log.syncer import Syncer

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 << 20
BATCH_BYTES = 1 << 20
HAND_OVER_BYTES = 32 << 20
INDEX_BYTES = 1 << 20


class SegmentLog:
    """See `server.log.Log`; made by `open`."""

    def __init__(
        self, path: Path, lock: int, found: Found, sync_ms: int, max_bytes: int
    ) -> None:
        segments, epoch = found.segments, found.epoch
        self._path = path
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._segments = segments
        self._last = found.last
        self._tail = found.tail
        self._mark: EndMark | None = None
        self._size = sum(segment.size for segment in segments)
        self._max_bytes = max_bytes
        self._segment_bytes = max(4096, min(SEGMENT_BYTES, max_bytes // 8))
        self._file = os.open(segments[-1].path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._attachments: dict[int, object] = {}
        self._followers: list[_Follower] = []
        self._refusal = ""
        self._syncer = Syncer(self._loop, path, sync_ms / 1000, self._refuse)
        self.epoch = epoch
        self.setbacks = 0
        self.reached = max(found.last, found.end.position)
        self._known_end = found.end
        loss = f"the last {sync_ms} ms (LOG_FSYNC)" if sync_ms else "nothing that was acknowledged (LOG_FSYNC=always)"
        self.mode = (
            f"embedded log in {path}: a kill of Streamgauge loses nothing that was acknowledged, "
            f"a power loss {'at most ' if sync_ms else ''}{loss}"
        )

    @classmethod
    async def open(
        cls, directory: str | Path, *, fsync: str = "200", max_bytes: int = 8 << 30, segment_bytes: int | None = None
    ) -> SegmentLog:
        """Open or create the log in `directory`; see `server.log.open_log`. segment_bytes: where a file is full."""
        if fsync != "always" and not (fsync.isdecimal() and int(fsync) > 0):
            raise ValueError(f"LOG_FSYNC is a number of milliseconds above 0, or always; not {fsync!r}")
        path = Path(directory)
        lock, found = await asyncio.to_thread(lock_and_recover, path)
        try:
            made = cls(path, lock, found, 0 if fsync == "always" else int(fsync), max_bytes)
            if found.end.position <= found.last:
                made._begin()
        except OSError as error:
            os.close(lock)
            raise LogUnavailable(f"the log in {path} cannot be written: {error.strerror}") from error
        if segment_bytes is not None:
            made._segment_bytes = segment_bytes
        return made

    def _begin(self) -> None:
        """Make the log ready for appends: clear what a crash has left at its end, and begin a new mark."""
        clear_tail(self._segments[-1], self._tail)
        self._size = sum(segment.size for segment in self._segments)
        self._tail = None
        note = self._known_end.note if self._known_end.position == self._last else b""
        self._mark = self._syncer.mark = EndMark(self._path, self.epoch, End(self._last, note))

    async def append(self, payload: bytes, attachment: object | None = None, note: bytes = b"") -> int:
        if self._refusal:
            raise LogUnavailable(self._refusal)
        if self._mark is None:
            raise LogUnavailable(f"the log in {self._path} has lost its end, from entry {self._last + 1} on")
        if not 0 < len(payload) <= MAX_PAYLOAD:
            raise ValueError(f"a log entry has 1 to {MAX_PAYLOAD} bytes, not {len(payload)}")
        if len(self._attachments) >= MAX_UNREAD_ATTACHMENTS:
            raise LogUnavailable(f"{len(self._attachments)} appended entries wait for their reader")
        length = RECORD.size + len(payload)
        if self._size + length > self._max_bytes:
            raise LogFull(f"the log holds {self._size} of {self._max_bytes} bytes (LOG_MAX_BYTES)")
        segment = self._segments[-1]
        position = self._last + 1
        if segment.size + length > self._segment_bytes and position > segment.first:
            segment = self._roll(position)
        self._write(segment, pack_record_head(position, payload), payload)
        segment.note(position, INDEX_BYTES)
        segment.size += length
        self._size += length
        self._last = position
        self._mark.appended(position, note)
        written = self._syncer.wrote(self._file)
        record = Record(position, payload, attachment)
        taken = False
        for follower in self._followers:
            taken = follower.hand(record, self._attachments) or taken
        if attachment is not None and not taken:
            self._attachments[position] = attachment
        if self._syncer.always:
            await self._syncer.wait(written)
        return position

    def _write(self, segment: Segment, head: bytes, payload: bytes) -> None:
        """Write one record whole, or leave the file as it was."""
        total = len(head) + len(payload)
        try:
            done = os.writev(self._file, (head, payload))
            if done < total:  # a full disk may take a part; the rest then says why
                rest = memoryview(head + payload)[done:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            try:
                os.ftruncate(self._file, segment.size)
            except OSError as second:
                self._refuse(f"{segment.path} ends in a part of a record that cannot be cut off: {second.strerror}")
            raise LogUnavailable(f"{segment.path} cannot be written: {error.strerror}") from error

    def _roll(self, first: int) -> Segment:
        """Start the next file; the full one is synced and closed by the syncer."""
        try:
            segment, file = create(self._path, self.epoch, first)
        except OSError as error:
            raise LogUnavailable(f"no new segment can be made in {self._path}: {error.strerror}") from error
        self._syncer.retire(self._file)
        self._file = file
        self._segments.append(segment)
        self._size += segment.size
        self._syncer.wrote(file)
        return segment

    def _refuse(self, why: str) -> None:
        """Refuse every append from here on: what is on disk is no longer certain. The followers end with it."""
        log.error("log: no more appends: %s", why)
        self._refusal = self._refusal or why
        for follower in self._followers:
            follower.wake()

    async def follow(self, after: int) -> AsyncGenerator[list[Record], None]:
        if after > self._last:
            raise LogDamaged(f"the log in {self._path} ends at {self._last}, so nothing can follow {after}")
        follower = _Follower(self._loop, after)
        reader = SegmentReader(self._segments, BATCH_BYTES)
        self._followers.append(follower)
        try:
            while True:
                if follower.live:
                    if not self._refusal:
                        await follower.arrival()
                    records = follower.take(BATCH_BYTES)
                    if not records and self._refusal == _CLOSED:
                        return
                    if not records and self._refusal:  # so that the process ends: no append can succeed any more
                        raise LogUnavailable(self._refusal)
                elif follower.after >= self._last:
                    follower.live = True
                    continue
                elif self._refusal == _CLOSED:
                    return
                else:
                    found = await reader.read(follower.after)
                    if self._attachments:
                        records = [Record(at, payload, self._attachments.pop(at, None)) for at, payload in found]
                    else:
                        records = list(starmap(Record, found))
                if records:
                    follower.after = records[-1].position
                    yield records
        finally:
            self._followers.remove(follower)

    async def trim(self, upto: int) -> None:
        upto = min(upto, self._last)
        active = self._segments[-1]
        if upto == self._last and active.size > self._segment_bytes // 64 and self._last >= active.first:
            self._roll(self._last + 1)
        if len(self._segments) > 1 and self._segments[1].first <= upto + 1:
            await self.sync()  # what says where positions go on must be on disk before the older files leave it
            gone = [old for old, following in pairwise(self._segments) if following.first <= upto + 1]
            await self._forget(gone)

    async def _forget(self, gone: list[Segment]) -> None:
        del self._segments[: len(gone)]
        self._size -= sum(segment.size for segment in gone)
        for position in [p for p in self._attachments if p < self._segments[0].first]:
            del self._attachments[position]
        await asyncio.to_thread(_unlink, [segment.path for segment in gone])

    async def sync(self) -> None:
        await self._syncer.wait(self._syncer.written)

    async def start_after(self, position: int, complete: bool = True) -> None:
        if self._followers:
            raise RuntimeError("start_after comes before follow")
        if self.reached > max(self._last, position):
            raise LogDamaged(
                f"the log in {self._path} ends with entry {self._last}, but had reached entry {self.reached}"
            )
        if max(self._last, self.reached) < position and not complete:
            raise LogDamaged(
                f"the log in {self._path} ends with entry {self._last}, before entry {position}, with which the store "
                "ends: the entries after that, if there were any, are missing, with an unknown number of rows"
            )
        if position > self._last:
            log.warning("log: it ends at %d and goes on after %d, up to where the store has it", self._last, position)
        if self._mark is None:
            try:
                self._begin()
            except OSError as error:
                raise LogUnavailable(f"the log in {self._path} cannot be written: {error.strerror}") from error
        if position > self._last:
            self._roll(position + 1)
            self._last = self.reached = position
            await self.sync()
            await self._forget(self._segments[:-1])

    async def reaches_back(self, position: int) -> bool:
        return self._segments[0].first <= position + 1

    async def last(self) -> int:
        return self._last

    async def newest(self) -> int:
        return self._last if self._segments[0].first <= self._last else 0

    async def first(self) -> int:
        return self._segments[0].first

    async def trimmed(self) -> int:
        return self._segments[0].first - 1

    def size(self) -> int:
        return self._size

    async def close(self) -> None:
        if self._refusal == _CLOSED:
            return
        self._refusal = _CLOSED
        for follower in self._followers:
            follower.wake()
        await self._syncer.close()
        if self._mark is not None:
            self._mark.close()
        os.close(self._file)
        os.close(self._lock)


_CLOSED = "the log is closed"


class _Follower:
    """One reader's place, and while it is live the records that wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, after: int) -> None:
        self.after = after
        self.live = False
        self._loop = loop
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None

    def hand(self, record: Record, attachments: dict[int, object]) -> bool:
        """Take a record when live. Beyond the bound all are let go, to be read from the files; attachments stay."""
        if not self.live:
            return False
        self._records.append(record)
        self._bytes += len(record.payload)
        if self._bytes > HAND_OVER_BYTES and len(self._records) > 1:
            attachments.update((r.position, r.attachment) for r in self._records if r.attachment is not None)
            self._records.clear()
            self._bytes = 0
            self.live = False
        self.wake()
        return self.live

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def arrival(self) -> None:
        """Return when there may be records to take."""
        if not self._records:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def take(self, budget: int) -> list[Record]:
        taken: list[Record] = []
        while self._records and budget > 0:
            record = self._records.popleft()
            budget -= len(record.payload)
            self._bytes -= len(record.payload)
            taken.append(record)
        return taken


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
