"""Who works on a stream, and whether the Redis that it lies on lets anybody in."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from server.log import LogUnavailable, open_members
from server.log import redis_members as module
from server.log.redis_guard import has_secret, is_loopback, warning_of
from server.log.redis_streams import RedisLog
from tests.support import RedisServer


@pytest.fixture(params=["redis_url", "cluster_url"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


async def test_each_says_what_it_is_and_is_gone_after_a_clean_stop(url: str) -> None:
    one, two = open_members(url, "one"), open_members(url, "two:2")
    assert await one.listed() == []
    await two.announce({"role": "gateway", "offset": 1 << 60, "note": "ü"})
    await one.announce({"role": "engine"})
    await two.announce({"role": "gateway", "offset": 5})
    for each in (one, two):
        assert await each.listed() == [
            {"name": "one", "role": "engine"},
            {"name": "two:2", "role": "gateway", "offset": 5},
        ]
    await one.close()
    assert [member["name"] for member in await two.listed()] == ["two:2"]
    await two.close()


async def test_what_one_leaves_the_others_find_while_it_is_there(url: str) -> None:
    one, two = open_members(url, "one"), open_members(url, "two")
    for each in (one, two):
        assert await each.announce({})
    await one.leave("topic", b"first", 60)
    await one.leave("topic", b"\x00second", 60)
    assert await two.left("topic") == [b"\x00second"] and await one.left("topic") == [] == await two.left("other")
    await two.leave("topic", b"brief", 0.05)
    await asyncio.sleep(0.1)
    assert await one.left("topic") == []
    await one.close()
    assert await two.left("topic") == []
    await two.close()


async def test_the_silent_are_forgotten_and_leave_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIFE_MS", 400)
    silent, steady = open_members(url, "silent"), open_members(url, "steady")
    assert isinstance(steady, module.RedisMembers)
    await silent.announce({})
    began, seen = time.monotonic(), 2
    while seen == 2:
        await steady.announce({})
        seen = len(await steady.listed())
        await asyncio.sleep(0.02)
        assert time.monotonic() - began < 5
    assert time.monotonic() - began > 0.35
    assert await steady.listed() == [{"name": "steady"}]
    assert await steady._client.execute_command("ZCARD", f"{steady._stream}:members") == 1
    assert await steady._client.execute_command("EXISTS", f"{steady._stream}:member:silent") == 0
    await silent.announce({"again": True})
    assert len(await steady.listed()) == 2, "who speaks again is there again"
    await silent.close()
    await steady.close()


async def test_a_redis_that_is_away_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "server.log.redis_members")
    server = RedisServer(tmp_path / "own")
    await asyncio.to_thread(server.start)
    try:
        members = open_members(server.url, "one")
        await members.announce({})
        caplog.clear()  # on a busy machine it may have waited for the start
        server.kill()
        for _ in range(3):
            assert not await members.announce({})
            await members.leave("topic", b"", 1)
        with pytest.raises(LogUnavailable, match="which processes"):
            await members.listed()
        with pytest.raises(LogUnavailable):
            await members.left("topic")
        assert [record.levelname for record in caplog.records] == ["WARNING"], "once"
        await asyncio.to_thread(server.start)
        await members.announce({"back": 1})
        assert await members.listed() == [{"name": "one", "back": 1}]
        server.kill()
        await members.close()
    finally:
        server.kill()


def test_what_means_nothing_is_refused(tmp_path: Path, redis_url: str) -> None:
    with pytest.raises(ValueError, match="need a Redis URL"):
        open_members(tmp_path.as_uri(), "x")
    with pytest.raises(ValueError, match="needs a name"):
        open_members(redis_url, "")


async def test_an_open_redis_is_said_in_the_mode_of_the_log(tmp_path: Path) -> None:
    for options, said in (
        (("--bind", "0.0.0.0", "--protected-mode", "no"), "listens on 0.0.0.0 and asks for no password"),
        (("--bind", "0.0.0.0", "--protected-mode", "yes"), ""),
        (("--bind", "127.0.0.1", "-::1", "--protected-mode", "no"), ""),
    ):
        server = RedisServer(tmp_path / "own", *options)
        await asyncio.to_thread(server.start)
        try:
            log = await RedisLog.open(server.url)
            assert (said in log.mode and "requirepass" in log.mode) if said else ("WARNING" not in log.mode)
            await log.close()
        finally:
            server.kill()


async def test_a_redis_elsewhere_without_a_password_is_open() -> None:
    warning = await warning_of("redis://cache.example:6379/0", None)
    assert "cache.example" in warning and "no password" in warning and "REDIS_URL" in warning
    for url in (
        "redis://:geheim@cache.example/0",
        "rediss://user:geheim@cache.example",
        "redis://cache.example?password=geheim",
        "rediss://cache.example?ssl_certfile=/etc/client.pem",
    ):
        assert has_secret(url) and await warning_of(url, None) == ""
    assert is_loopback("127.8.9.1") and is_loopback("::1") and is_loopback("localhost") and is_loopback("")
    assert not is_loopback("10.0.0.1") and not is_loopback("redis") and not is_loopback("0.0.0.0")
