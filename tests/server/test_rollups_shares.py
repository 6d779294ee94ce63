"""Engines on one log that share a flush: the owner waits for what can come, and rolls up itself what does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.engine import Engine, Options
from engine.flushes import OWNER, SHARE
from engine.levels import HOUR, MINUTE, PACKED, Retention
from engine.model import GAUGE, Applied, Entry, Mark, pack_series_key
from server.backlog import Backlog
from server.store import StoreUnavailable
from server.store.dynamodb.store import DynamoStore
from server.subscribers import rollups_owner
from server.subscribers.rollups_owner import OwnersRollups
from server.subscribers.rollups_shares import Shares
from server.wire.blocks import Block
from tests.dynamodb_memory import MemoryClient, Tables
from tests.engine_support import entry

T0 = 1_800_000_000_000 // HOUR * HOUR
NAMES = [f"metric_{number}" for number in range(40)]
FENCE = 5


class NoLog:
    """The part of a log that a flush uses."""

    async def sync(self) -> None: ...

    async def trim(self, upto: int) -> None: ...

    def size(self) -> int:
        return 0


class Process:
    """An engine on the log."""

    def __init__(self, name: str, log: SharedLog, tables: Tables) -> None:
        self.name = name
        self.engine = Engine(Options(lateness=0, retention=Retention(patient=True), shared=True))
        self.client = MemoryClient(tables)
        self.store = DynamoStore(self.client, "0")
        self.shares = Shares(self.engine, self.store, log.submit, name, lambda: self.is_heard)
        self.is_running = self.is_heard = True


class SharedLog:
    """Entries, which all processes apply at once."""

    def __init__(self) -> None:
        self.tables: Tables = {}
        self.processes = {name: Process(name, self, self.tables) for name in ("a", "b")}
        self.owner = self.processes["a"]
        self.rollups = OwnersRollups(
            FENCE, self.submit, self.owner.engine, self.owner.store, NoLog(), Backlog(self.owner.engine, 3600, 1 << 30),
            interval=60, max_events=1 << 30, event_retention=HOUR, log_bytes=1 << 30, flushed=lambda blocks: None,
        )  # fmt: skip
        self.position = 0
        self.marks: list[Mark] = []

    async def submit(self, given: Entry) -> Applied:
        self.position += 1
        self.marks += given.marks
        applied = None
        for process in self.processes.values():
            applied, delivery = process.engine.apply(given, self.position)
            if process is self.owner:
                self.rollups.applied(delivery)
            if process.is_running:
                process.shares.applied(delivery)
        assert applied is not None
        return applied

    async def deal(self, *engines: str) -> None:
        mark = self.owner.engine.terms.deal(engines, [0] * 64, FENCE)
        assert mark is not None
        await self.submit(Entry(self.owner.engine.stamp, marks=[mark]))

    async def hour(self, number: int) -> None:
        """A value of each metric each minute of an hour, and one of the hour after it."""
        for minute in range(61):
            stamp = T0 + number * HOUR + minute * MINUTE
            rows = [(pack_series_key(name, GAUGE), stamp - 1 if minute else stamp, 1.0) for name in NAMES]
            await self.submit(entry(stamp, rows))

    def stored(self) -> Counter[str]:
        """Samples of each metric, counted in packed blocks and in those of minutes."""
        store, found = DynamoStore(MemoryClient(self.tables), "0"), Counter[str]()
        levels = []
        for level in (PACKED, 1):
            blocks = store.read_blocks(store.list_blocks(level, 0, 1 << 60))
            levels.append(Counter[str]())
            for key, (generation, data) in blocks.items():
                levels[-1][key.name] += int(Block(data, generation).panes({"count"}).state["count"].sum())
        found, folded = levels
        assert found == folded
        return found

    def said(self) -> list[Mark]:
        """The marks of shares."""
        return [mark for mark in self.marks if mark.kind == SHARE]


@asynccontextmanager
async def together(monkeypatch: pytest.MonkeyPatch, **patched: Any) -> AsyncIterator[SharedLog]:
    """Two engines that hold half of the partitions each, with an hour of samples."""
    for name, value in {"SHARED_NAMES": 1, **patched}.items():
        monkeypatch.setattr(rollups_owner, name, value)
    log = SharedLog()
    await log.submit(Entry(T0, marks=[Mark(OWNER, 0, FENCE, (0, 0, 0, 0))]))
    await log.deal("a", "b")
    await log.hour(0)
    running = [asyncio.create_task(process.shares.run()) for process in log.processes.values()]
    try:
        yield log
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def expected(hours: int) -> Counter[str]:
    """A value of the first moment and one just before each minute is over; the last one's hour is over, too."""
    return Counter(dict.fromkeys(NAMES, 61 * hours))


async def test_all_write_their_share_and_together_they_have_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    async with together(monkeypatch) as log:
        await log.rollups.flush()
        assert log.stored() == expected(1) and len(log.said()) == 2
        await log.hour(1)
        await log.rollups.flush()
        assert log.stored() == expected(2) and len(log.said()) == 4
        assert all(process.engine.balanced and not process.engine.frozen for process in log.processes.values())


async def test_small_flushes_are_the_owner_s(monkeypatch: pytest.MonkeyPatch) -> None:
    async with together(monkeypatch, SHARED_NAMES=1_000) as log:
        await log.rollups.flush()
        assert log.stored() == expected(1) and not log.said()


async def test_of_one_that_is_replaced_meanwhile_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with together(monkeypatch) as log:
        log.processes["b"].is_running = False
        flush = asyncio.create_task(log.rollups.flush())
        await asyncio.sleep(0.1)
        assert not flush.done(), "it may come yet"
        await log.deal("a")
        await asyncio.wait_for(flush, 10)
        assert log.stored() == expected(1)


async def test_one_that_gets_a_part_of_another_s_makes_its_share_void(monkeypatch: pytest.MonkeyPatch) -> None:
    async with together(monkeypatch) as log:
        log.processes["b"].is_running = False
        flush = asyncio.create_task(log.rollups.flush())
        await asyncio.sleep(0.1)
        await log.deal("a", "b", "c")
        await asyncio.wait_for(flush, 10)
        assert log.stored() == expected(1)


async def test_who_cannot_write_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with together(monkeypatch) as log:
        client = log.processes["b"].client
        client.left, client.fault = 5, StoreUnavailable("not now")
        await asyncio.wait_for(log.rollups.flush(), 10)
        assert log.stored() == expected(1) and len(log.said()) == 2


async def test_who_was_not_heard_for_a_moment_and_keeps_its_part_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with together(monkeypatch) as log:
        log.processes["b"].is_heard = False
        await asyncio.wait_for(log.rollups.flush(), 10)
        assert log.stored() == expected(1) and len(log.said()) == 2


async def test_who_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with together(monkeypatch, SHARE_SECONDS=0.1) as log:
        log.processes["b"].is_running = False
        await asyncio.wait_for(log.rollups.flush(), 10)
        assert log.stored() == expected(1)


async def test_a_share_of_a_flush_that_was_given_up_is_not_taken_for_one_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with together(monkeypatch) as log:
        log.processes["b"].is_running = False
        flush = asyncio.create_task(log.rollups.flush())
        await asyncio.sleep(0.1)
        await log.submit(Entry(T0, marks=[Mark(SHARE, 1, text='["b", [7, {"1": [0]}, 9]]')]))
        await asyncio.sleep(0.05)
        assert not flush.done()
        await log.deal("a")
        await asyncio.wait_for(flush, 10)
        assert log.stored() == expected(1)
