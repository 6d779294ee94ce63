"""A store that is not available: flushes wait for it, nothing is lost, and the end of the server is not held up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from server.store import StoreUnavailable
from server.subscribers import rollups as module
from tests.server.test_rollups import NoLog, SlowStore, put, rollups


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)


async def eventually(done: Callable[[], bool]) -> None:
    for _ in range(500):
        if done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within 5 s")


async def test_a_flush_waits_for_the_store_and_then_writes_all_of_it() -> None:
    store, log = SlowStore(StoreUnavailable("the disk is full")), NoLog()
    engine, made = rollups(store, log)
    made.interval = 0.02
    store.go.set()
    put(engine, 1)
    running = asyncio.create_task(made.run())
    await asyncio.to_thread(store.begun.wait, 5)
    await asyncio.sleep(0.1)
    put(engine, 2)
    assert not running.done() and store.flushes == [] and log.trimmed == []
    assert [event.type for _, _, event in engine.frozen_events] == ["e1"], "queries still see what could not be written"
    store.fault = None
    await eventually(lambda: sum(len(flush.events) for flush in store.flushes) == 2)
    assert [event.type for flush in store.flushes for event in flush.events] == ["e1", "e2"]
    assert made.last_seconds < 0.1, "the wait is no cost, so the next flush comes when it is due"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_stays_away_does_not_hold_up_the_end() -> None:
    store, log = SlowStore(StoreUnavailable("the disk is full")), NoLog()
    engine, made = rollups(store, log)
    made.interval = 0.02
    store.go.set()
    put(engine, 1)
    running = asyncio.create_task(made.run())
    await asyncio.to_thread(store.begun.wait, 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(2):
            await made.flush()
