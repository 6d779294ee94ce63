"""Ingest: batches, single posts, old rows, and how the cost grows with the series."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from statistics import median

from tests.benchmarks import load
from tests.benchmarks.machine import VICTORIA, Meter, Spent, installed, ours, peak_bytes, running, victoria
from tests.benchmarks.samples import BATCH, Body, batches, imports, make_series, now, singles
from tests.benchmarks.table import Figure

DAY = 86_400_000


def _spent(samples: int, spent: Spent, more: str = "") -> str:
    return (
        f"{samples:,} samples in {spent.cpu:.2f} CPU-s, {spent.wall:.2f} s wall "
        f"({samples / spent.wall:,.0f}/s, {spent.cpu / spent.wall:.0%} of the core){more}"
    )


ROUNDS = 3
SETTLE = {"LATENESS": 10}
"""Slots close 10 s behind arrival instead of 60 s, so that a short run rolls up and stores like a long one."""


def _compare(folder: Path, series: int, seconds: float) -> tuple[float, float | None, str]:
    """(our rate, the peer's, what it took), medians of turns that alternate, so that both see the same machine."""
    all_series = make_series(series)
    bodies = batches(all_series)
    rates: list[float] = []
    others: list[float] = []
    total, cpu, wall = 0, 0.0, 0.0
    with ExitStack() as stack:
        server = stack.enter_context(running(ours(folder, SETTLE)))
        load.send_for(server.port, server.pid, bodies, 5 if seconds < 5 else 20)
        peer = stack.enter_context(running(victoria(folder))) if installed(VICTORIA) else None
        lines = imports(all_series) if peer is not None else []
        for turn in range(ROUNDS):
            samples, spent = load.send_for(server.port, server.pid, bodies, seconds)
            rates.append(samples / spent.cpu)
            total, cpu, wall = total + samples, cpu + spent.cpu, wall + spent.wall
            if peer is not None:
                if not turn:
                    load.send_for(peer.port, peer.pid, lines, seconds)
                samples, spent = load.send_for(peer.port, peer.pid, lines, seconds)
                others.append(samples / spent.cpu)
        most = peak_bytes(server.pid) >> 20
    note = _spent(
        total, Spent(cpu, wall), f", turns {min(rates):,.0f} to {max(rates):,.0f}, at most {most} MiB resident"
    )
    return median(rates), median(others) if others else None, note


def batch(folder: Path, quick: bool) -> Iterator[Figure]:
    """JSON arrays of 1,000 gauges and histograms; checkpoints on."""
    value, peer, note = _compare(folder, 10_000, 2 if quick else 10)
    name = f"JSON batches of {BATCH:,}, 10,000 series, 4 labels"
    yield Figure(name, value, "samples/s/core", 600_000, True, peer, "victoria", note)


def growth(folder: Path, quick: bool) -> Iterator[Figure]:
    """The same with ten times the series."""
    value, peer, note = _compare(folder, 100_000, 2 if quick else 10)
    yield Figure("JSON batches, 100,000 series", value, "samples/s/core", None, True, peer, "victoria", note)


def single(folder: Path, quick: bool) -> Iterator[Figure]:
    """One sample per POST over 50 connections."""
    requests = singles(make_series(10_000), 20_000)
    with running(ours(folder)) as server:
        load.post_for(server.port, server.pid, requests, 1)
        samples, spent = load.post_for(server.port, server.pid, requests, 4 if quick else 15)
    note = _spent(samples, spent)
    yield Figure("one sample per POST, 50 connections", samples / spent.cpu, "samples/s/core", 25_000, True, note=note)


def old_rows(folder: Path, quick: bool) -> Iterator[Figure]:
    """A file of old rows in the order of time: 1,000 series every 15 s, in batches of 1,000; until all is stored."""
    for name, age in (("rows of 30 days ago", 30 * DAY - 600_000), ("rows of 20 days ago", 20 * DAY)):
        samples, note = _old(folder, age, hours=2 if quick else 12)
        yield Figure(f"{name}, batches of {BATCH:,}", samples, "samples/s/core", 200_000, True, note=note)


def _old(folder: Path, age: int, hours: int) -> tuple[float, str]:
    bodies = batches(make_series(1000), rounds=20)
    interval = 3
    with running(ours(folder, {"CHECKPOINT_INTERVAL": interval})) as server:
        start, steps = now() - age, hours * 240
        following: Iterator[Body] = cycle(bodies)
        meter = Meter(server.pid)
        load.send_all(server.port, (next(following).at(start + step * 15_000) for step in range(steps)))
        wall = meter.read().wall
        time.sleep(3 * interval)  # what is still to be rolled up and written counts too
        cpu = meter.read().cpu
        samples = steps * BATCH
        most = peak_bytes(server.pid) >> 20
        note = (
            f"{samples:,} samples sent in {wall:.2f} s wall; {cpu:.2f} CPU-s until stored, at most {most} MiB resident"
        )
        return samples / cpu, note
