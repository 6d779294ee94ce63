"""A log that loses what it had taken: whoever waits for it hears of it, and keys are spelt anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from engine.engine import Engine
from engine.model import Batch, Entry, pack_series_key
from server import pipeline as pipeline_module
from server.backlog import Backlog
from server.log import LogUnavailable, Record
from server.pipeline import Pipeline
from server.wire.entry import pack_entry, unpack_entry


class Forgetful:
    """A log that takes appends, and gives to its follower those that it does not lose."""

    epoch = "e"
    setbacks = 0

    def __init__(self) -> None:
        self.lose = False
        self.payloads: list[bytes] = []
        self._records: asyncio.Queue[Record] = asyncio.Queue()

    async def append(self, payload: bytes, attachment: object | None = None, note: bytes = b"") -> int:
        self.payloads.append(payload)
        if not self.lose:
            self._records.put_nowait(Record(len(self.payloads), payload, attachment))
        return len(self.payloads)

    async def follow(self, after: int) -> AsyncIterator[list[Record]]:
        while True:
            yield [await self._records.get()]

    async def newest(self) -> int:
        return len(self.payloads)


@pytest.fixture
async def river() -> AsyncIterator[tuple[Forgetful, Pipeline]]:
    """A pipeline that runs on such a log."""
    log: Any = Forgetful()
    engine = Engine()
    pipeline = Pipeline(log, engine, Backlog(engine, 60, 1 << 30))
    task = asyncio.create_task(pipeline.run())
    yield log, pipeline
    task.cancel()


KEYS = [pack_series_key("n", 0)]


def entry() -> Entry:
    """One sample of a batch whose series may be named by its number."""
    one = np.zeros(1, np.int32)
    return Entry(1, batch=Batch(KEYS, one, np.ones(1), np.ones(1, np.int64), whole=True))


async def test_a_lost_entry_is_refused_when_a_later_one_comes(river: tuple[Forgetful, Pipeline]) -> None:
    log, pipeline = river
    await pipeline.submit(entry())
    log.lose = True
    waiting = [asyncio.create_task(pipeline.submit(entry())) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    log.lose = False
    applied = await pipeline.submit(entry())
    assert applied.position == 5
    for task in waiting:
        with pytest.raises(LogUnavailable, match="nothing of it counts"):
            await task
    assert pipeline.engine.ledger.accepted == 2


async def test_keys_are_spelt_again_after_a_setback(river: tuple[Forgetful, Pipeline]) -> None:
    log, pipeline = river

    async def spelt() -> int:
        await pipeline.submit(entry())
        batch = unpack_entry(log.payloads[-1]).batch
        assert batch is not None
        return len(batch.keys)

    assert [await spelt() for _ in range(3)] == [1, 0, 0]
    log.setbacks = 1
    assert [await spelt() for _ in range(2)] == [1, 0]


async def test_a_replay_does_not_wait_for_what_the_log_has_lost_meanwhile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipeline_module, "REPLAY_WATCH_SECONDS", 0.02)
    log: Any = Forgetful()
    for stamp in (1, 2):
        await log.append(pack_entry(Entry(stamp)))
    log.lose = True
    await log.append(pack_entry(Entry(3)))
    engine = Engine()
    pipeline = Pipeline(log, engine, Backlog(engine, 60, 1 << 30))
    tasks = [asyncio.create_task(pipeline.run()), asyncio.create_task(pipeline.tick())]
    await asyncio.sleep(0.2)
    assert engine.position == 2 and not pipeline._caught_up.is_set(), "it waits for the third"
    del log.payloads[-1]
    async with asyncio.timeout(5):
        await pipeline.caught_up()
    assert "has lost those up to 3" in caplog.text
    for task in tasks:
        task.cancel()


async def test_nobody_waits_for_a_pipeline_that_has_ended(river: tuple[Forgetful, Pipeline]) -> None:
    log, pipeline = river
    log.lose = True
    waiting = asyncio.create_task(pipeline.submit(entry()))
    await asyncio.sleep(0.05)
    log._records.put_nowait(Record(2, b"no entry", None))
    async with asyncio.timeout(5):
        with pytest.raises(LogUnavailable, match="the server ends"):
            await waiting
        with pytest.raises(LogUnavailable, match="the server ends"):
            await pipeline.submit(entry())
