"""Logs and stores written by the real pipeline, with known rows, to be damaged; and the recount of what is left."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.model import COUNTER, Batch, Entry, Event, pack_series_key, parse_series_key
from server.app import App
from server.config import load_settings
from server.log import Good, LogDamaged, scan_segments
from server.store import StoreError
from server.wire.entry import unpack_entry

KEYS = [pack_series_key("load", COUNTER, labels=[("client", str(number))]) for number in range(6)]


@dataclass
class Made:
    """A data directory as a stop or a kill left it.

    entries: position -> entry, of all that were acknowledged; checkpoint: the position of the store's newest one.
    """

    directory: Path
    entries: dict[int, Entry] = field(default_factory=dict, repr=False)
    checkpoint: int = 0

    def copy(self, into: Path) -> Path:
        """A copy to be damaged."""
        shutil.rmtree(into, ignore_errors=True)
        return Path(shutil.copytree(self.directory, into))


class Refused(Exception):
    """A start was refused, with this sentence, when the engine was at this position."""

    def __init__(self, sentence: str, position: int) -> None:
        super().__init__(sentence)
        self.sentence, self.position = sentence, position


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[App]:
    """A server without sockets on a data directory. Raises Refused where it does not start or dies of what it finds."""
    died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    settings = load_settings(
        _env_file=None, data_dir=directory, lateness=1, checkpoint_interval=3600, drain_seconds=0, self_metrics=False,
        metrics_log_interval=0, log_level="error",
    )  # fmt: skip
    app = App(settings, lambda error: died.done() or died.set_exception(error))
    try:
        await app.open()
    except (LogDamaged, StoreError) as error:
        raise Refused(app.explain(error), app.engine.position if hasattr(app, "engine") else 0) from error
    try:
        caught_up = asyncio.create_task(app.ready())
        await asyncio.wait([caught_up, died], return_when=asyncio.FIRST_COMPLETED)
        caught_up.cancel()
        error = died.exception() if died.done() else None
        if error is not None:
            assert isinstance(error, LogDamaged | StoreError), error
            raise Refused(app.explain(error), app.engine.position) from error
        yield app
    finally:
        died.cancel()
        await app.close()


async def write(app: App, count: int, chance: random.Random) -> None:
    """Hand over entries as ingest does: batches, some of them with late rows, events, refused rows, ticks."""
    keys: list[bytes] = []
    for _ in range(count):
        keys += KEYS[len(keys) : len(keys) + chance.randint(0, 1)] or KEYS[: not keys]
        rows, now = chance.choice((0, 1, 1, 3, 20)), app.pipeline.stamp()
        entry = Entry(now)
        if rows:
            codes = np.array([chance.randrange(len(keys)) for _ in range(rows)], np.int32)
            times = np.array([now - chance.choice((0, 500, 5000, 400_000)) for _ in range(rows)], np.int64)
            values = np.array([chance.randint(1, 1000) for _ in range(rows)], np.float64)
            entry.batch = Batch(keys, codes, values, times, whole=True)
        entry.events = [Event(now, "click", None, None, b"{}") for _ in range(chance.choice((0, 0, 2)))]
        entry.rejected = chance.choice(({}, {}, {"value": 3}))
        await app.pipeline.submit(entry)


def entries_of(directory: Path) -> dict[int, Entry]:
    """position -> entry of a sound log."""
    found = list(scan_segments(directory / "log"))
    assert all(isinstance(one, Good) for one in found)
    return {one.position: unpack_entry(one.payload) for one in found if isinstance(one, Good)}


async def make(folder: Path, seed: int) -> dict[str, Made]:
    """The same two lives of a server, as a kill leaves them before and after a checkpoint, and as a stop does."""
    made: dict[str, Made] = {}
    chance, work = random.Random(seed), folder / "work"

    def keep(name: str, checkpoint: int) -> None:
        shutil.copytree(work, folder / name)
        made[name] = Made(folder / name, entries_of(folder / name), checkpoint)

    async with opened(work) as app:
        await write(app, 40, chance)
        keep("killed early", 0)
        await app.rollups.flush()
        checkpoint = app.engine.flushed_position
        await write(app, 25, chance)
        keep("killed", checkpoint)
    second = folder / "second"
    shutil.copytree(folder / "killed", second)
    work = second
    async with opened(work) as app:
        await write(app, 25, chance)
        keep("killed twice", checkpoint)
    keep("stopped", max(entries_of(work)))
    made["stopped"].entries = made["killed twice"].entries  # its log is trimmed
    return made


@dataclass
class Count:
    """What a ledger and a query must show: samples and their sum by series, events, refused rows."""

    samples: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    events: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


def recount(entries: Iterable[Entry]) -> Count:
    """Counted from entries, in order, with nothing but a dict of which number means which series."""
    count = Count()
    known: dict[tuple[int, int, int], str] = {}
    for entry in entries:
        count.events += len(entry.events)
        count.rejected.update(entry.rejected)
        if entry.batch is None:
            continue
        named = [dict(parse_series_key(key).labels)["client"] for key in entry.batch.keys]
        table = entry.batch.table
        assert table is not None
        known |= {(entry.epoch, table.id, int(n)): name for n, name in zip(table.numbers, named, strict=True)}
        for code, value in zip(entry.batch.codes.tolist(), entry.batch.values.tolist(), strict=True):
            client = known.get((entry.epoch, table.id, code))
            if client is None:
                count.rejected["lost_series"] += 1
            else:
                count.samples[client] += 1
                count.sums[client] += int(value)
    return count


async def shown(app: App) -> Count:
    """What the server says."""
    ledger = app.engine.ledger
    count = Count(events=ledger.events, rejected=Counter(ledger.rejected))
    for aggregation, into in (("count", count.samples), ("sum", count.sums)):
        body = {"query_string": "metric:load", "aggregation": aggregation, "group_by": ["client"], "time_range": "1h"}
        for row in (await app.answers.answer(app.answers.parse(body))).rows:
            into[row["labels"]["client"]] = int(row["value"] or 0)
    assert ledger.accepted == sum(count.samples.values())
    return count
