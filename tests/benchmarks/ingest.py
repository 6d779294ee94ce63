"""Ingest: batches, single posts, old rows, and how the cost grows with the series."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

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


def _rate(folder: Path, series: int, seconds: float) -> tuple[float, str]:
    bodies = batches(make_series(series))
    with running(ours(folder)) as server:
        load.send_all(server.port, (body.at(now()) for body in bodies))  # all series are known afterwards
        samples, spent = load.send_for(server.port, server.pid, bodies, seconds)
        return samples / spent.cpu, _spent(samples, spent, f", at most {peak_bytes(server.pid) >> 20} MiB resident")


def _victoria_rate(folder: Path, series: int, seconds: float) -> float:
    bodies = imports(make_series(series))
    with running(victoria(folder)) as server:
        load.send_all(server.port, (body.at(now()) for body in bodies))
        samples, spent = load.send_for(server.port, server.pid, bodies, seconds)
        return samples / spent.cpu


def batch(folder: Path, quick: bool) -> Iterator[Figure]:
    """JSON arrays of 1,000 gauges and histograms; checkpoints on, the interval as it comes."""
    seconds = 5 if quick else 25
    value, note = _rate(folder, 10_000, seconds)
    peer = _victoria_rate(folder, 10_000, seconds) if installed(VICTORIA) else None
    name = f"JSON batches of {BATCH:,}, 10,000 series, 4 labels"
    yield Figure(name, value, "samples/s/core", 600_000, True, peer, VICTORIA[:8], note)


def growth(folder: Path, quick: bool) -> Iterator[Figure]:
    """The same with ten times the series."""
    seconds = 5 if quick else 25
    value, note = _rate(folder, 100_000, seconds)
    peer = _victoria_rate(folder, 100_000, seconds) if installed(VICTORIA) else None
    yield Figure("JSON batches, 100,000 series", value, "samples/s/core", None, True, peer, VICTORIA[:8], note)


def single(folder: Path, quick: bool) -> Iterator[Figure]:
    """One sample per POST over 50 connections."""
    requests = singles(make_series(10_000), 20_000)
    with running(ours(folder)) as server:
        load.post_for(server.port, server.pid, requests, 1)
        samples, spent = load.post_for(server.port, server.pid, requests, 4 if quick else 15)
    note = _spent(samples, spent)
    yield Figure("one sample per POST, 50 connections", samples / spent.cpu, "samples/s/core", 25_000, True, note=note)


def old_rows(folder: Path, quick: bool) -> Iterator[Figure]:
    """A file of old rows in the order of time: 1,000 series every 15 s, in batches of 1,000."""
    yield _old("rows of 30 days ago", 30 * DAY - 600_000, folder, quick)
    yield _old("rows of 20 days ago", 20 * DAY, folder, quick)


def _old(name: str, age: int, folder: Path, quick: bool) -> Figure:
    bodies = batches(make_series(1000), rounds=20)
    minutes = 60 if quick else 240
    with running(ours(folder, {"CHECKPOINT_INTERVAL": 10})) as server:
        start = now() - age
        steps = minutes * 4
        following: Iterator[Body] = cycle(bodies)
        meter = Meter(server.pid)
        load.send_all(server.port, (next(following).at(start + step * 15_000) for step in range(steps)))
        spent = meter.read()
        samples = steps * BATCH
        note = _spent(samples, spent, f", at most {peak_bytes(server.pid) >> 20} MiB resident")
    return Figure(f"{name}, batches of {BATCH:,}", samples / spent.cpu, "samples/s/core", 200_000, True, note=note)
