"""The segments of one directory: making them, finding them again after any end, reading on from a position."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from server.log import LogDamaged, LogUnavailable
from server.log.segment_file import (
    HEADER_BYTES,
    SUFFIX,
    BadSegment,
    Chunk,
    file_name,
    find_sound,
    pack_header,
    parse_header,
    read_chunk,
)

log = logging.getLogger(__name__)

_SCAN_BYTES = 4 << 20


@dataclass(slots=True)
class Segment:
    """One file. size: its bytes in whole records; marks: (position, byte) of some records, in order."""

    path: Path
    first: int
    size: int
    marks: list[tuple[int, int]] = field(default_factory=list)

    def note(self, position: int, spacing: int) -> None:
        """Remember where the record about to be written starts, every `spacing` bytes."""
        if self.size - (self.marks[-1][1] if self.marks else HEADER_BYTES) >= spacing:
            self.marks.append((position, self.size))

    def place_before(self, position: int) -> tuple[int, int]:
        """The (position, byte) of a record at or before `position`, as near as known."""
        at = bisect_right(self.marks, position, key=lambda mark: mark[0])
        return self.marks[at - 1] if at else (self.first, HEADER_BYTES)


def create(directory: Path, epoch: str, first: int) -> tuple[Segment, int]:
    """Make the file of a new, empty segment: (segment, file descriptor for appending). Raises OSError."""
    path = directory / file_name(first)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    header = pack_header(epoch, first)
    try:
        if os.write(file, header) != len(header):
            raise OSError(28, "no room for the header")
    except OSError:
        os.close(file)
        path.unlink(missing_ok=True)
        raise
    return Segment(path, first, len(header)), file


def lock_and_recover(path: Path) -> tuple[int, list[Segment], int, str]:
    """Lock the directory and find its segments: (lock, segments, last position, epoch)."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LogUnavailable(f"the log directory {path} cannot be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise LogUnavailable(f"the log in {path} is in use by another process (pid {owner})") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        segments, last, epoch = recover(path)
        if not segments:
            epoch = secrets.token_hex(6)
            segment, file = create(path, epoch, 1)
            os.close(file)
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(directory)
            os.close(directory)
            segments = [segment]
        return lock, segments, last, epoch
    except OSError as error:
        os.close(lock)
        raise LogUnavailable(f"the log in {path} cannot be opened: {error.strerror}") from error
    except BaseException:
        os.close(lock)
        raise


def recover(directory: Path) -> tuple[list[Segment], int, str]:
    """Find the segments of a directory after whatever ended the last writer: (segments, last position, epoch).

    What a crash cut short at the very end is cut off; anything else that is wrong raises LogDamaged. Only the newest
    segment is read through, the others are checked when they are followed.
    """
    paths = sorted(directory.glob(f"*{SUFFIX}"))
    if paths and _never_begun(paths[-1]):
        log.warning("log: %s was never begun and is removed", paths[-1])
        paths.pop().unlink()
    segments: list[Segment] = []
    epochs: set[str] = set()
    for path in paths:
        with path.open("rb") as file:
            try:
                epoch, first = parse_header(file.read(HEADER_BYTES))
            except BadSegment as error:
                raise LogDamaged(f"the log is damaged: {path} {error}") from error
        if path.name != file_name(first):
            raise LogDamaged(f"the log is damaged: {path} says that it starts with position {first}")
        epochs.add(epoch)
        segments.append(Segment(path, first, path.stat().st_size))
    if not segments:
        return [], 0, ""
    if len(epochs) > 1:
        raise LogDamaged(f"the log is damaged: {directory} holds segments of different logs")
    return segments, _cut_torn_tail(segments[-1]), epochs.pop()


def _never_begun(path: Path) -> bool:
    """Whether a crash came between making the file and its header reaching the disk."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        return not any(head) and not any(file.read(_SCAN_BYTES)) if len(head) == HEADER_BYTES else True


def _cut_torn_tail(segment: Segment) -> int:
    """Read the newest segment through, cut what a crash left at its end; the last position."""
    limit, offset, position = segment.size, HEADER_BYTES, segment.first
    with segment.path.open("r+b") as handle:
        file = handle.fileno()
        try:
            while offset < limit:
                chunk = read_chunk(file, offset, limit, position, _SCAN_BYTES)
                segment.marks.append((position, offset))
                offset, position = chunk.offset, chunk.position
        except BadSegment as error:
            later = find_sound(file, error.at, limit, position)
            if later is not None:
                raise LogDamaged(
                    f"the log is damaged: {segment.path} {error}, but sound records follow from byte {later}"
                ) from error
            log.warning("log: %s %s; %d bytes of a cut-off write are removed", segment.path, error, limit - error.at)
            os.ftruncate(file, error.at)
            os.fsync(file)
            segment.size = error.at
    return position - 1


class SegmentReader:
    """Reads on from a position through the files; one per follower. Segments are shared with the writer."""

    def __init__(self, segments: list[Segment], budget: int) -> None:
        self._segments = segments
        self._budget = budget
        self._path: Path | None = None
        self._place = (0, 0)
        """The (position, byte) where the last read ended, in the file at _path."""

    async def read(self, after: int) -> list[tuple[int, bytes]]:
        """Some (position, payload) above `after`, in order; may be empty before the end. Raises LogDamaged."""
        segments = self._segments
        at = max(0, bisect_right(segments, after + 1, key=lambda segment: segment.first) - 1)
        segment, limit = segments[at], segments[at].size
        following = segments[at + 1] if at + 1 < len(segments) else None
        mark = segment.place_before(after + 1)
        if segment.path != self._path or not mark[0] <= self._place[0] <= after + 1:
            self._path, self._place = segment.path, mark
        position, offset = self._place
        if offset >= limit:
            if following is None:  # nothing written since
                return []
            raise LogDamaged(f"the log is damaged: {segment.path} ends before position {following.first - 1}")
        try:
            chunk = await asyncio.to_thread(_read_file, segment.path, offset, limit, position, self._budget)
        except FileNotFoundError:
            if any(segment is kept for kept in segments):
                raise LogDamaged(f"the log is damaged: {segment.path} has disappeared") from None
            return []  # trimmed meanwhile: the next read starts with what is kept
        except BadSegment as error:
            raise LogDamaged(f"the log is damaged: {segment.path} {error}") from error
        self._place = (chunk.position, chunk.offset)
        if chunk.offset >= limit and following is not None and chunk.position != following.first:
            raise LogDamaged(f"the log is damaged: {segment.path} ends before position {following.first - 1}")
        skip = after + 1 - chunk.records[0][0]
        return chunk.records[skip:] if skip > 0 else chunk.records


def _read_file(path: Path, offset: int, limit: int, position: int, budget: int) -> Chunk:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_chunk(file, offset, limit, position, budget)
    finally:
        os.close(file)
