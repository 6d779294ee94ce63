"""The log on Redis against its server: kills, restarts, memory, other consumers, what it promises."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.log import LogDamaged, LogFull, LogUnavailable
from server.log.redis_names import durability, format_id, parse_id, split_url
from server.log.redis_streams import RedisLog
from tests.conformance.log_support import held, read
from tests.support import RedisServer, wait_until

END = 1 << 40


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis server of the test's own, appendfsync always."""
    own = RedisServer(tmp_path / "own")
    await asyncio.to_thread(own.start)
    yield own
    own.kill()


async def test_a_killed_redis_loses_nothing_acknowledged_and_the_follower_goes_on(server: RedisServer) -> None:
    log = await RedisLog.open(server.url)
    acknowledged: dict[int, int] = {}
    found: list[tuple[int, int, object]] = []
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            batch = range(number, number + 4)
            positions = await asyncio.gather(*(log.append(b"%d" % n, n) for n in batch))
            acknowledged.update(zip(batch, positions, strict=True))
            number += 4

    async def follow() -> None:
        async with contextlib.aclosing(log.follow(0)) as batches:
            async for batch in batches:
                found.extend((int(r.payload), r.position, r.attachment) for r in batch)
                if found[-1][0] == END:
                    return

    async def more() -> None:
        before = len(acknowledged)
        await asyncio.to_thread(wait_until, lambda: len(acknowledged) >= before + 50)

    async with asyncio.timeout(30):
        tasks = [asyncio.create_task(write()), asyncio.create_task(follow())]
        for _ in range(3):
            await more()
            server.kill()
            await asyncio.sleep(0.1)
            await asyncio.to_thread(server.start)
        await more()
        stop.set()
        await tasks[0]
        await log.append(b"%d" % END)
        await tasks[1]
    await log.close()

    places = {position: number for number, position, _ in found}
    assert all(places[position] == number for number, position in acknowledged.items())
    newest, fresh = -1, []
    for number, _, attachment in found[:-1]:  # repeats are skipped as the reader of (epoch, sequence) does
        if number > newest:
            fresh.append((number, attachment))
            newest = number
    assert fresh == [(n, n) for n in range(len(fresh))], "in order, none lost, each attachment with its first copy"


async def test_appends_are_refused_after_some_seconds_of_silence_and_taken_again(server: RedisServer) -> None:
    log = await RedisLog.open(server.url, patience=0.3)
    await log.append(b"1")
    server.kill()
    for _ in range(2):
        refused = await asyncio.gather(*(log.append(b"lost", i) for i in range(10)), return_exceptions=True)
        assert all(isinstance(error, LogUnavailable) and "does not answer" in str(error) for error in refused)
    with pytest.raises(LogUnavailable):
        await log.trim(1)
    with pytest.raises(LogUnavailable):
        await log.last()
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(5):
        last = await log.append(b"2", "mine")
    assert [(r.payload, r.attachment) for r in await read(log, 0, last)] == [(b"1", None), (b"2", "mine")]
    await log.close()


async def test_a_stream_that_was_replaced_is_noticed(server: RedisServer) -> None:
    log = await RedisLog.open(server.url, patience=2)
    await log.append(b"1")
    follower = log.follow(0)
    assert (await anext(follower))[0].payload == b"1"
    server.kill()
    shutil.rmtree(server.directory)
    await asyncio.to_thread(server.start)
    with pytest.raises(LogDamaged, match="another stream"):
        async with asyncio.timeout(5):
            await anext(follower)
    with pytest.raises(LogUnavailable, match="another stream"):
        await log.append(b"2")
    await log.close()


async def test_memory_running_out_is_a_full_log(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "small", "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
    await asyncio.to_thread(server.start)
    try:
        log = await RedisLog.open(server.url)
        kept: list[bytes] = []
        with pytest.raises(LogFull, match="out of memory"):
            for i in range(100):
                kept.append(b"%d" % (i % 10) * 100_000)
                last = await log.append(kept[-1])
        assert await held(log) == kept[:-1] and len(kept) > 5
        await log.close()
        log = await RedisLog.open(server.url)  # a start needs no memory, nor does trimming
        await log.trim(last)
        await log.append(b"again")
        await log.close()
    finally:
        server.kill()


async def test_trimming_waits_for_the_slowest_consumer(redis_url: str) -> None:
    engine, archive = await RedisLog.open(redis_url), await RedisLog.open(redis_url + "&consumer=archive")
    positions = [await engine.append(b"%d" % i) for i in range(20)]
    await engine.trim(positions[15])
    assert await engine.first() == positions[0], "the other consumer has not read anything"
    await archive.trim(positions[4])
    assert await engine.first() == positions[5]
    await archive.trim(positions[19])
    assert await engine.first() == positions[16]
    await engine.close()
    await archive.close()


async def test_attachments_find_their_records_among_those_of_other_writers(redis_url: str) -> None:
    ours, theirs = await RedisLog.open(redis_url), await RedisLog.open(redis_url)
    sent = [log.append(b"%s%d" % (name, i), i) for i in range(100) for name, log in ((b"a", ours), (b"b", theirs))]
    last = max(await asyncio.gather(*sent))
    found = await read(ours, 0, last)
    assert [r.attachment for r in found if r.payload.startswith(b"a")] == list(range(100))
    assert [r.attachment for r in found if r.payload.startswith(b"b")] == [None] * 100
    await ours.close()
    await theirs.close()


async def test_a_stream_of_somebody_else_is_not_read_as_ours(redis_url: str) -> None:
    log = await RedisLog.open(redis_url)
    await log._client.execute_command("XADD", log._stream, "*", "name", "value")
    with pytest.raises(LogDamaged, match="none of Streamgauge's"):
        await anext(log.follow(0))
    await log._client.execute_command("DEL", log._stream)
    await log._client.execute_command("SET", log._stream, "a string")
    with pytest.raises(LogUnavailable, match="WRONGTYPE"):
        await anext(log.follow(0))
    with pytest.raises(LogUnavailable, match="WRONGTYPE"):
        await log.append(b"x")
    await log.close()


async def test_no_server_and_a_wrong_password_are_sentences_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"no Redis answers at 127\.0\.0\.1") as refused:
        await RedisLog.open("redis://:geheim@127.0.0.1:1/0", patience=0.1)
    assert "geheim" not in str(refused.value)
    server = RedisServer(tmp_path / "locked", "--requirepass", "geheim")
    server.ready = lambda: server.ask(b"PING").startswith(b"-NOAUTH")  # type: ignore[method-assign]
    await asyncio.to_thread(server.start)
    try:
        for user in ("", ":falsch@"):
            with pytest.raises(LogUnavailable, match=r"uthentication|password|AUTH"):
                await RedisLog.open(server.url.replace("//", f"//{user}"), patience=0.2)
        log = await RedisLog.open(server.url.replace("//", "//:geheim@"))
        assert await log.append(b"x") and "geheim" not in log.mode
        await log.close()
    finally:
        server.kill()


async def test_the_mode_says_what_the_server_is_set_to(server: RedisServer) -> None:
    for setting, said in (("always", "nor does a kill of Redis"), ("everysec", "last 2 s"), ("no", "appendfsync no")):
        server.ask(f"CONFIG SET appendfsync {setting}".encode())
        log = await RedisLog.open(server.url)
        assert said in log.mode and "127.0.0.1" in log.mode
        await log.close()
    assert "unknown" in durability({})
    assert "without appendonly" in durability({"appendonly": "no"})
    assert "noeviction" in durability({"appendonly": "yes", "maxmemory": "9", "maxmemory-policy": "allkeys-lru"})


async def test_a_dead_writer_answers_whoever_waits(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await RedisLog.open(redis_url)
    monkeypatch.setattr(log, "_settle", lambda *_: 1 / 0)
    async with asyncio.timeout(5):
        waiting = await asyncio.gather(*(log.append(b"%d" % i) for i in range(5)), return_exceptions=True)
    assert all(isinstance(error, LogUnavailable) and "ZeroDivisionError" in str(error) for error in waiting)
    with pytest.raises(LogUnavailable, match="ZeroDivisionError"):
        await log.append(b"later")
    await log.close()


@given(st.integers(0, (1 << 43) - 1), st.integers(0, (1 << 20) - 1))
def test_positions_are_stream_ids(ms: int, sequence: int) -> None:
    assert format_id(parse_id(f"{ms}-{sequence}")) == f"{ms}-{sequence}"
    assert parse_id(f"{ms}-{sequence}") < min(parse_id(f"{ms + 1}-0"), 1 << 63)
    with pytest.raises(LogDamaged):
        parse_id(f"{ms}-{sequence + (1 << 20)}")


def test_our_parameters_leave_the_url() -> None:
    assert split_url("redis://u:p@h:1/2?stream=a&consumer=b&max_connections=3") == (
        "redis://u:p@h:1/2?max_connections=3",
        "a",
        "b",
    )
    assert split_url("unix:///run/redis.sock?db=1") == ("unix:///run/redis.sock?db=1", "streamgauge:log", "engine")


async def test_what_was_trimmed_is_told_apart_from_positions_that_never_were(redis_url: str) -> None:
    engine = await RedisLog.open(redis_url)
    positions = [await engine.append(b"%d" % i) for i in range(20)]
    assert await engine.trimmed() == 0 < positions[0] - 1, "nothing has gone, although positions begin far above 1"
    await engine.trim(positions[9])
    assert positions[9] <= await engine.trimmed() < positions[10] == await engine.first()
    late = await RedisLog.open(redis_url + "&consumer=late")
    assert await late.trimmed() == positions[9], "what went before it came is missing to it"
    await engine.trim(positions[15])
    assert await engine.first() == positions[10], "from here on nothing goes while this one may need it"
    await late.close()
    await engine.start_after(positions[-1] + 50)
    assert await engine.first() == positions[-1] + 51 and await engine.trimmed() == positions[9]
    await engine.close()
    alone = await RedisLog.open(redis_url.replace("stream=", "stream=other-"))
    await alone.append(b"x")
    await alone.start_after(1 << 61)
    assert await alone.trimmed() == 1 << 61
    await alone.close()
