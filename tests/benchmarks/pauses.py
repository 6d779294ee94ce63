"""What a checkpoint costs those who post meanwhile."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import cycle
from pathlib import Path

import numpy as np

from tests.benchmarks import load
from tests.benchmarks.machine import ours, resident_bytes, running
from tests.benchmarks.samples import batches, make_series, now, singles
from tests.benchmarks.table import Figure

SERIES, ROUND = 200_000, 10.0
"""Each series gets a sample every ROUND seconds."""
PROBE_EVERY = 0.01
INTERVAL = 10
_FLUSH = re.compile(r"^(\S+ \S+) DEBUG streamgauge\.rollups: flush \d+ .* in ([\d.]+) s$", re.MULTILINE)


def checkpoints(folder: Path, quick: bool) -> Iterator[Figure]:
    """Single posts every 10 ms beside a steady load of batches, in and between checkpoints."""
    series = make_series(SERIES)
    bodies, probes = batches(series, rounds=1), singles(series, 500)
    server = ours(folder, {"LOG_LEVEL": "debug", "CHECKPOINT_INTERVAL": INTERVAL})
    with running(server):
        ended = threading.Event()
        sender = threading.Thread(target=_send, args=(server.port, bodies, ended))
        sender.start()
        time.sleep(15 if quick else 90)  # until what is open is as much as it will be
        waits = _probe(server.port, probes, 20 if quick else 60)
        ended.set()
        sender.join()
        flushes = [
            (datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").timestamp(), float(took))
            for at, took in _FLUSH.findall(server.output)
        ]
        held = resident_bytes(server.pid) >> 20
    inside = np.array([any(end - took <= at + wait and at <= end for end, took in flushes) for at, wait in waits])
    delays = np.array([wait for _, wait in waits]) * 1000
    usual, during = (float(np.percentile(delays[which], 99)) for which in (~inside, inside))
    long = np.array([took for end, took in flushes if end >= waits[0][0]])
    note = (
        f"{int(inside.sum()):,} of {len(waits):,} posts during {len(long)} checkpoints of {long.mean():.2f} s, the "
        f"longest wait {delays[inside].max():.0f} ms, otherwise {delays[~inside].max():.0f} ms; {held} MiB resident"
    )
    yield Figure("POST to answer between checkpoints, 200,000 series: p99", usual, "ms")
    yield Figure("POST to answer during a checkpoint: p99", during, "ms", max(2 * usual, usual + 15), note=note)


def _send(port: int, bodies: list[load.Body], ended: threading.Event) -> None:
    """One sample of every series each ROUND, evenly."""
    with load.connect(port) as connection:
        due = time.perf_counter()
        for body in cycle(bodies):
            if ended.is_set():
                return
            time.sleep(max(0.0, due - time.perf_counter()))
            due += ROUND / len(bodies)
            connection.sendall(body.at(now()))
            load.answer(connection)


def _probe(port: int, requests: list[bytes], seconds: float) -> list[tuple[float, float]]:
    """(time, seconds until the answer) of single posts; each is due whatever became of the one before."""
    waits = []
    with load.connect(port) as connection:
        begun, due = time.perf_counter(), time.perf_counter()
        offset = time.time() - begun
        for request in cycle(requests):
            time.sleep(max(0.0, due - time.perf_counter()))
            if due - begun > seconds:
                return waits
            connection.sendall(request)
            load.answer(connection)
            waits.append((due + offset, time.perf_counter() - due))
            due += PROBE_EVERY
    return waits
