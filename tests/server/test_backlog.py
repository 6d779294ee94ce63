"""What waits for the store: rows pass, wait or are refused, and pass again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.model import Event
from server import backlog as module
from server.backlog import LOOK_SECONDS, SLOW_SECONDS, WAIT_BYTES, Backlog
from server.errors import ApiError

STALL, BOUND = 100.0, 4 * WAIT_BYTES


@dataclass
class Waiting:
    """The part of an engine that is looked at."""

    pending_bytes: int = 0
    events: list[Any] = field(default_factory=list)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def made() -> tuple[Waiting, Backlog]:
    engine = Waiting()
    return engine, Backlog(engine, STALL, BOUND)  # type: ignore[arg-type]


def refusal(backlog: Backlog) -> ApiError:
    with pytest.raises(ApiError) as found:
        asyncio.run(backlog.passage())
    assert found.value.code == "store_stalled" and found.value.status == 503 and found.value.retry_after
    return found.value


def test_rows_wait_for_a_store_that_is_at_work(clock: Clock) -> None:
    engine, backlog = made()
    assert backlog.passes()
    backlog.begun()
    engine.pending_bytes = WAIT_BYTES
    clock.pass_by(LOOK_SECONDS)
    assert not backlog.passes() and backlog.trouble == ""
    engine.pending_bytes = 0
    backlog.ended()
    assert backlog.passes()


def test_rows_pass_while_the_store_stands_still_and_are_refused_after_the_stall(clock: Clock) -> None:
    engine, backlog = made()
    backlog.begun()
    backlog.failed(OSError("the disk is full"))
    engine.pending_bytes = BOUND - 1
    clock.pass_by(STALL - 1)
    assert backlog.passes() and "99 s: the disk is full" in backlog.trouble
    clock.pass_by(1)
    error = refusal(backlog)
    assert "the disk is full" in error.message and "STORE_STALL" in error.message
    backlog.ended()
    engine.pending_bytes = 0
    assert backlog.passes() and backlog.trouble == ""


def test_a_flush_that_never_ends_is_a_store_that_stands_still(clock: Clock) -> None:
    engine, backlog = made()
    backlog.begun()
    engine.pending_bytes = WAIT_BYTES
    clock.pass_by(SLOW_SECONDS)
    assert not backlog.passes(), "until then it may only be slow"
    clock.pass_by(1)
    assert backlog.passes()
    clock.pass_by(STALL)
    refusal(backlog)


def test_memory_is_bounded_while_the_store_stands_still(clock: Clock) -> None:
    engine, backlog = made()
    body = b"x" * 1000
    engine.events = [(position, 0, Event(0, "e", None, None, body)) for position in range(100)]
    assert backlog.nbytes > 100_000
    backlog.begun()
    engine.events = []  # they are in the flush now
    backlog.failed(OSError("gone"))
    assert backlog.nbytes > 100_000
    engine.pending_bytes = BOUND - 50_000
    clock.pass_by(LOOK_SECONDS)
    assert "STORE_BACKLOG" in refusal(backlog).message
    backlog.ended()
    assert backlog.nbytes == engine.pending_bytes


async def test_who_waits_goes_on_when_the_flush_has_ended() -> None:
    engine, backlog = made()
    backlog.begun()
    engine.pending_bytes = WAIT_BYTES
    waiting = [asyncio.create_task(each) for each in (backlog.passage(), backlog.passage(), backlog.room())]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in waiting)
    engine.pending_bytes = 0
    backlog.ended()
    await asyncio.wait_for(asyncio.gather(*waiting), 10)


def test_where_another_process_writes_only_what_waits_here_counts(clock: Clock) -> None:
    engine = Waiting()
    backlog = Backlog(engine, STALL, BOUND, others=True)  # type: ignore[arg-type]
    engine.pending_bytes = BOUND - 1
    clock.pass_by(10 * STALL)
    assert backlog.passes() and backlog.trouble == "", "nobody here waits for a store"
    engine.pending_bytes = BOUND
    clock.pass_by(LOOK_SECONDS)
    assert "no engine writes to the store" in refusal(backlog).message
    engine.pending_bytes = 0
    clock.pass_by(LOOK_SECONDS)
    assert backlog.passes()


def test_events_that_another_process_has_taken_do_not_wait_any_more(clock: Clock) -> None:
    engine = Waiting()
    backlog = Backlog(engine, STALL, BOUND, others=True)  # type: ignore[arg-type]
    large = b"x" * (BOUND // 10)
    for _ in range(30):  # three bounds in all, and never one at a time
        for _ in range(5):
            engine.events.append((1, 0, Event(0, "e", None, None, large)))
            clock.pass_by(LOOK_SECONDS)
            assert backlog.passes()
        engine.events = []
