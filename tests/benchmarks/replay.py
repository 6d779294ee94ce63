"""Starting again after a kill: how long until a server is ready that has to replay a long stretch of its log."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from engine.model import TYPES, Batch, Entry, pack_series_key
from server.log import open_log
from server.numbering import Numbering
from server.wire.entry import pack_entry
from tests.benchmarks.machine import ours, peak_bytes, running
from tests.benchmarks.samples import make_series, now
from tests.benchmarks.table import Figure

SAMPLES, SERIES, SECONDS = 10_000_000, 10_000, 60
Size = Callable[[random.Random], int]
MIXES: tuple[tuple[str, Size, float | None], ...] = (
    ("in entries of 1 to 1,000", lambda dice: dice.randint(1, 1000), 5.0),
    ("as many entries of 10 as of 100 and of 1,000", lambda dice: int(10 ** dice.uniform(0, 3)), 4.0),
    ("in entries of 20 single posts", lambda dice: 20, 10.0),
)


def start(folder: Path, quick: bool) -> Iterator[Figure]:
    """Logs of a minute without any checkpoint; the time runs from the process's start to its readiness."""
    samples = SAMPLES // 10 if quick else SAMPLES
    for mix, size, limit in MIXES:
        server = ours(folder)
        dice = random.Random(1)
        entries = asyncio.run(write(server.directory / "data" / "log", samples, size, dice))
        begun = time.perf_counter()
        with running(server):
            took = time.perf_counter() - begun
            counted = server.call("GET", "/api/ledger")["accepted"]
            note = f"{entries:,} entries, {counted:,} counted, at most {peak_bytes(server.pid) >> 20} MiB resident"
        yield Figure(f"start, {samples / 1e6:g} M samples to replay, {mix}", took, "s", limit, note=note)


async def write(folder: Path, samples: int, size: Size, dice: random.Random) -> int:
    """A log as a server writes it, whose stamps end now; its entries."""
    log = await open_log(f"file://{folder}")
    keys = [
        pack_series_key(one.name, TYPES.index(one.type), labels=one.labels.items()) for one in make_series(SERIES)
    ]
    numbering, values = Numbering(), np.random.default_rng(1)
    first, written, entries = now() - SECONDS * 1000, 0, 0
    while written < samples:
        rows = min(size(dice), samples - written)
        stamp = first + written * SECONDS * 1000 // samples
        codes = ((written + np.arange(rows)) % SERIES).astype(np.int32)
        batch = Batch(keys, codes, values.integers(0, 1000, rows).astype(float), np.full(rows, stamp), whole=True)
        if rows > 20:
            batch = numbering.shorten(batch)
            if batch.table is not None:
                numbering.confirm(batch.table)
        else:  # single posts spell their keys
            batch = Batch([keys[code] for code in codes], np.arange(rows, dtype=np.int32), batch.values, batch.times)
        written, entries = written + rows, entries + 1
        await log.append(pack_entry(Entry(stamp, epoch=7, sequence=entries, batch=batch)))
    await log.close()
    return entries
