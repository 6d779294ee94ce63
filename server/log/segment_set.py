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
from typing import NamedTuple

from server.log import LogDamaged, LogUnavailable
from server.log.end_mark import End, known_end
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
    sound_record,
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


class Found(NamedTuple):
    """The segments of a directory, and how they end.

    last: the newest sound position. tail: the byte of the newest file behind which it holds no sound record, where a
    crash has cut off a write; None where it ends sound. end: how far the log is known to have reached.
    """

    segments: list[Segment]
    last: int
    epoch: str
    tail: int | None
    end: End


def lock(path: Path) -> int:
    """Lock the directory of a log, made where it is missing; the file to be closed at the end."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LogUnavailable(f"the log directory {path} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(held, 0)
        os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        owner = os.pread(held, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(held)
        raise LogUnavailable(f"the log in {path} is in use by another process (pid {owner})") from error
    except OSError as error:
        os.close(held)
        raise LogUnavailable(f"the log in {path} cannot be opened: {error.strerror}") from error
    return held


def lock_and_recover(path: Path) -> tuple[int, Found]:
    """Lock the directory and find its segments: (lock, what was found)."""
    held = lock(path)
    try:
        found = recover(path)
        if not found.segments:
            if found.end.position:
                raise LogDamaged(f"the log in {path} has lost all its files; it had reached entry {found.end.position}")
            for left in path.glob(f"*{SUFFIX}"):  # never begun
                left.unlink()
            epoch = secrets.token_hex(6)
            found = Found([_first_segment(path, epoch)], 0, epoch, None, End())
        return held, found
    except OSError as error:
        os.close(held)
        raise LogUnavailable(f"the log in {path} cannot be opened: {error.strerror}") from error
    except BaseException:
        os.close(held)
        raise


def _first_segment(path: Path, epoch: str) -> Segment:
    segment, file = create(path, epoch, 1)
    os.close(file)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(directory)
    os.close(directory)
    return segment


def recover(directory: Path) -> Found:
    """Find the segments of a directory after whatever ended the last writer. Changes nothing.

    Only the newest segment is read through, the others are checked when they are followed. A stretch in it that is
    damaged, with sound records behind, is left to the followers: it matters only to those who come from before it.
    Raises LogDamaged where a file as a whole is not what it should be.
    """
    paths = sorted(directory.glob(f"*{SUFFIX}"))
    while paths and _never_begun(paths[-1]):
        log.warning("log: %s was never begun", paths[-1])
        paths.pop()
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
        return Found([], 0, "", None, known_end(directory, ""))
    if len(epochs) > 1:
        raise LogDamaged(f"the log is damaged: {directory} holds segments of different logs")
    epoch = epochs.pop()
    last, tail = _read_through(segments[-1])
    return Found(segments, last, epoch, tail, known_end(directory, epoch))


def _never_begun(path: Path) -> bool:
    """Whether a crash came between making the file and its header reaching the disk."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        return not any(head) and not any(file.read(_SCAN_BYTES)) if len(head) == HEADER_BYTES else True


def _read_through(segment: Segment) -> tuple[int, int | None]:
    """Read the newest segment: (its last position, the byte where a torn tail begins)."""
    limit, offset, position = segment.size, HEADER_BYTES, segment.first
    with segment.path.open("rb") as handle:
        file = handle.fileno()
        while offset < limit:
            try:
                chunk = read_chunk(file, offset, limit, position, _SCAN_BYTES)
                segment.marks.append((position, offset))
                offset, position = chunk.offset, chunk.position
            except BadSegment as error:
                found = find_sound(file, error.at, limit, position)
                if found is None:
                    return position - 1, error.at
                sound = sound_record(file, found, limit)
                if sound is None or sound[0] < position:
                    raise LogDamaged(
                        f"the log is damaged: {segment.path} {error}; a record stands there that does not belong"
                    ) from error
                log.warning("log: %s %s, but sound records follow from byte %d", segment.path, error, found)
                offset, position = found, sound[0]
    return position - 1, None


def clear_tail(segment: Segment, tail: int | None) -> None:
    """Cut what a crash left behind the last sound record, and remove a file that was never begun. Raises OSError."""
    for path in segment.path.parent.glob(f"*{SUFFIX}"):
        if path.name > segment.path.name:
            path.unlink()
    if tail is not None:
        log.warning("log: %s: %d bytes of a cut-off write are removed", segment.path, segment.size - tail)
        with segment.path.open("r+b") as file:
            file.truncate(tail)
            os.fsync(file.fileno())
        segment.size = tail


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
            if position > after:
                raise LogDamaged(f"the log is damaged: {segment.path} {error}") from error
            # what lies before is not asked for
            place = await asyncio.to_thread(_next_place, segment.path, error.at, limit, position, after + 1)
            if place is None:
                raise LogDamaged(f"the log is damaged: {segment.path} {error}") from error
            self._place = place
            return []
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


def _next_place(path: Path, at: int, limit: int, lowest: int, highest: int) -> tuple[int, int] | None:
    """The (position, byte) of the next sound record behind damage at byte `at`, when it is in [lowest, highest]."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = find_sound(file, at, limit, lowest, highest)
        sound = None if found is None else sound_record(file, found, limit)
    finally:
        os.close(file)
    return (sound[0], found) if found is not None and sound is not None and lowest <= sound[0] <= highest else None
