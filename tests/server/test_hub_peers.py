"""Peers that are slow, rude, dead or many: nobody else notices, memory stays bounded, frames stay whole."""

from __future__ import annotations

import asyncio
import json
import os
import time

import httpx
import pytest
import uvloop
import websockets
from websockets.frames import Close, Frame, Opcode

import server.protocols
from server.hub import WRITE_BOUND, Limits
from tests.server.hub_support import RawClient, World, ask, eventually, receive, running


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_client_that_never_reads_slows_nobody_and_gets_the_newest_when_it_reads_again() -> None:
    async with running(World()) as world:
        world.sums.padding = 2000
        stuck = await RawClient.connect(world)
        await stuck.say('{"type": "subscribe", "query_id": "query_a"}')
        await stuck.message("realtime_update")
        async with world.connect() as socket:
            await receive(socket, "hello")
            await ask(socket, type="subscribe", query_id="query_a")
            await receive(socket, "realtime_update")
            before, slowest = resident(), 0.0
            for number in range(600):
                began = time.perf_counter()
                world.add("a", 1, f"group{number % 5}")
                await receive(socket, "realtime_update")
                slowest = max(slowest, time.perf_counter() - began)
            assert slowest < 1.0
            [session] = [session for session in world.hub.sessions if session.client_id == "raw"]
            assert session.channel.blocked
            assert session.channel.transport.get_write_buffer_size() < 2 * WRITE_BOUND  # type: ignore[attr-defined]
            assert resident() - before < 10 * 2**20  # 600 updates of 10 KB would be 6 MB for this client alone
        offsets = []
        while True:
            update = await stuck.message("realtime_update")
            offsets.append(int(update["offset"].rpartition("-")[2]))
            if offsets[-1] == world.sums.position:
                break
        assert offsets == sorted(offsets)
        assert len(offsets) < 300, "older updates should have been skipped"
        assert not session.channel.blocked
        stuck.close()


async def test_a_client_that_asks_but_never_reads_is_not_listened_to() -> None:
    async with running(World(Limits(message_rate=1e6, message_bytes=10_000))) as world:
        stuck = await RawClient.connect(world)
        padded = Frame(Opcode.TEXT, b'{"type": "subscribe", "query_id": "' + b"x" * 4000 + b'"}').serialize(mask=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                for _ in range(50_000):
                    await stuck.send(padded)
        [session] = world.hub.sessions
        assert session.channel.blocked
        assert session.channel.transport.get_write_buffer_size() < 3 * WRITE_BOUND  # type: ignore[attr-defined]
        stuck.close()
        await eventually(lambda: not world.hub.sessions)


async def test_junk_frames_end_only_their_own_connection() -> None:
    async with running(World(Limits(message_bytes=1000))) as world, world.connect() as good:
        await receive(good, "hello")
        for junk, code in (
            (b"\xff\xff\xff\xff", 1002),  # reserved bits
            (b"\x83\x80\x00\x00\x00\x00", 1002),  # reserved opcode
            (b"\x81\x02hi", 1002),  # not masked
            (Frame(Opcode.CONT, b"x").serialize(mask=True), 1002),  # continues nothing
            (Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), 1007),  # no UTF-8
            (Frame(Opcode.PING, b"p").serialize(mask=True) + b"\x81\x02hi", 1002),
            (
                Frame(Opcode.TEXT, b"\xff").serialize(mask=True) + Frame(Opcode.PING, b"p").serialize(mask=True),
                1007,
            ),
            (Frame(Opcode.TEXT, b"x" * 5000).serialize(mask=True), 1009),  # beyond what is read at all
        ):
            rude = await RawClient.connect(world)
            await rude.message("hello")
            await rude.send(junk)
            said = []
            while True:
                opcode, payload = await rude.frame()
                if opcode == Opcode.CLOSE:
                    break
                said.append((opcode, payload))
            assert Close.parse(payload).code == code, junk
            if code == 1009:
                assert json.loads(said[0][1])["code"] == "message_too_large"
            with pytest.raises(EOFError):
                await rude.frame()
            rude.close()
        await eventually(lambda: len(world.hub.sessions) == 1)
        await ask(good, type="ping")
        assert (await receive(good))["type"] == "pong"


async def test_a_flood_of_messages_in_one_packet_ends_the_connection() -> None:
    async with running(World()) as world:
        rude = await RawClient.connect(world, receive_buffer=1 << 20)
        await rude.message("hello")
        await rude.send(Frame(Opcode.TEXT, b"{}").serialize(mask=True) * 20_000)
        while True:
            opcode, payload = await rude.frame()
            if opcode == Opcode.CLOSE:
                break
        assert Close.parse(payload).code == 1008
        rude.close()
        await eventually(lambda: not world.hub.sessions)


async def test_updates_around_a_close_leave_only_whole_frames() -> None:
    """The server goes on updating while clients say goodbye or vanish; nothing is written after a close frame."""
    async with running(World()) as world:
        world.sums.padding = 500
        clients = [await RawClient.connect(world, receive_buffer=1 << 20) for _ in range(20)]
        for client in clients:
            await client.say('{"type": "subscribe", "query_id": "query_a"}')
            await client.message("realtime_update")

        async def feed() -> None:
            while True:
                world.add("a")
                await asyncio.sleep(0.002)

        feeding = asyncio.create_task(feed())
        await asyncio.sleep(0.05)
        for number, client in enumerate(clients):
            if number % 2:
                client.socket.close()
            else:
                await client.send(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
        for client in clients[::2]:
            while True:
                opcode, payload = await client.frame()
                if opcode == Opcode.CLOSE:
                    break
                json.loads(payload)
            assert payload == b"\x03\xe8"
            assert client.buffer == b""
            with pytest.raises(EOFError):
                await client.frame()
            client.close()
        await eventually(lambda: not world.hub.sessions)
        feeding.cancel()
        assert world.live.stats()["live_queries"] == 0


async def test_heartbeat_ends_the_dead_and_keeps_the_living() -> None:
    async with running(World(Limits(heartbeat=0.4))) as world:
        dead = await RawClient.connect(world)
        async with world.connect(ping_interval=None) as living:
            await eventually(lambda: len(world.hub.sessions) == 1, timeout=3)
            with pytest.raises((EOFError, ConnectionResetError)):
                pings = 0
                while True:
                    opcode, _ = await dead.frame()
                    pings += opcode == Opcode.PING
            assert pings >= 2
            await asyncio.sleep(0.8)
            await ask(living, type="ping")
            await receive(living, "pong")
        dead.close()


async def test_a_slow_reader_is_not_taken_for_dead() -> None:
    async with running(World(Limits(heartbeat=0.3))) as world:
        world.sums.padding = 20_000
        slow = await RawClient.connect(world)
        await slow.say('{"type": "subscribe", "query_id": "query_a"}')
        until = time.monotonic() + 2
        while time.monotonic() < until:  # it reads some, and never answers a ping
            world.add("a", 1, f"g{world.sums.position % 10}")
            slow.buffer = b""
            assert await slow.read()
            await asyncio.sleep(0.005)
        assert len(world.hub.sessions) == 1
        slow.close()


async def test_drain_spreads_hints_and_refuses_newcomers() -> None:
    async with running(World()) as world:
        stuck = await RawClient.connect(world)
        await eventually(lambda: len(world.hub.sessions) == 1)
        sockets = [await world.connect(f"c{number}") for number in range(20)]
        for socket in sockets:
            await receive(socket, "hello")

        async def watch(socket: websockets.ClientConnection) -> tuple[float, int, int | None]:
            hint = await receive(socket, "reconnect")
            await socket.wait_closed()
            return time.monotonic(), hint["after_ms"], socket.close_code

        watching = [asyncio.create_task(watch(socket)) for socket in sockets]
        began = time.monotonic()
        draining = asyncio.create_task(world.hub.drain(0.5))
        await asyncio.sleep(0.05)
        with pytest.raises(websockets.InvalidStatus) as refused:
            await world.connect("late").__aenter__()
        assert json.loads(refused.value.response.body)["detail"]["code"] == "shutting_down"
        await draining
        assert time.monotonic() - began < 2.5
        ends = await asyncio.gather(*watching)
        assert {code for _, _, code in ends} == {1001}
        assert len({after for _, after, _ in ends}) > 5
        times = [when for when, _, _ in ends]
        assert max(times) - min(times) > 0.2
        await eventually(lambda: not world.hub.sessions)
        stuck.close()


async def test_a_thousand_subscribers_on_one_query() -> None:
    async with running(World(Limits(connections=1000))) as world:
        raws = []
        for number in range(1000):
            raws.append(await RawClient.connect(world, f"/ws/r{number}?firehose=0"))
        for raw in raws:
            await raw.say('{"type": "subscribe", "query": {"query_string": "metric:a"}}')
        for raw in raws:
            await raw.message("subscription_created")
            await raw.message("realtime_update")
        asked = world.sums.asked
        offset = world.add("a", 7)
        ids = set()
        for raw in raws:
            update = await raw.message("realtime_update")
            assert update["offset"] == offset
            assert update["data"][0]["value"] == 7
            ids.add(update["subscription_id"])
        assert len(ids) == 1000
        assert world.sums.asked == asked + 1, "one evaluation for all"
        for raw in raws:
            raw.close()
        await eventually(lambda: not world.hub.sessions, timeout=10)


async def test_slow_headers_and_too_many_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.protocols, "HEADER_TIMEOUT", 0.6)
    async with running(World()) as world:

        async def open_raw() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", world.port)

        reader, writer = await open_raw()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(4):
            await asyncio.sleep(0.05)
            writer.write(b"X: y\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]["code"] == "timeout"
        writer.close()

        silent_reader, silent_writer = await open_raw()
        assert (await silent_reader.read()).startswith(b"HTTP/1.1 408")
        silent_writer.close()

        reader, writer = await open_raw()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 70_000)
        assert (await reader.read()).startswith(b"HTTP/1.1 431")
        writer.close()

        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{world.port}") as http:
            assert (await http.get("/nothing")).status_code == 404
            await asyncio.sleep(0.8)  # idle between requests is not slow headers
            assert (await http.get("/nothing")).status_code == 404

        reader, writer = await open_raw()
        writer.write(
            b"GET /ws/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX: "
            + b"y" * 20_000
            + b"\r\n\r\n"
        )
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 400")
        writer.close()
        async with world.connect() as socket:
            await receive(socket, "hello")
            await asyncio.sleep(0.5)  # a WebSocket has no header deadline
            await ask(socket, type="ping")
            await receive(socket, "pong")
