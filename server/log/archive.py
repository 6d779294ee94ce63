"""A log in one file, whatever it was kept in: what a backup holds.

    header  magic "SGLA", version u32, epoch 32 bytes ASCII, crc32 of those u32
    record  as in a segment: length u32, crc32 u32 (of position, length and payload), position u64, payload
    …

Little-endian. Positions rise, but may leave gaps, as those of a Redis stream do.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from server.log import LogDamaged, Record
from server.log.scan import Hole
from server.log.segment_file import CRC, MAX_PAYLOAD, RECORD, SEAL, pack_record_head

MAGIC = b"SGLA"
VERSION = 1
_HEAD = struct.Struct("<4sI32s")


def write_archive(path: Path, epoch: str, records: Iterable[Record]) -> int:
    """Writes a new file and brings it to the disk; how many records. Raises OSError."""
    head = _HEAD.pack(MAGIC, VERSION, epoch.encode())
    count = 0
    with path.open("xb") as file:
        file.write(head + CRC.pack(zlib.crc32(head)))
        for record in records:
            file.write(pack_record_head(record.position, record.payload))
            file.write(record.payload)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


class ArchiveReader:
    """See server.log.LogReader. Raises LogDamaged for anything but what `write_archive` wrote."""

    dense = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)
        with path.open("rb") as file:
            self.epoch = self._check_head(file)

    def _check_head(self, file: BinaryIO) -> str:
        head, crc = file.read(_HEAD.size), file.read(CRC.size)
        if len(crc) < CRC.size or CRC.unpack(crc)[0] != zlib.crc32(head):
            raise LogDamaged(f"{self._path} is damaged: its header fails its checksum")
        magic, version, epoch = _HEAD.unpack(head)
        if magic != MAGIC or version != VERSION:
            raise LogDamaged(f"{self._path} has format version {version}, this program reads {VERSION}")
        return str(epoch.rstrip(b"\0").decode())

    def read(self, after: int) -> Iterator[Record | Hole]:
        with self._path.open("rb") as file:
            self._check_head(file)
            while head := file.read(RECORD.size):
                at = file.tell() - len(head)
                length, crc, position = RECORD.unpack(head) if len(head) == RECORD.size else (0, 0, 0)
                payload = file.read(length) if 0 < length <= MAX_PAYLOAD else b""
                sealed = zlib.crc32(payload, zlib.crc32(SEAL.pack(position, length)))
                if not payload or len(payload) < length or sealed != crc:
                    raise LogDamaged(f"{self._path} is damaged: byte {at} begins no sound entry")
                if position > after:
                    yield Record(position, payload)

    def first(self) -> int:
        return next((found.position for found in self.read(0) if isinstance(found, Record)), 0)

    def close(self) -> None:
        """Nothing is held."""
