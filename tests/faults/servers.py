"""Servers in strange circumstances: a clock that can be set, few file descriptors, a small disk."""

from __future__ import annotations

import mmap
import os
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import ROOT, Streamgauge

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


class Disk(NamedTuple):
    """A small file system. inside, outside: its path for the server, for the test; enter: begins a server's command."""

    inside: Path
    outside: Path
    enter: tuple[str, ...] = ()


class DiskServer(Streamgauge):
    """A server whose data lie on a small disk."""

    def __init__(self, directory: Path, settings: dict[str, object], disk: Disk) -> None:
        super().__init__(directory, {**settings, "DATA_DIR": disk.inside / "data"})
        self._disk = disk

    def command(self) -> list[str]:
        return [*self._disk.enter, *super().command()]


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Disk]:
    """A file system in memory: mounted by root, or by anybody in a name space; skipped where neither is allowed."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "streamgauge-test", str(place)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield Disk(place, place)
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
        return
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("a small disk cannot be mounted, and there is no unshare and nsenter")
    script = f"{shlex.join(mount)} && echo mounted && exec sleep 3600"
    holder = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            pytest.skip("a small disk cannot be mounted, not even in a name space of its own")
        enter = ("nsenter", "--preserve-credentials", "-U", "-m", f"--wd={ROOT}", "-t", str(holder.pid), "--")
        yield Disk(place, Path(f"/proc/{holder.pid}/root{place}"), enter)
    finally:
        holder.kill()
        holder.wait()


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
