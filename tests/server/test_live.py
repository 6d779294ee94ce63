"""Live queries: when they are evaluated, what each subscriber gets. The hub is replaced by a list."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from engine.errors import TooExpensive
from server.errors import ApiError
from server.hub import Session, Subscription
from server.subscribers.live import Live
from tests.server.hub_support import Sums, eventually


@pytest.fixture(scope="module")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    return uvloop.EventLoopPolicy()


class Wire:
    """A channel that keeps what was written."""

    def __init__(self) -> None:
        self.open = True
        self.blocked = False
        self.heard = True
        self.on_drain: Any = None
        self.written = b""

    def write(self, parts: list[bytes], size: int) -> None:
        assert size == sum(map(len, parts))
        self.written += b"".join(parts)

    def ping(self) -> None: ...

    async def drained(self) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...


class Reader:
    """One subscriber."""

    def __init__(self, live: Live, query_id: str | None = "query_a", delta: bool = False) -> None:
        self.wire = Wire()
        self.session = Session(self.wire, "c", self._queue, 50, 100)
        self.subscription = Subscription(self.session, f"sub_{id(self):016x}", query_id, delta)
        self.live = live

    def _queue(self, session: Session) -> None:
        session.queued = True
        asyncio.get_running_loop().call_soon(session.flush)

    def subscribe(self, query: dict[str, Any] | None = None, since: str | None = None) -> Reader:
        self.live.subscribe(self.subscription, query, since)
        return self

    @property
    def messages(self) -> list[dict[str, Any]]:
        found, data = [], self.wire.written
        while data:
            length, at = data[1], 2
            if length == 126:
                length, at = int.from_bytes(data[2:4], "big"), 4
            found.append(json.loads(data[at : at + length]))
            data = data[at + length :]
        return found

    async def next(self, count: int) -> dict[str, Any]:
        await eventually(lambda: len(self.messages) >= count)
        assert len(self.messages) == count
        return self.messages[-1]


class Stream:
    def __init__(self) -> None:
        self.sums = Sums()
        self.live = Live(self.sums)

    def add(self, name: str = "a", value: float = 1, group: str = "default") -> str:
        self.sums.position += 1
        of_name = self.sums.sums.setdefault(name, {})
        of_name[group] = of_name.get(group, 0) + value
        self.live.applied({("metric", name)}, self.sums.position, self.sums.now)
        return self.sums.offset(self.sums.position)

    def tick(self, ms: int) -> None:
        self.sums.position += 1
        self.sums.now += ms
        self.live.applied(set(), self.sums.position, self.sums.now)


@pytest.fixture
async def stream() -> AsyncIterator[Stream]:
    stream = Stream()
    yield stream
    await stream.live.close()


async def rest(seconds: float = 0.05) -> None:
    await asyncio.sleep(seconds)


async def test_first_answer_then_one_for_each_change_of_its_data(stream: Stream) -> None:
    reader = Reader(stream.live).subscribe()
    assert (await reader.next(1))["data"] == []
    offset = stream.add()
    update = await reader.next(2)
    assert (update["offset"], update["data"][0]["value"]) == (offset, 1)
    stream.add("b")
    stream.tick(1000)
    await rest()
    assert len(reader.messages) == 2
    offset = stream.add("a", 0)  # an entry that changes nothing visible still moves the offset on
    assert (await reader.next(3))["offset"] == offset


async def test_evaluated_in_the_next_turns_and_not_more_often_than_every_5_ms(stream: Stream) -> None:
    reader = Reader(stream.live).subscribe()
    await reader.next(1)
    await rest()
    stream.add()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(reader.messages) == 2, "no timer between the entry and the evaluation"
    asked, began = stream.sums.asked, time.monotonic()
    for _ in range(100):
        stream.add()
        await asyncio.sleep(0.001)
    elapsed = time.monotonic() - began
    await eventually(lambda: reader.messages[-1]["data"][0]["value"] == 101)
    assert stream.sums.asked - asked <= elapsed / 0.004 + 3


async def test_a_costly_query_takes_a_tenth_of_the_time_and_holds_up_no_other(stream: Stream) -> None:
    stream.sums.cost = 0.03
    slow = Reader(stream.live).subscribe()
    await slow.next(1)
    stream.sums.cost = 0
    quick = Reader(stream.live, "query_b").subscribe()
    await quick.next(1)
    asked = stream.sums.asked
    began = time.monotonic()
    while time.monotonic() < began + 0.25:
        stream.add("a")
        await asyncio.sleep(0.002)
    assert len(slow.messages) == 1
    assert stream.sums.asked == asked
    stream.add("b")
    await quick.next(2)
    await slow.next(2)
    assert time.monotonic() - began > 0.28


async def test_a_crowd_is_served_every_25_ms(stream: Stream) -> None:
    readers = [Reader(stream.live).subscribe() for _ in range(101)]
    await readers[-1].next(1)
    asked, began = stream.sums.asked, time.monotonic()
    while time.monotonic() < began + 0.3:
        stream.add()
        await asyncio.sleep(0.002)
    evaluated = stream.sums.asked - asked
    assert evaluated <= (time.monotonic() - began) / 0.024 + 2
    await eventually(lambda: all(r.messages[-1]["data"][0]["value"] == stream.sums.position for r in readers))
    assert {len(reader.messages) for reader in readers} == {len(readers[0].messages)}


async def test_an_entry_during_an_evaluation_is_not_forgotten(stream: Stream) -> None:
    reader = Reader(stream.live).subscribe()
    await reader.next(1)
    stream.sums.delay = 0.05
    stream.add()
    await rest(0.02)
    stream.add()
    await eventually(lambda: bool(reader.messages[-1]["data"]) and reader.messages[-1]["data"][0]["value"] == 2)


async def test_a_moving_range_is_evaluated_when_it_slides_and_sent_only_when_it_differs(stream: Stream) -> None:
    still = Reader(stream.live, None).subscribe({"query_string": "metric:a", "slide": 5000})
    await still.next(1)
    asked = stream.sums.asked
    stream.tick(1000)
    await rest(0.02)
    assert stream.sums.asked == asked
    stream.tick(5000)
    await eventually(lambda: stream.sums.asked == asked + 1)
    await rest(0.02)
    assert len(still.messages) == 1
    stream.sums.window = True
    stream.tick(5000)
    assert (await still.next(2))["data"][0]["group"] == "slide"


async def test_a_calendar_changes_a_result_at_the_moments_its_answers_name(stream: Stream) -> None:
    start = stream.sums.now
    stream.sums.edges = [start + 3000, start + 8000, start + 9000]
    reader = Reader(stream.live, None).subscribe({"query_string": "metric:a"})
    assert (await reader.next(1))["data"][-1] == {"group": "edges", "value": 0}
    asked = stream.sums.asked
    for _ in range(5):
        stream.tick(599)
    await rest(0.02)
    assert stream.sums.asked == asked, "the edge is 5 ms away"
    stream.tick(5)
    assert (await reader.next(2))["data"][-1]["value"] == 1
    stream.tick(6500)  # over two of them at once
    assert (await reader.next(3))["data"][-1]["value"] == 3
    asked = stream.sums.asked
    stream.tick(86_400_000)
    await rest(0.02)
    assert stream.sums.asked == asked, "no more edges are to come"


async def test_one_evaluation_for_equal_queries(stream: Stream) -> None:
    readers = [Reader(stream.live, None).subscribe({"query_string": "metric:a"}) for _ in range(10)]
    for reader in readers:
        await reader.next(1)
    assert stream.sums.asked == 1
    late = Reader(stream.live, None).subscribe({"query_string": "metric:a"})
    await late.next(1)
    assert stream.sums.asked == 1
    assert stream.live.stats()["live_queries"] == 1


async def test_a_failing_query_says_so_once_and_recovers(stream: Stream) -> None:
    reader = Reader(stream.live).subscribe()
    await reader.next(1)
    stream.sums.failure = TooExpensive("30,000 series; at most 20,000")
    stream.add()
    error = await reader.next(2)
    assert error == {
        "type": "error",
        "subscription_id": reader.subscription.id,
        "query_id": "query_a",
        "code": "query_too_expensive",
        "message": "30,000 series; at most 20,000",
    }
    second = Reader(stream.live).subscribe()
    await eventually(lambda: len(second.messages) == 1, timeout=3)
    assert second.messages[0]["type"] == "error"
    assert len(reader.messages) == 2
    stream.sums.failure = ZeroDivisionError("a slip")
    await eventually(lambda: len(reader.messages) == 3, timeout=3)
    assert reader.messages[-1]["code"] == "internal"
    stream.sums.failure = None
    await eventually(lambda: len(reader.messages) == 4, timeout=3)
    assert reader.messages[-1]["data"][0]["value"] == 1


async def test_since_gets_nothing_if_unchanged_else_one_full_update(stream: Stream) -> None:
    first = Reader(stream.live).subscribe()
    await first.next(1)
    seen = stream.add()
    await first.next(2)
    stream.live.unsubscribe(first.subscription)
    stream.add("b")
    stream.tick(1000)
    asked = stream.sums.asked
    back = Reader(stream.live).subscribe(since=seen)
    await rest()
    assert back.messages == []
    assert stream.sums.asked == asked, "coming back costs no evaluation"
    stream.add()
    assert (await back.next(1))["data"][0]["value"] == 2
    stream.live.unsubscribe(back.subscription)
    stream.add()
    again = Reader(stream.live).subscribe(since=seen)
    assert (await again.next(1))["data"][0]["value"] == 3
    for other in ("other-5", "e1-999999"):  # another log's life, and the future
        assert (await Reader(stream.live).subscribe(since=other).next(1))["data"]
    with pytest.raises(ApiError):
        Reader(stream.live).subscribe(since="x")


async def test_deltas_rebuild_the_full_result(stream: Stream) -> None:
    for group in "abc":
        stream.add("a", 1, group)
    full, delta = Reader(stream.live).subscribe(), Reader(stream.live, delta=True).subscribe()
    assert "delta" not in await delta.next(1)
    stream.add("a", 1, "b")
    await delta.next(2)  # the first after a full one has nothing to compare with yet, or is a delta: both must hold
    stream.add("a", 1, "c")
    update = await delta.next(3)
    assert update["delta"] is True
    assert [row["group"] for row in update["data"]] == ["c"]
    assert update["removed"] == []
    del stream.sums.sums["a"]["a"]
    stream.add("a", 1, "d")
    update = await delta.next(4)
    assert [row["group"] for row in update["data"]] == ["d"]
    assert update["removed"] == [["a", None]]
    # while its connection is blocked it misses some, so it gets the whole result next
    delta.wire.blocked = True
    for group in "bcd":
        stream.add("a", 1, group)
        await rest(0.02)
    delta.wire.blocked = False
    delta.wire.on_drain()
    update = await delta.next(5)
    assert "delta" not in update
    await eventually(lambda: update["data"] == full.messages[-1]["data"])
    rows = {row["group"]: row for row in update["data"]}
    stream.add("a", 5, "d")
    update = await delta.next(6)
    rows.update({row["group"]: row for row in update["data"]})
    await eventually(lambda: list(rows.values()) == full.messages[-1]["data"])


async def test_a_blocked_connection_gets_only_the_newest(stream: Stream) -> None:
    reader = Reader(stream.live).subscribe()
    await reader.next(1)
    reader.wire.blocked = True
    for _ in range(10):
        stream.add()
        await rest(0.01)
    assert len(reader.messages) == 1
    reader.wire.blocked = False
    reader.wire.on_drain()
    assert (await reader.next(2))["data"][0]["value"] == 10


async def test_idle_queries_go_after_a_while_and_deleted_ones_at_once() -> None:
    stream = Stream()
    stream.live = Live(stream.sums, linger=0.05)
    reader, other = Reader(stream.live).subscribe(), Reader(stream.live, "query_b").subscribe()
    await reader.next(1)
    await other.next(1)
    stream.live.unsubscribe(reader.subscription)
    asked = stream.sums.asked
    stream.add()
    await rest()
    assert stream.sums.asked == asked, "nobody asks, nothing is evaluated"
    await eventually(lambda: len(stream.live._queries) == 1)
    del stream.sums.queries["query_b"]
    stream.live.deleted("query_b")
    assert (await other.next(2))["code"] == "not_found"
    assert not stream.live._queries and not stream.live._by_name and not stream.live._by_subscription
    with pytest.raises(ApiError):
        Reader(stream.live, "query_b").subscribe()
    await stream.live.close()


async def test_new_data_go_before_ranges_that_only_move(stream: Stream) -> None:
    asked, moved = list[str](), False
    answer = stream.sums.answer

    async def noted(query: Any, at: int | None = None) -> Any:
        asked.append(query.name)
        if len(asked) == 5 and moved:
            stream.add("fresh")
        return await answer(query, at)

    stream.sums.answer = noted  # type: ignore[method-assign]
    names = [f"still_{number}" for number in range(20)] + ["fresh"]
    bodies = [{"query_string": f"metric:{name}", "slide": 5000} for name in names]
    readers = [Reader(stream.live, None).subscribe(body) for body in bodies]
    for reader in readers:
        await reader.next(1)
    await rest()
    asked.clear()
    moved = True
    stream.tick(5000)
    await eventually(lambda: set(asked) == set(names))  # nobody is forgotten
    assert "fresh" in asked[:6], asked
