"""Servers on one core: ours and the peers', with their CPU time and memory as the kernel counts them.

The server under test has the first core this process may use for itself, the load generator has the others. On a busy
machine the wall time of a run says little, its CPU-seconds still say most.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.support import Process, Streamgauge, free_port

_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
LOAD_CORES = set(_CORES[1:]) or set(_CORES)
VICTORIA, PROMETHEUS = "victoria-metrics", "prometheus"

P = TypeVar("P", bound=Process)


def keep_off_the_server_core() -> None:
    """Pins this process, which makes the load, beside the server, and lets it open many sockets."""
    os.sched_setaffinity(0, LOAD_CORES)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cpu_seconds(pid: int) -> float:
    """User and system time a process has used so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Resident memory of a process now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def peak_bytes(pid: int) -> int:
    """The most resident memory a process ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel does not say what process {pid} held at most")


class Spent(NamedTuple):
    """What a stretch of work took, in seconds: of the server's CPU, and by the clock."""

    cpu: float
    wall: float


class Meter:
    """Measures from its making on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu, self._wall = cpu_seconds(pid), time.perf_counter()

    def read(self) -> Spent:
        """CPU-seconds of the server and wall-clock seconds since the making."""
        return Spent(cpu_seconds(self._pid) - self._cpu, time.perf_counter() - self._wall)


class Pinned(Streamgauge):
    """Our server on the server core, with its default settings but for those given."""

    def command(self) -> list[str]:
        return ["taskset", "-c", str(SERVER_CORE), *super().command()]

    @property
    def pid(self) -> int:
        """The server's process; taskset becomes it."""
        assert self.child is not None
        return self.child.pid


class VictoriaMetrics(Process):
    """The peer for ingest and queries, Debian's package `victoria-metrics`."""

    def command(self) -> list[str]:
        return [
            "taskset", "-c", str(SERVER_CORE), VICTORIA, f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={self.directory / 'data'}", "-retentionPeriod=1y", "-search.latencyOffset=0s",
        ]  # fmt: skip

    def ready(self) -> bool:
        return _answers(self.port, "/health")

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.child is not None
        return self.child.pid


class Prometheus(Process):
    """The peer for queries, Debian's package `prometheus`, over blocks that promtool made."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "GOMAXPROCS": "1"}

    def command(self) -> list[str]:
        config = self.directory / "prometheus.yml"
        config.write_text("scrape_configs: []\n")
        return [
            "taskset", "-c", str(SERVER_CORE), PROMETHEUS, f"--config.file={config}",
            f"--storage.tsdb.path={self.directory / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
            "--storage.tsdb.retention.time=1y",
        ]  # fmt: skip

    def ready(self) -> bool:
        return _answers(self.port, "/-/ready")


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def installed(program: str) -> bool:
    """Whether a peer is there to be measured."""
    return shutil.which(program) is not None


@contextmanager
def running(server: P) -> Iterator[P]:
    """Starts a server and ends it whatever happens."""
    server.start()
    try:
        yield server
    finally:
        try:
            server.stop()
        except subprocess.TimeoutExpired:
            server.kill()


def ours(folder: Path, settings: Mapping[str, object] | None = None) -> Pinned:
    """Our server in a folder of its own."""
    return Pinned(folder / f"streamgauge-{free_port()}", {"SELF_METRICS": "true", **(settings or {})})


def victoria(folder: Path) -> VictoriaMetrics:
    """VictoriaMetrics in a folder of its own."""
    return VictoriaMetrics(folder / f"victoria-{free_port()}")
