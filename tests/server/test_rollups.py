"""A flush that has begun reaches the store, whoever is cancelled; after one that failed nothing is written."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from engine.engine import Engine
from engine.model import Entry, Event
from server.backlog import Backlog
from server.store import Flush, StoreUnavailable
from server.subscribers.rollups import Rollups


class SlowStore:
    """A store whose writes wait until they are let go."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.flushes: list[Flush] = []
        self.go, self.begun = threading.Event(), threading.Event()
        self.fault = fault

    def write(self, flush: Flush) -> None:
        self.begun.set()
        assert self.go.wait(10)
        if self.fault is not None:
            raise self.fault
        self.flushes.append(flush)

    def read_blocks(self, keys: object) -> dict[Any, Any]:
        return {}

    def list_blocks(self, *place: object) -> list[Any]:
        return []


class NoLog:
    """The part of a log that a flush uses."""

    def __init__(self) -> None:
        self.trimmed: list[int] = []

    async def sync(self) -> None:
        await asyncio.sleep(0)

    async def trim(self, upto: int) -> None:
        self.trimmed.append(upto)


def rollups(store: SlowStore, log: NoLog) -> tuple[Engine, Rollups]:
    engine = Engine()
    made = Rollups(
        engine,
        store,
        log,  # type: ignore[arg-type]
        Backlog(engine, stall=3600, bound=1 << 30),
        interval=60,
        max_events=100,
        event_retention=86_400_000,
        log_bytes=1 << 30,
        flushed=lambda blocks: None,
    )
    return engine, made


def put(engine: Engine, position: int) -> None:
    engine.apply(
        Entry(1_800_000_000_000 + position, events=[Event(1_800_000_000_000, f"e{position}", None, None, b"{}")]),
        position,
    )


async def test_a_flush_goes_on_when_its_caller_is_cancelled_and_the_next_one_waits_for_it() -> None:
    store, log = SlowStore(), NoLog()
    engine, made = rollups(store, log)
    put(engine, 1)
    caller = asyncio.create_task(made.flush())
    await asyncio.to_thread(store.begun.wait, 10)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    put(engine, 2)
    last = asyncio.create_task(made.flush())
    await asyncio.sleep(0.05)
    assert store.flushes == []
    store.go.set()
    await last
    assert [(flush.generation, [event.type for event in flush.events]) for flush in store.flushes] == [
        (1, ["e1"]),
        (2, ["e2"]),
    ]


async def test_after_a_flush_that_failed_nothing_is_written_or_trimmed() -> None:
    store, log = SlowStore(StoreUnavailable("the disk is full")), NoLog()
    engine, made = rollups(store, log)
    put(engine, 1)
    store.go.set()
    with pytest.raises(StoreUnavailable):
        await made.flush()
    store.fault = None  # there is room again, but what the flush had taken is no longer in the engine
    with pytest.raises(StoreUnavailable):
        await made.flush()
    assert (store.flushes, log.trimmed) == ([], [])
