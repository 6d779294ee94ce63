"""What every log does, whatever it is made of: embedded segments, a fake Redis, a real one, a Redis Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from server.log import Log, LogFull, LogUnavailable, open_log, redis_streams, segments
from server.log.segment_file import MAX_PAYLOAD
from tests.conformance.log_support import BACKENDS, Backend, check_acknowledged, held, read, write_and_kill


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    fixture = {"redis": "redis_url", "cluster": "cluster_url"}.get(request.param)
    url = request.getfixturevalue(fixture) if fixture else ""
    return Backend(request.param, tmp_path, url)


async def test_a_new_log_is_empty(backend: Backend) -> None:
    async with backend.opened() as log:
        assert (await log.last(), await log.first()) == (0, 1)
        assert log.epoch.isalnum() and log.epoch == log.epoch.lower()
        assert "a kill of Streamgauge loses nothing" in log.mode


async def test_records_come_back_in_order_at_their_positions(backend: Backend) -> None:
    payloads = [bytes([i]) * (1 + i * 37 % 900) for i in range(60)]
    async with backend.opened() as log:
        positions = [await log.append(payload) for payload in payloads]
        assert positions == sorted(set(positions)) and positions[0] > 0
        assert (await log.first(), await log.last()) == (positions[0], positions[-1])
        assert [(r.position, r.payload) for r in await read(log, 0, positions[-1])] == list(
            zip(positions, payloads, strict=True)
        )
        assert log.size() >= sum(map(len, payloads))


async def test_any_bytes_and_sizes_survive(backend: Backend) -> None:
    payloads = [b"\0", b"\xff" * 17, bytes(range(256)) * 4, b"\r\n$-1\r\n", b"x" * 3_000_000, b"last"]
    async with backend.opened() as log:
        for payload in payloads:
            await log.append(payload)
        assert await held(log) == payloads


async def test_following_starts_after_any_position(backend: Backend) -> None:
    async with backend.opened() as log:
        positions = [await log.append(b"%d" % i * 200) for i in range(25)]
        for i, position in enumerate(positions[:-1]):
            assert [r.position for r in await read(log, position, positions[-1])] == positions[i + 1 :]


async def test_order_of_calls_is_order_in_the_log(backend: Backend) -> None:
    async with backend.opened() as log:
        payloads = [b"%d" % i for i in range(500)]
        positions = await asyncio.gather(*(log.append(payload) for payload in payloads))
        assert positions == sorted(set(positions))
        assert await held(log) == payloads


async def test_history_turns_into_live_without_gap_or_repeat(backend: Backend) -> None:
    async with backend.opened() as log:
        for i in range(100):
            await log.append(b"%d" % i)

        async def write() -> int:
            at = 0
            for i in range(100, 600):
                at = await log.append(b"%d" % i)
                if i % 7 == 0:
                    await asyncio.sleep(0)
            return at

        writer = asyncio.create_task(write())
        found: list[bytes] = []
        async with asyncio.timeout(20), contextlib.aclosing(log.follow(0)) as batches:
            async for batch in batches:
                found += [r.payload for r in batch]
                if len(found) >= 600:
                    break
                await asyncio.sleep(random.choice((0, 0, 0.002)))
        await writer
        assert found == [b"%d" % i for i in range(600)]


async def test_every_follower_sees_everything(backend: Backend) -> None:
    async with backend.opened() as log:
        first = await log.append(b"0")

        async def collect() -> list[bytes]:
            found: list[bytes] = []
            async with asyncio.timeout(10), contextlib.aclosing(log.follow(first)) as batches:
                async for batch in batches:
                    found += [r.payload for r in batch]
                    if len(found) == 50:
                        break
            return found

        readers = [asyncio.create_task(collect()) for _ in range(3)]
        await asyncio.sleep(0.01)
        for i in range(50):
            await log.append(b"%d" % i)
        for reader in readers:
            assert await reader == [b"%d" % i for i in range(50)]


async def test_attachments_reach_the_follower_in_this_process(backend: Backend) -> None:
    async with backend.opened() as log:
        things = [object() for _ in range(40)]
        await log.append(b"none")
        early = [log.append(b"%d" % i, thing) for i, thing in enumerate(things[:20])]
        last = (await asyncio.gather(*early))[-1]
        found: list[object] = []
        async with asyncio.timeout(10), contextlib.aclosing(log.follow(0)) as batches:
            async for batch in batches:
                found += [r.attachment for r in batch]
                if len(found) == 21:
                    last = (await asyncio.gather(*(log.append(b"later", thing) for thing in things[20:])))[-1]
                if len(found) == 41:
                    break
        assert found[0] is None and all(a is b for a, b in zip(found[1:], things, strict=True))
    async with backend.opened() as log:
        assert [r.attachment for r in await read(log, 0, last)] == [None] * 41


async def test_attachments_that_nobody_takes_are_bounded(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (segments, redis_streams):
        monkeypatch.setattr(module, "MAX_UNREAD_ATTACHMENTS", 10)
    async with backend.opened() as log:
        for _ in range(10):
            last = await log.append(b"x", object())
        with pytest.raises(LogUnavailable, match="wait for their reader"):
            await log.append(b"x", object())
        await read(log, 0, last)
        await log.append(b"x", object())


async def test_a_restart_goes_on_where_it_was(backend: Backend) -> None:
    payloads: list[bytes] = []
    positions: list[int] = []
    epochs = set()
    for life in range(4):
        async with backend.opened() as log:
            epochs.add(log.epoch)
            assert await log.last() == (positions[-1] if positions else 0)
            for i in range(15):
                payloads.append(b"%d.%d" % (life, i) * 40)
                positions.append(await log.append(payloads[-1]))
            assert await held(log) == payloads
    assert positions == sorted(set(positions)) and len(epochs) == 1


async def test_trimming_lets_the_oldest_go_and_nothing_else(backend: Backend) -> None:
    async with backend.opened() as log:
        positions = [await log.append(b"x" * 300) for _ in range(40)]
        before = log.size()
        await log.trim(positions[29])
        assert positions[0] < await log.first() <= positions[30]
        assert log.size() < before
        assert [r.position for r in await read(log, positions[29], positions[-1])] == positions[30:]
        assert (await read(log, 0, positions[-1]))[0].position == await log.first()
        await log.trim(positions[5])  # behind what is gone already
        assert await log.last() == positions[-1]


async def test_positions_go_on_after_everything_was_trimmed(backend: Backend) -> None:
    async with backend.opened() as log:
        for _ in range(10):
            last = await log.append(b"x" * 300)
        await log.trim(last)
        assert (await log.last(), await log.first()) == (last, last + 1)
    async with backend.opened() as log:
        assert (await log.last(), await log.first()) == (last, last + 1)
        following = await log.append(b"next")
        assert following > last
        assert [r.payload for r in await read(log, last, following)] == [b"next"]


async def test_a_full_log_refuses_and_goes_on_after_trimming(backend: Backend) -> None:
    async with backend.opened(max_bytes=60_000) as log:
        kept: list[bytes] = []
        with pytest.raises(LogFull, match="LOG_MAX_BYTES"):
            for i in range(1000):
                payload = b"%d" % i * 300
                last = await log.append(payload)
                kept.append(payload)
        assert 40 < len(kept) < 210
        with pytest.raises(LogFull):
            await log.append(b"x" * 1000)
        assert await held(log) == kept, "a refused append has left nothing, and nothing was trimmed"
        await log.trim(last)
        after = await log.append(b"again")
        assert [r.payload for r in await read(log, last, after)] == [b"again"]


async def test_start_after_jumps_over_a_lost_end(backend: Backend) -> None:
    async with backend.opened() as log:
        last = await log.append(b"kept")
        await log.start_after(last)
        assert await held(log) == [b"kept"]
        beyond = last + (5 << 40)
        await log.start_after(beyond)
        assert (await log.last(), await log.first()) == (beyond, beyond + 1)
        following = await log.append(b"new")
        assert following > beyond
        assert [r.payload for r in await read(log, beyond, following)] == [b"new"]
    async with backend.opened() as log:
        assert await log.last() == following


async def test_a_cancelled_append_disturbs_nobody(backend: Backend) -> None:
    async with backend.opened() as log:
        tasks = [asyncio.create_task(log.append(b"%d" % i)) for i in range(30)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        numbers = [int(payload) for payload in await held(log)]
        assert numbers == sorted(numbers)
        assert {i for i, position in enumerate(done) if isinstance(position, int)} <= set(numbers)


async def test_empty_and_oversized_payloads_are_refused(backend: Backend) -> None:
    class Vast(bytes):
        def __len__(self) -> int:
            return MAX_PAYLOAD + 1

    async with backend.opened() as log:
        for payload in (b"", Vast()):
            with pytest.raises(ValueError, match="a log entry has 1 to"):
                await log.append(payload)


async def test_closing_ends_the_followers_and_refuses_appends(backend: Backend) -> None:
    log = await backend.open()
    at = await log.append(b"x")

    async def follow(after: int) -> int:
        return sum([len(batch) async for batch in log.follow(after)])

    followers = [asyncio.create_task(follow(0)), asyncio.create_task(follow(at))]
    await asyncio.sleep(0.05)
    await log.sync()
    await log.close()
    await log.close()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*followers) == [1, 0]
    with pytest.raises(LogUnavailable):
        await log.append(b"x")


@pytest.mark.parametrize("seed", range(3))
async def test_against_a_list(backend: Backend, seed: int) -> None:
    """Random appends, trims, restarts and reads against the simplest model there is."""
    chance = random.Random(seed)
    log: Log = await backend.open()
    model: list[tuple[int, bytes]] = []
    trimmed = 0
    try:
        for _ in range(120):
            act = chance.random()
            if act < 0.6 or not model:
                batch = [chance.randbytes(chance.choice((1, 20, 700, 5000))) for _ in range(chance.randint(1, 6))]
                model += zip(await asyncio.gather(*map(log.append, batch)), batch, strict=True)
            elif act < 0.7:
                trimmed = max(trimmed, chance.choice(model)[0])
                await log.trim(trimmed)
            elif act < 0.78:
                await log.close()
                log = await backend.open()
            else:
                after = chance.choice([p for p, _ in model if p >= trimmed] or [model[-1][0]])
                found = [(r.position, r.payload) for r in await read(log, after, model[-1][0])]
                assert found == [(p, payload) for p, payload in model if p > after]
            assert await log.last() == model[-1][0]
            assert await log.first() <= trimmed + 1 or await log.first() == next(p for p, _ in model if p > trimmed)
    finally:
        await log.close()


@pytest.mark.parametrize("kind", ["segments", "redis", "cluster"])
async def test_kill_9_loses_nothing_acknowledged(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = (tmp_path / "log").as_uri() if kind == "segments" else request.getfixturevalue(f"{kind}_url")
    acknowledged: dict[int, int] = {}
    start = 0
    for life in range(4):
        acknowledged |= await asyncio.to_thread(write_and_kill, url, start, 0.15 + 0.05 * life)
        log = await open_log(url)
        start = await check_acknowledged(log, acknowledged) + 1
        await log.close()
    assert len(acknowledged) > 200
