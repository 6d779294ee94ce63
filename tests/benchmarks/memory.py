"""Resident memory: of an idle server, and what each series adds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import load
from tests.benchmarks.machine import ours, resident_bytes, running
from tests.benchmarks.samples import batches, make_series, now
from tests.benchmarks.table import Figure

FEW, MANY = 10_000, 200_000
ROUNDS, INTERVAL = 10, 10.0
TYPES = ("gauge", "histogram")
IDLE_LIMIT = 90e6
SERIES_LIMIT = 1.2 * 1024


def per_series(folder: Path, quick: bool) -> Iterator[Figure]:
    """Real servers in real time, with their default settings: each gets a sample of every series every 10 s."""
    with ExitStack() as stack:
        idle = stack.enter_context(running(ours(folder)))
        servers = {(kind, count): stack.enter_context(running(ours(folder))) for kind in TYPES for count in (FEW, MANY)}
        bodies = {key: batches(make_series(key[1], (key[0],)), rounds=1) for key in servers}
        due = time.monotonic()
        for _ in range(3 if quick else ROUNDS):
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + INTERVAL, time.monotonic())
            moment = now()
            for key, server in servers.items():
                load.send_all(server.port, (body.at(moment) for body in bodies[key]), 1)
        time.sleep(INTERVAL)
        held = {key: resident_bytes(server.pid) for key, server in servers.items()}
        yield Figure("resident memory of an idle server", resident_bytes(idle.pid) / 1e6, "MB", IDLE_LIMIT / 1e6)
    for kind in TYPES:
        added = (held[kind, MANY] - held[kind, FEW]) / (MANY - FEW)
        note = f"{held[kind, FEW] / 1e6:.0f} MB with {FEW:,} series, {held[kind, MANY] / 1e6:.0f} MB with {MANY:,}"
        limit = SERIES_LIMIT if kind == "gauge" else None
        yield Figure(f"resident memory per added {kind} series, 4 labels", added, "bytes", limit, note=note)
