"""What a start that took long has waited for: its own work, a core, or something else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from tests.support import Streamgauge

SLOW_SECONDS = 5.0
_LINES = 12


class Spent(NamedTuple):
    """Seconds of a process's threads on a core, and waiting for one although they had work to do."""

    running: float
    waiting: float


def spent(pid: int) -> Spent:
    """Of a process so far; without the threads that have ended, unless they are all that the system tells."""
    running = waiting = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            ran, waited = map(int, file.read_text().split()[:2])
        except OSError:  # the thread has ended
            continue
        running, waiting = running + ran, waiting + waited
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Spent(max(used, running / 1e9), waiting / 1e9)


def timed_start(server: Streamgauge, seconds: float) -> tuple[float, str]:
    """Starts a server: (how many seconds it took, what a slow start has waited for, "" for a fast one)."""
    said, begun = len(server.output), time.monotonic()
    server.start(seconds)
    took = time.monotonic() - begun
    if took < SLOW_SECONDS or server.child is None:
        return took, ""
    own, load = spent(server.child.pid), os.getloadavg()
    lines = [f"    {line[:200]}" for line in server.output[said:].splitlines() if line[:1].isdecimal()]
    story = (
        f"a start of {took:.1f} s: {own.running:.1f} s on a core, {own.waiting:.1f} s waiting for one, "
        f"{max(0.0, took - own.running - own.waiting):.1f} s for anything else (disk, Redis, locks); "
        f"load of the machine {load[0]:.1f}, {os.cpu_count()} cores. It said:"
    )
    return took, "\n".join([story, *lines[:_LINES]])
