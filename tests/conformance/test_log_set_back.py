"""A Redis that comes back with fewer entries than were read, under a log that lives on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.log import LogUnavailable
from server.log.redis_held import HELD_MS, Held
from server.log.redis_names import SEQUENCE_BITS, format_id
from server.log.redis_streams import RedisLog
from tests.conformance.log_support import read
from tests.support import RedisServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis server of the test's own."""
    own = RedisServer(tmp_path / "own")
    await asyncio.to_thread(own.start)
    yield own
    own.kill()


async def set_back(server: RedisServer, to: bytes) -> None:
    """Kills Redis and starts it again with an earlier append-only file."""
    server.kill()
    [file] = server.directory.glob("appendonlydir/*.incr.aof")
    file.write_bytes(to)
    await asyncio.to_thread(server.start)


def kept(server: RedisServer) -> bytes:
    """The append-only file as it is."""
    [file] = server.directory.glob("appendonlydir/*.incr.aof")
    return file.read_bytes()


async def test_what_was_read_is_put_back_in_its_place(server: RedisServer) -> None:
    log = await RedisLog.open(server.url)
    first = await log.append(b"0")
    before = kept(server)
    positions = [await log.append(b"%d" % i) for i in range(1, 200)]
    follower = log.follow(0)
    found = []
    while len(found) < 200:
        found += await anext(follower)
    await set_back(server, before)
    async with asyncio.timeout(20):
        last = await log.append(b"200", "mine")
        assert [(r.position, r.payload, r.attachment) for r in await anext(follower)] == [(last, b"200", "mine")]
        records = await read(log, 0, last)
    assert [r.position for r in records] == [first, *positions, last]
    assert [r.payload for r in records] == [b"%d" % i for i in range(201)]
    assert log.setbacks == 0
    await log.close()


async def test_what_was_appended_and_not_read_leaves_its_position_unused(server: RedisServer) -> None:
    log = await RedisLog.open(server.url)
    await log.append(b"0")
    before = kept(server)
    lost = await log.append(b"lost", "its own")
    # the clock of Redis goes back as well: the newest id of the stream is what keeps ids from being used twice
    ahead = f"{(lost >> SEQUENCE_BITS) + 3_600_000}-0"
    await log._client.execute_command("XADD", log._stream, ahead, "e", b"far ahead")
    far = await log.append(b"lost too")
    await set_back(server, before)
    async with asyncio.timeout(20):
        last = await log.append(b"1", "mine")
        assert last > far > lost
        records = await read(log, 0, last)
    assert [(r.payload, r.attachment) for r in records] == [(b"0", None), (b"1", "mine")]
    await log.close()


@pytest.mark.parametrize("all_of_it", [False, True])
async def test_what_is_not_held_any_more_is_said_and_never_used_again(
    server: RedisServer, all_of_it: bool, caplog: pytest.LogCaptureFixture
) -> None:
    log = await RedisLog.open(server.url)
    log._held = Held(max_bytes=10)
    empty = kept(server)
    await log.append(b"0")
    before = empty if all_of_it else kept(server)
    positions = [await log.append(b"%d" % i) for i in range(1, 100)]
    await read(log, 0, positions[-1])
    await set_back(server, before)
    async with asyncio.timeout(20):
        last = await log.append(b"last")
    assert last > positions[-1] and log.setbacks == 1 and "not held any more" in caplog.text
    gone = [] if all_of_it else [b"0"]
    assert [r.payload for r in await read(log, 0, last)] == [*gone, b"95", b"96", b"97", b"98", b"99", b"last"]
    await log.close()


async def test_a_start_after_a_loss_that_was_not_put_back_says_so_and_goes_on(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    log = await RedisLog.open(server.url)
    log._held = Held(max_bytes=2)
    await log.append(b"0")
    before = kept(server)
    positions = [await log.append(b"%d" % i) for i in range(1, 9)]
    await read(log, 0, positions[-1])
    log._held = Held(max_bytes=0)
    log._held.appended(positions[-1])
    await set_back(server, before)
    with contextlib.suppress(LogUnavailable):
        await log.last()  # over the old connection
    assert await log.last() == positions[-1], "the new one has noticed it"
    await log.close()
    again = await RedisLog.open(server.url)
    newest = await again.newest()
    assert newest < positions[0] and await again.last() == positions[-1]
    caplog.clear()
    await again.start_after(0)
    assert "Redis has lost the entries" in caplog.text
    assert [record.payload for record in await read(again, 0, newest)] == [b"0"]
    await again.close()


async def test_two_that_read_the_same_stream_put_it_back_once(server: RedisServer) -> None:
    one, two = await RedisLog.open(server.url), await RedisLog.open(server.url + "?consumer=two")
    await one.append(b"0")
    before = kept(server)
    positions = [await log.append(b"%d" % i) for i in range(1, 100) for log in (one, two)]
    for log in (one, two):
        await read(log, 0, positions[-1])
    await set_back(server, before)
    async with asyncio.timeout(20):
        last = max(await asyncio.gather(one.append(b"a"), two.append(b"b")))
    found = [r.position for r in await read(one, 0, last)]
    assert found[1:-2] == positions and found[-1] == last
    await one.close()
    await two.close()


def test_only_some_seconds_and_bytes_are_held() -> None:
    held = Held(max_bytes=100)
    for ms in range(0, 5 * HELD_MS, 1000):
        held.add(ms << SEQUENCE_BITS, b"x")
    entries, incomplete = held.after(0)
    assert len(entries) == HELD_MS // 1000 + 1 and incomplete
    assert held.after((4 * HELD_MS) << SEQUENCE_BITS) == (entries[2:], False), format_id(entries[0][0])
    held.add(held.newest + 1, b"x" * 200)
    assert held.after(0) == ([], True)


async def test_a_new_connection_in_the_midst_of_appends_finds_nothing_missing(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    log = await RedisLog.open(server.url)

    async def write() -> None:
        for number in range(300):
            await log.append(b"%d" % number)

    async def connect() -> None:
        while not writing.done():
            await read(log, 0, await log.last())  # each follower has a connection of its own

    async with asyncio.timeout(60):
        writing = asyncio.create_task(write())
        await asyncio.sleep(0.01)
        await asyncio.gather(writing, *(connect() for _ in range(3)))
    assert log.setbacks == 0 and not caplog.records
    await log.close()


async def test_a_transport_that_closes_under_a_command_is_a_lost_connection(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await RedisLog.open(server.url)
    execute, failures = log._client.execute_command, 2

    async def closed(*command: object) -> object:
        nonlocal failures
        if command[0] == "XADD" and failures:
            failures -= 1
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        return await execute(*command)

    monkeypatch.setattr(log._client, "execute_command", closed)
    async with asyncio.timeout(20):
        assert await log.append(b"1") and not failures
    await log.close()
