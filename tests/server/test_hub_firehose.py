"""The firehose: at once below the rate, the newest per series above it, an exact count of what was not sent, replay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from server.hub import Arrivals, Limits
from server.hub.firehose import REPLAY_ROWS, Lane, Replay
from tests.server.hub_support import World, ask, receive, running, silent


@pytest.fixture(scope="module")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    return uvloop.EventLoopPolicy()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(World()) as world:
        yield world


def arrivals(position: int, keys: list[Any], kind: str = "metric") -> Arrivals:
    return Arrivals(kind, position, len(keys), keys, lambda i: b"%d:%d" % (position, i))


def test_lane_keeps_the_newest_of_each_series_and_counts_the_rest() -> None:
    lane = Lane(3)
    assert lane.hold(arrivals(1, ["a", "b", "a", "a"])) == 2
    assert {key: row for key, (_, row) in lane.waiting.items()} == {"b": 1, "a": 3}
    assert lane.hold(arrivals(2, ["a", "c"])) == 1
    assert [(key, a.position) for key, (a, _) in lane.waiting.items()] == [("b", 1), ("a", 2), ("c", 2)]
    assert lane.hold(arrivals(3, ["d"])) == 1  # the one that waited longest goes
    assert list(lane.waiting) == ["a", "c", "d"]
    assert len(lane.release(10.0)) == 3
    assert lane.hold(arrivals(4, ["x", "y"])) == 0
    assert lane.release(10.9) == []
    assert len(lane.release(11.0)) == 2


def test_lane_looks_at_a_bounded_number_of_rows() -> None:
    lane = Lane(3)

    class Keys(list[int]):
        looked = 0

        def __getitem__(self, index: Any) -> Any:
            Keys.looked += 1
            return super().__getitem__(index)

    many = Arrivals("metric", 1, 100_000, Keys([7] * 100_000), lambda i: b"")
    assert lane.hold(many) == 99_999
    assert Keys.looked <= 12


def test_replay_knows_how_far_it_reaches() -> None:
    replay = Replay(limit=5)
    replay.floor = 10
    assert replay.after(10) == (True, [])
    assert replay.after(9) == (False, [])
    for position in range(11, 15):
        replay.add(arrivals(position, ["a", "b"]))
    complete, frames = replay.after(12)
    assert complete
    assert [frame[2:] for frame in frames] == [b"13:0", b"13:1", b"14:0", b"14:1"]
    complete, frames = replay.after(11)  # six rows, one too many
    assert not complete
    assert [frame[2:] for frame in frames] == [b"12:1", b"13:0", b"13:1", b"14:0", b"14:1"]
    replay.add(arrivals(15, ["e"], "event"))
    assert replay.after(13)[1][-1][2:] == b"15:0"


async def test_below_the_rate_every_row_comes_at_once(world: World) -> None:
    async with world.connect(query="") as socket:
        await receive(socket, "hello")
        for value in range(20):
            began = time.perf_counter()
            world.add("a", value)
            assert (await receive(socket))["metric"]["value"] == value
            assert time.perf_counter() - began < 0.5


async def test_above_the_rate_newest_rows_and_an_exact_count() -> None:
    async with running(World(Limits(firehose_rate=10))) as world, world.connect(query="") as socket:
        await receive(socket, "hello")
        total = 0
        began = time.monotonic()

        async def flood() -> None:
            nonlocal total
            while time.monotonic() < began + 1.5:
                world.add(f"m{total % 50}", total, rows=7)
                total += 7
                await asyncio.sleep(0.001)
            world.add("last", 42)
            total += 1

        flooding = asyncio.create_task(flood())
        times: list[float] = []
        dropped, drops, last = 0, 0, None
        async with asyncio.timeout(10):
            while not flooding.done() or len(times) + dropped < total:
                message = await receive(socket)
                if message["type"] == "dropped":
                    dropped += message["count"]
                    drops += 1
                else:
                    times.append(time.monotonic())
                    last = message["metric"]
        assert len(times) + dropped == total
        assert last is not None and (last["name"], last["value"]) == ("last", 42), "the newest wins"
        assert drops <= (times[-1] - began) + 2
        for index in range(len(times) - 10):
            assert times[index + 10] - times[index] > 0.9


async def test_configure_and_query_string(world: World) -> None:
    async with world.connect(query="?firehose=0") as quiet, world.connect(query="") as loud:
        assert (await receive(quiet))["firehose"] is False
        await receive(loud, "hello")
        world.add("a")
        assert (await receive(loud))["type"] == "new_metric"
        assert await silent(quiet)
        await ask(quiet, type="configure", firehose=True, max_rate=2)
        assert await receive(quiet) == {"type": "configured", "firehose": True, "max_rate": 2}
        world.add("b", rows=5)
        assert [(await receive(quiet))["type"] for _ in range(2)] == ["new_metric", "dropped"]
        await ask(loud, type="configure", firehose=False)
        await receive(loud, "configured")
        await ask(loud, type="configure", max_rate=10_000)
        assert await receive(loud, "configured") == {"type": "configured", "firehose": False, "max_rate": 20}
    assert world.hub.stats()["firehose_dropped"] == 4


async def test_since_replays_or_says_gap(world: World) -> None:
    offset = world.add("a", 1)
    world.add("a", 2)
    world.add("b", 3)
    async with world.connect(query=f"?since={offset}") as socket:
        assert (await receive(socket))["type"] == "hello"
        assert [(await receive(socket, "new_metric"))["metric"]["value"] for _ in range(2)] == [2, 3]
        world.add("c", 4)
        assert (await receive(socket))["metric"]["value"] == 4
    async with world.connect(query="?since=other-1") as socket:
        await receive(socket, "hello")
        assert await receive(socket) == {"type": "gap", "since": "other-1", "offset": "e1-4"}
        assert (await receive(socket))["metric"]["value"] == 1
    world.add("a", 5, rows=REPLAY_ROWS + 1)
    async with world.connect(query=f"?since={offset}") as socket:
        await receive(socket, "hello")
        assert (await receive(socket))["type"] == "gap"
        for row in range(REPLAY_ROWS):
            assert (await receive(socket))["metric"]["id"] == f"metric_e1-5_{row + 1}"
    async with world.connect(query="?since=nonsense") as socket:
        await receive(socket, "hello")
        assert (await receive(socket))["code"] == "bad_request"


async def test_after_a_restart_the_offset_goes_on_and_what_was_seen_before_is_no_gap() -> None:
    world = World()
    world.hub.begin(70)
    async with running(world):
        async with world.connect(query="?since=e1-70") as socket:
            assert (await receive(socket))["offset"] == "e1-70"
            assert await silent(socket)
        async with world.connect(query="?since=e1-69") as socket:
            await receive(socket, "hello")
            assert (await receive(socket))["type"] == "gap"


async def test_without_listeners_nothing_is_encoded(world: World) -> None:
    encoded = 0

    def encode(row: int) -> bytes:
        nonlocal encoded
        encoded += 1
        return b"{}"

    for position in range(1, 100):
        world.hub.firehose(Arrivals("metric", position, 1000, [1] * 1000, encode))
    assert encoded == 0
    async with world.connect(query="", max_queue=None) as one, world.connect(query="", max_queue=None) as two:
        await receive(one, "hello")
        await receive(two, "hello")
        for position in range(100, 200):
            world.hub.firehose(Arrivals("metric", position, 1000, list(range(1000)), encode))
        assert encoded <= 20
