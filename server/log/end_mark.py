"""How far a log of segments has reached, kept beside it, so that an end that went missing is noticed.

    DIR/end     header  magic "SGLE", version u32, epoch 16 bytes, boot 36 bytes, crc32
                slots   of 64 bytes at 128 and 192 (appended), 256 and 320 (synced to disk), written in turns:
                        position u64, note 32 bytes, crc32

The files of a log cannot tell a torn last write from a cut-off end. The mark can: after a kill all that was appended
is still there, and after a restart of the machine all that was synced. It is written after what it speaks of and may
itself be lost or old, so it never says too much.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

NAME = "end"
NOTE_BYTES = 32
_MAGIC, _VERSION = b"SGLE", 1
_HEAD = struct.Struct("<4sI16s36s")
_SLOT = struct.Struct(f"<Q{NOTE_BYTES}s")
_CRC = struct.Struct("<I")
_APPENDED, _SYNCED = (128, 192), (256, 320)
_SIZE = 384
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class End(NamedTuple):
    """The newest record a log is known to have had: its position, and the note that came with it."""

    position: int = 0
    note: bytes = b""


def known_end(directory: Path, epoch: str) -> End:
    """How far the log in a directory must reach now; End() where nothing is known of a log of this epoch.

    epoch: of its segments, or "" where there are none.
    """
    try:
        data = (directory / NAME).read_bytes()
    except OSError:
        return End()
    head = data[: _HEAD.size]
    if len(data) < _SIZE or zlib.crc32(head) != _CRC.unpack_from(data, _HEAD.size)[0]:
        return End()
    magic, version, of, boot = _HEAD.unpack(head)
    if magic != _MAGIC or version != _VERSION or (epoch and of.rstrip(b"\0").decode() != epoch):
        return End()
    places = _SYNCED if not boot.strip(b"\0") or boot != _boot() else (*_APPENDED, *_SYNCED)
    return max(_slot(data, place) for place in places)


class EndMark:
    """Writes the mark of an open log. What cannot be written is left out: the mark then says less."""

    def __init__(self, directory: Path, epoch: str, end: End) -> None:
        """Begins a new mark that says `end`, in place of the one before."""
        self.newest = end
        self._path = directory / NAME
        self._file = -1
        head = _HEAD.pack(_MAGIC, _VERSION, epoch.encode(), _boot())
        data = bytearray(_SIZE)
        data[: len(head) + _CRC.size] = head + _CRC.pack(zlib.crc32(head))
        for places in (_APPENDED, _SYNCED):
            data[places[0] : places[0] + _SLOT.size + _CRC.size] = _packed(end)
        fresh = directory / f"{NAME}.new"
        try:
            self._file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            if os.write(self._file, data) != _SIZE:
                raise OSError(28, "No space left on device")
            fresh.rename(self._path)
        except OSError as error:
            self._give_up(error)

    def appended(self, position: int, note: bytes) -> None:
        """A record was written; one system call."""
        self.newest = End(position, note)
        self._write(_APPENDED, self.newest)

    def synced(self, end: End) -> None:
        """All up to a record is on disk."""
        self._write(_SYNCED, end)

    def _write(self, places: tuple[int, int], end: End) -> None:
        if self._file < 0:
            return
        try:
            os.pwrite(self._file, _packed(end), places[end.position & 1])
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        log.warning("log: %s cannot be written, a lost end of the log may go unnoticed: %s", self._path, error.strerror)
        self.close()

    def close(self) -> None:
        """Release the file. Safe to repeat."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _packed(end: End) -> bytes:
    slot = _SLOT.pack(end.position, end.note)
    return slot + _CRC.pack(zlib.crc32(slot))


def _slot(data: bytes, place: int) -> End:
    slot = data[place : place + _SLOT.size]
    if zlib.crc32(slot) != _CRC.unpack_from(data, place + _SLOT.size)[0]:
        return End()
    position, note = _SLOT.unpack(slot)
    return End(position, note)


def _boot() -> bytes:
    """Names the time since the machine was started; nothing where the system does not tell."""
    try:
        return _BOOT.read_bytes().strip()[:36]
    except OSError:
        return b""
