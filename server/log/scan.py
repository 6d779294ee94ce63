"""Reading all that a directory of segments holds, damaged or not, without locking or changing it.

    for found in scan(directory):
        Good   one sound record, in order of position
        Hole   a stretch that holds no record where one belongs, or none that belongs there

A record is sound when its checksum fits, which covers its position too; so after damage the next sound record can be
found again wherever it stands. A server may be writing meanwhile: what it adds after a file was opened is not seen,
what it trims is passed over, and its last record may be seen half, as a hole that is `torn`.
"""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from server.log.end_mark import End, known_end
from server.log.segment_file import (
    HEADER_BYTES,
    MAX_PAYLOAD,
    RECORD,
    SEAL,
    SUFFIX,
    BadSegment,
    file_name,
    find_sound,
    parse_header,
)

_WINDOW = 1 << 20


class Good(NamedTuple):
    """A sound record: where it stands (bytes [start, end) of a file), its position and payload."""

    path: Path
    start: int
    end: int
    position: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Hole:
    """What is wrong in bytes [start, end) of a file, which are none where something was cut out.

    first, last: the positions that are missing, both included; last is first - 1 where none is known to be missing.
    why: completes "the file …". torn: nothing sound comes after it in the whole log, so how much is missing cannot be
    told from here, and a crash in the middle of a write leaves the same. strays: first and last position of the sound
    records in it, which repeat others or stand where they do not belong. note: of the last of the missing records,
    where the log is known to have reached it (see server.log.end_mark). vague: more may be missing before it.
    """

    path: Path
    start: int
    end: int
    first: int
    last: int
    why: str
    torn: bool = False
    strays: tuple[int, int] | None = None
    note: bytes = b""
    vague: bool = False

    @property
    def missing(self) -> int:
        """How many records are known to be missing."""
        return self.last - self.first + 1


@dataclass(slots=True)
class _File:
    """A segment file: its first position and what is wrong with it as a whole."""

    path: Path
    first: int
    epoch: str = ""
    fault: str = ""
    foreign: bool = False


def scan(directory: Path, after: int = 0) -> Iterator[Good | Hole]:
    """All records and holes of a log, in order. after: whole files that end at or below this position are left out.

    What the log is known to have had beyond its end is a hole too. Takes memory for a stretch of 1 MiB and the largest
    record. Raises OSError where a file cannot be read.
    """
    mark = known_end(directory, "")  # before the files are looked at: it tells no more than they hold
    files, epoch = _files(directory)
    end = mark if known_end(directory, epoch).position else End()
    while len(files) > 1 and 0 < files[1].first <= after + 1 and not files[1].foreign:
        del files[0]
    expected = 0
    for number, file in enumerate(files):
        later = [other.first for other in files[number + 1 :] if not other.foreign and other.first > file.first]
        try:
            handle = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if not any(older.path.exists() for older in files[:number]):
                expected = 0  # trimmed, like all before it
                end = end if later else End()
            continue
        try:
            for found in _scan_file(handle, file, expected or file.first, later[0] if later else 0):
                if isinstance(found, Good):
                    expected = found.position + 1
                elif found.torn and end.position >= found.first:
                    found = replace(found, last=end.position, torn=False, note=end.note)
                if isinstance(found, Hole):
                    expected = max(expected, found.last + 1)
                yield found
        finally:
            os.close(handle)
        if file.epoch and not file.foreign:
            expected = max(expected, file.first)  # it may be empty, and all before it trimmed
    if end.position >= max(expected, 1):
        path, size = (files[-1].path, files[-1].path.stat().st_size) if files else (directory, 0)
        why = f"ends with entry {expected - 1}" if expected else "has no files"
        yield Hole(path, size, size, max(expected, 1), end.position, why, note=end.note)


def log_epoch(directory: Path) -> str:
    """The epoch of the log in a directory, "" where no file has one."""
    return _files(directory)[1]


def strays_in(hole: Hole) -> Iterator[tuple[int, bytes]]:
    """(position, payload) of the sound records in a hole, in the order of the file."""
    with hole.path.open("rb") as file:
        for _, _, position, payload in _records(file.fileno(), hole.end, hole.start, 1, 0):
            yield position, payload


def _files(directory: Path) -> tuple[list[_File], str]:
    """The segment files in order of their first positions, and the epoch of the log."""
    files = [_look(path) for path in sorted(directory.glob(f"*{SUFFIX}"))]
    files.sort(key=lambda file: (file.first, bool(file.fault)))
    known = Counter(file.epoch for file in reversed(files) if file.epoch)
    ours = known.most_common(1)[0][0] if known else ""  # of the newer one where two have as many files
    for file in files:
        if file.epoch and file.epoch != ours:
            file.fault, file.foreign = f"is a segment of another log ({file.epoch}, this one is {ours})", True
    return files, ours


def _look(path: Path) -> _File:
    """A file by its header; by its name, or its first sound record, where the header is damaged."""
    named = int(path.stem) if re.fullmatch(r"\d{1,20}", path.stem) else 0
    try:
        with path.open("rb") as file:
            try:
                epoch, first = parse_header(file.read(HEADER_BYTES))
            except BadSegment as error:
                return _File(path, named or _first_record(file.fileno()), fault=f"has a bad header: {error.why}")
    except FileNotFoundError:
        return _File(path, named)
    fault = "" if path.name == file_name(first) else f"has the wrong name, it starts with entry {first}"
    return _File(path, first, epoch, fault)


def _first_record(handle: int) -> int:
    found = next(_records(handle, os.fstat(handle).st_size, 0, 1, 0), None)
    return found[2] if found is not None else 0


def _scan_file(handle: int, file: _File, expected: int, later: int) -> Iterator[Good | Hole]:
    """Records and holes of one file.

    expected: the first position that no file before has. later: where the next file starts, 0 without one.
    """
    limit = os.fstat(handle).st_size
    open_hole: Hole | None = None
    if file.foreign:
        yield Hole(file.path, 0, limit, expected, expected - 1, file.fault)
        return
    begin = min(limit, HEADER_BYTES) if file.epoch else 0
    if file.fault:
        open_hole = Hole(file.path, 0, 0, expected, expected - 1, file.fault)
    highest = later - 1 if later > expected else 0
    for start, end, position, payload in _records(handle, limit, begin, expected, highest):
        if start > begin:
            open_hole = _grown(open_hole, file.path, begin, start, expected, _what(handle, begin, start))
        if position < expected or (highest and position > highest):
            open_hole = _grown(open_hole, file.path, start, end, expected, _STRAY, position)
        else:
            if position > expected:
                open_hole = _grown(open_hole, file.path, start, start, expected, _CUT)
            if open_hole is not None:
                yield replace(open_hole, last=position - 1)
                open_hole = None
            yield Good(file.path, start, end, position, payload)
            expected = position + 1
            highest = later - 1 if later > expected else 0
        begin = end
    if begin < limit:
        open_hole = _grown(open_hole, file.path, begin, limit, expected, _what(handle, begin, limit))
    if later > expected:
        why = f"ends with entry {expected - 1}, and the next file starts with entry {later}"
        open_hole = _grown(open_hole, file.path, limit, limit, expected, why)
        open_hole = replace(open_hole, last=later - 1)
    if open_hole is not None:
        torn = not later and open_hole.strays is None and open_hole.end == limit
        yield replace(open_hole, torn=torn)


_STRAY = "has records that repeat others or stand where they do not belong"
_CUT = "lacks records between two sound ones"


def _grown(
    hole: Hole | None, path: Path, start: int, end: int, expected: int, why: str, stray: int | None = None
) -> Hole:
    """The hole that is open, or a new one, with these bytes as well."""
    if hole is None:
        hole = Hole(path, start, end, expected, expected - 1, why)
    strays = hole.strays
    if stray is not None:
        strays = (min(strays[0], stray), max(strays[1], stray)) if strays else (stray, stray)
    return replace(hole, end=end, strays=strays)


def _what(handle: int, start: int, end: int) -> str:
    """What a stretch without a sound record is filled with."""
    for at in range(start, end, _WINDOW):
        if any(os.pread(handle, min(_WINDOW, end - at), at)):
            return "has bytes that are no sound record"
    return "is filled with zeros"


def _records(
    handle: int, limit: int, offset: int, expected: int, highest: int
) -> Iterator[tuple[int, int, int, bytes]]:
    """(start, end, position, payload) of every sound record from byte `offset` on, in the order of the file.

    expected, highest: bounds for what is looked for behind damage.
    """
    window, base = b"", offset
    while offset < limit:
        head = window[offset - base : offset - base + RECORD.size]
        if len(head) < RECORD.size:
            window, base = os.pread(handle, min(_WINDOW, limit - offset), offset), offset
            head = window[: RECORD.size]
        record = None
        if len(head) == RECORD.size:
            length, crc, position = RECORD.unpack(head)
            start, end = offset + RECORD.size, offset + RECORD.size + length
            if 0 < length <= MAX_PAYLOAD and end <= limit:
                payload = window[start - base : end - base]
                if len(payload) < length:
                    payload = os.pread(handle, length, start)
                if zlib.crc32(payload, zlib.crc32(SEAL.pack(position, length))) == crc:
                    record = offset, end, position, payload
        if record is not None:
            yield record
            offset = record[1]
            expected = max(expected, record[2] + 1)
            continue
        found = find_sound(handle, offset, limit, expected, highest if highest >= expected else 0)
        if found is None:
            return
        offset = found
