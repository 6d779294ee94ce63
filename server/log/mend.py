"""Rewriting damaged segments, so that a log can be followed again. Nothing is deleted: what is replaced goes aside.

Sound records keep their positions; a missing one is taken from where it stands by mistake, else made by the caller.
Files without damage are not touched. New files are complete on disk before the first old one gives way to them, so a
repair that breaks off can be begun again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from server.log.end_mark import NAME, End, EndMark
from server.log.scan import Good, Hole, log_epoch, scan, strays_in
from server.log.segment_file import SUFFIX, file_name, pack_header, pack_record_head
from server.log.segment_set import lock

_NEW = ".mended"
_MAX_RECOVERED = 64 << 20


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep servers and other repairs away from a log. Raises LogUnavailable where one is at work."""
    held = lock(directory)
    try:
        yield
    finally:
        os.close(held)


def recovered(holes: list[Hole]) -> dict[int, bytes]:
    """Payloads of missing records that stand where they do not belong, up to 64 MiB of them."""
    missing = [range(hole.first, hole.last + 1) for hole in holes if hole.missing]
    found: dict[int, bytes] = {}
    size = 0
    for hole in holes:
        for position, payload in strays_in(hole) if hole.strays is not None else ():
            if size < _MAX_RECOVERED and position not in found and any(position in lost for lost in missing):
                found[position] = payload
                size += len(payload)
    return found


def mend(directory: Path, aside: Path, holes: list[Hole], after: int, fill: Callable[[int], bytes]) -> int:
    """Make a log whole, while it is `locked`; its last position. Raises OSError.

    holes: all that its scan finds, and one more for each record that is sound but of no use. after: nothing is made up
    for the beginning of the log up to this position. fill: the payload for a missing position.
    """
    touched = {hole.path for hole in holes}
    unusable = {(hole.path, hole.start) for hole in holes if hole.missing == 1 and hole.end > hole.start}
    writer = _Writer(directory, log_epoch(directory) or os.urandom(6).hex())
    begun, last = False, after
    for one in scan(directory):
        bad = isinstance(one, Hole) or (one.path, one.start) in unusable
        if isinstance(one, Hole):
            gone = range(one.first if begun else max(one.first, after + 1), one.last + 1)
        else:
            gone = range(one.position, one.position + 1) if bad else range(0)
        for position in gone:
            writer.add(one.path, position, fill(position))
            last = max(last, position)
        if isinstance(one, Good) and not bad:
            if one.path in touched:
                writer.add(one.path, one.position, one.payload)
            begun, last = True, max(last, one.position)
        begun = begun or len(gone) > 0
    made = writer.finish()
    aside.mkdir(parents=True)
    old = [path for path in (*sorted(touched), directory / NAME) if path.is_file()]
    for path in old:
        _keep(path, aside / path.name)
    _sync(aside)
    for path in made:
        path.rename(path.with_suffix(""))
    for path in old:
        if path.suffix == SUFFIX and path.with_name(path.name + _NEW) not in made:
            path.unlink()
    EndMark(directory, writer.epoch, End(last)).close()
    _sync(directory)
    return last


class _Writer:
    """Writes the new files, each beside the one it will replace."""

    def __init__(self, directory: Path, epoch: str) -> None:
        self.epoch = epoch
        self._directory = directory
        self._of: Path | None = None
        self._file = -1
        self._made: list[Path] = []
        for left in directory.glob(f"*{_NEW}"):
            left.unlink()

    def add(self, of: Path, position: int, payload: bytes) -> None:
        """One record of what replaces the file `of`."""
        if of != self._of:
            self._close()
            path = self._directory / (file_name(position) + _NEW)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            self._made.append(path)
            self._of = of
            _write(self._file, pack_header(self.epoch, position))
        _write(self._file, pack_record_head(position, payload) + payload)

    def finish(self) -> list[Path]:
        """The files that were made, which are on disk now."""
        self._close()
        return self._made

    def _close(self) -> None:
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _keep(path: Path, into: Path) -> None:
    """The file under another name too: it stays even when its own name is given to another."""
    try:
        os.link(path, into)
    except OSError:
        shutil.copy2(path, into)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
