"""The format of one segment file, and reading it with suspicion.

    header  magic "SGLG", version u32, epoch 16 bytes ASCII, first position u64, crc32 of those u32
    record  length u32, crc32 u32 (of position, length and payload), position u64, payload
    …

Little-endian. Positions within a file are consecutive. The name of a file is its first position, 20 digits.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import NamedTuple

import numpy as np

MAGIC = b"SGLG"
VERSION = 1
HEADER = struct.Struct("<4sI16sQ")
CRC = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CRC.size
RECORD = struct.Struct("<IIQ")
SEAL = struct.Struct("<QI")
MAX_PAYLOAD = 256 << 20
_FAR = 1 << 36  # positions beyond which no sound record is looked for where nothing bounds it
SUFFIX = ".segment"


class BadSegment(Exception):
    """Bytes that are no segment. `at` is the byte of the file, `why` completes "the record there …"."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(f"at byte {at}: {why}")
        self.at = at
        self.why = why


class Chunk(NamedTuple):
    """What one read gave: (position, payload) pairs, and where the next read starts."""

    records: list[tuple[int, bytes]]
    offset: int
    position: int


def file_name(first: int) -> str:
    """The name of the segment whose first position is `first`."""
    return f"{first:020d}{SUFFIX}"


def pack_header(epoch: str, first: int) -> bytes:
    """The header bytes of a new segment."""
    head = HEADER.pack(MAGIC, VERSION, epoch.encode(), first)
    return head + CRC.pack(zlib.crc32(head))


def parse_header(data: bytes) -> tuple[str, int]:
    """(epoch, first position) of a header; BadSegment where it is none."""
    if len(data) < HEADER_BYTES:
        raise BadSegment(len(data), "the header is cut short")
    magic, version, epoch, first = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadSegment(0, "it does not start as a segment does")
    if zlib.crc32(data[: HEADER.size]) != CRC.unpack_from(data, HEADER.size)[0]:
        raise BadSegment(0, "the header fails its checksum")
    if version != VERSION:
        raise BadSegment(4, f"it has format version {version}, this program reads {VERSION}")
    return epoch.rstrip(b"\0").decode(), first


def pack_record_head(position: int, payload: bytes) -> bytes:
    """The 16 bytes that stand before a payload."""
    length = len(payload)
    return RECORD.pack(length, zlib.crc32(payload, zlib.crc32(SEAL.pack(position, length))), position)


def read_chunk(file: int, offset: int, limit: int, position: int, budget: int) -> Chunk:
    """Read records from byte `offset`, where `position` is expected, up to byte `limit`; about `budget` bytes of them.

    At least one record is returned when offset < limit. Raises BadSegment for anything that is not that record; what
    was good before it is returned first.
    """
    data = os.pread(file, min(budget, limit - offset), offset)
    records: list[tuple[int, bytes]] = []
    at, end, wanted = 0, len(data), limit - offset
    while at < wanted:
        if at + RECORD.size > end:
            if records:
                break
            if wanted < RECORD.size or end < min(budget, wanted):
                raise BadSegment(offset, "the head of the record is cut short")
        length, crc, found = RECORD.unpack_from(data, at)
        start, stop = at + RECORD.size, at + RECORD.size + length
        if found != position or length > MAX_PAYLOAD or stop > wanted:
            if records:
                break
            why = "the record is cut short" if found == position else f"record {position} was expected, not {found}"
            raise BadSegment(offset, why)
        if stop > end:
            if records:
                break
            data = os.pread(file, stop, offset)  # one record larger than the budget
            end = len(data)
            if end < stop:
                raise BadSegment(offset, "the record is cut short")
        payload = data[start:stop]
        if zlib.crc32(payload, zlib.crc32(SEAL.pack(found, length))) != crc:
            if records:
                break
            raise BadSegment(offset, "the record fails its checksum")
        records.append((position, payload))
        position += 1
        at = stop
    return Chunk(records, offset + at, position)


def find_sound(file: int, offset: int, limit: int, expected: int, highest: int = 0) -> int | None:
    """The byte of the next sound record at or after `offset`, None where none follows.

    Looked for is one at `offset` itself whatever its position, then one at or above `expected`, up to `highest` where
    that is known. A write that was cut off by a crash has nothing behind it; damage does. Only used on damage, so it
    may look at every byte.
    """
    if sound_record(file, offset, limit) is not None:
        return offset
    if highest:
        return _find(file, offset, limit, expected, highest)
    near = expected + (limit - offset) // RECORD.size + 1
    found = _find(file, offset, limit, expected, near)
    return _find(file, offset, limit, near, expected + _FAR) if found is None else found


def _find(file: int, offset: int, limit: int, lowest: int, highest: int) -> int | None:
    """The byte of the first sound record at or after `offset` whose position is in [lowest, highest]."""
    base, block = offset, 1 << 16
    while base < limit:
        data = os.pread(file, min(block + 8, limit - base), base)
        found: set[int] = set()
        for shift in range(8):
            count = (len(data) - shift) // 8
            if count <= 0:
                continue
            numbers = np.frombuffer(data, "<u8", count, shift)
            hits = np.flatnonzero((numbers >= lowest) & (numbers <= highest))
            found.update((hits * 8 + shift).tolist())
        for place in sorted(found):
            start = base + place - 8  # the position is the last 8 bytes of the head
            if start >= offset and sound_record(file, start, limit) is not None:
                return start
        base, block = base + block, min(2 * block, 1 << 22)
    return None


def sound_record(file: int, start: int, limit: int) -> tuple[int, int] | None:
    """(position, end) of a whole sound record at byte `start`, whatever its position; None where there is none."""
    head = os.pread(file, RECORD.size, start)
    if len(head) < RECORD.size:
        return None
    length, crc, position = RECORD.unpack(head)
    end = start + RECORD.size + length
    if not 0 < length <= MAX_PAYLOAD or end > limit:
        return None
    payload = os.pread(file, length, start + RECORD.size)
    return (position, end) if zlib.crc32(payload, zlib.crc32(SEAL.pack(position, length))) == crc else None
