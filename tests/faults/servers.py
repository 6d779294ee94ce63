"""Servers in strange circumstances: a clock that can be set, few file descriptors, a small disk."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Streamgauge

CLOCKED = """
import mmap, os, struct, sys, time
file = os.open(sys.argv.pop(1), os.O_RDONLY)
offset = mmap.mmap(file, 8, prot=mmap.PROT_READ)
real_ns, real = time.time_ns, time.time
time.time_ns = lambda: real_ns() + struct.unpack("<q", offset[:])[0] * 1_000_000
time.time = lambda: real() + struct.unpack("<q", offset[:])[0] / 1000
from server.cli import main
sys.exit(main())
"""


class ClockedServer(Streamgauge):
    """A server whose clock is the machine's plus `set`."""

    def __init__(self, directory: Path, settings: dict[str, object]) -> None:
        super().__init__(directory, settings)
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "clock"
        self._path.write_bytes(bytes(8))
        with self._path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def set(self, offset: int) -> None:
        """Makes its clock differ by so many ms, at once."""
        self._memory[:] = struct.pack("<q", offset)

    def command(self) -> list[str]:
        return [sys.executable, "-c", CLOCKED, str(self._path), "serve"]


FEW = """
import resource, sys
few = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
from server.cli import main
sys.exit(main())
"""


class PoorServer(Streamgauge):
    """A server that may have 64 file descriptors."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", FEW, "64", "serve"]

    def descriptors(self) -> int:
        """How many it has open."""
        assert self.child is not None
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))

    def cpu_seconds(self) -> float:
        """The processor time it has used."""
        assert self.child is not None
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own in memory; the test is skipped where none can be mounted."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "streamgauge-test", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int = 0) -> Path:
    """Takes all free space of a disk but some bytes; the file that does."""
    filler = place / "filler"
    with filler.open("ab") as file:
        block = bytes(1 << 16)
        try:
            while os.statvfs(place).f_bavail * os.statvfs(place).f_frsize > leave:
                left = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize - leave
                file.write(block[: max(1, min(len(block), left))])
                file.flush()
        except OSError:
            pass
    return filler
