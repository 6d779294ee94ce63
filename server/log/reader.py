"""The embedded log as it is found, read beside the server that owns it; and who that is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from server.log import Record
from server.log.scan import Good, Hole, scan
from server.log.segment_file import HEADER_BYTES, SUFFIX, BadSegment, parse_header


class SegmentsReader:
    """See server.log.LogReader."""

    dense = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.place = str(directory)
        self.epoch = self._newest_epoch()

    @classmethod
    def open(cls, directory: Path) -> SegmentsReader | None:
        """None where there is no segment."""
        return cls(directory) if any(directory.glob(f"*{SUFFIX}")) else None

    def _newest_epoch(self) -> str:
        for path in sorted(self._directory.glob(f"*{SUFFIX}"), reverse=True):
            try:
                with path.open("rb") as file:
                    return parse_header(file.read(HEADER_BYTES))[0]
            except (BadSegment, FileNotFoundError):
                continue
        return ""

    def read(self, after: int) -> Iterator[Record | Hole]:
        for found in scan(self._directory, after):
            if isinstance(found, Hole):
                yield found
            elif found.position > after:
                yield Record(found.position, found.payload)

    def first(self) -> int:
        for found in scan(self._directory):
            return found.position if isinstance(found, Good) else found.first
        paths = sorted(self._directory.glob(f"*{SUFFIX}"))
        return int(paths[-1].stem) if paths and paths[-1].stem.isdigit() else 0

    def close(self) -> None:
        """Nothing is held."""


def owner_of(directory: Path) -> str:
    """The process that has the log in a directory open, "" for none."""
    try:
        lock = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ""
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
        return f"a server (pid {pid or 'unknown'}) has the log in {directory} open"
    finally:
        os.close(lock)


def set_aside(directory: Path, mark: str) -> str:
    """Renames the directory, if it is there; where it is now."""
    if not directory.exists():
        return ""
    aside = directory.with_name(f"{directory.name}.{mark}")
    directory.rename(aside)
    return str(aside)
