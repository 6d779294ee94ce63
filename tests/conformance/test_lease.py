"""Ownership of a stream on Redis: never two owners, fences that only rise, and a trim that the stale cannot do."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from server.log import Lease, LogFull, LogUnavailable, log_owner, open_lease, open_log
from server.log.redis_lease import RedisLease, now
from server.log.redis_names import format_id, parse_id, split_url
from server.log.redis_streams import RedisLog
from server.tasks import end
from tests.conformance.lease_support import Contender, Held, running
from tests.support import RedisServer

TTL = 0.6
LONG = 3.0
"""Seconds, where a machine that is busy must not end an ownership by itself."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis server of the test's own, up for long enough to give leases."""
    own = RedisServer(tmp_path / "own")
    await asyncio.to_thread(own.start)
    yield own
    own.kill()


@pytest.fixture
def contenders() -> Iterator[list[Contender]]:
    """Those of a test, which do not outlive it."""
    started: list[Contender] = []
    yield started
    for contender in started:
        contender.kill()


async def owner(lease: Lease, seconds: float = 10.0) -> int:
    """The fence of a lease, once it has one."""
    async with asyncio.timeout(seconds):
        return await lease.acquired()


async def first_of(*leases: Lease) -> Lease:
    """The one of them that becomes owner."""
    waiting = {asyncio.create_task(lease.acquired()): lease for lease in leases}
    done, others = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    (winner,) = done
    return waiting[winner]


def has_gone_round(replies: set[bytes]) -> bool:
    """Whether the lease has been with many, and surely often enough. replies: of Redis, with NAME:FENCE in each."""
    owners = [reply.split(b"\r\n")[1] for reply in replies if b":" in reply]
    return len(owners) > 12 and len({owner.partition(b":")[0] for owner in owners}) > 3


async def test_five_contenders_that_pause_at_random_never_own_at_once(
    redis_url: str, redis_server: RedisServer, contenders: list[Contender]
) -> None:
    contenders += [Contender(redis_url, f"c{i}", TTL, unrest=True) for i in range(5)]
    for contender in contenders:
        assert await asyncio.to_thread(contender.line) == ["ready"]
    chance = random.Random(5)
    began, owners, (_, stream, _) = time.monotonic(), set[bytes](), split_url(redis_url)
    # On a busy machine it takes longer to go round as often.
    while (passed := time.monotonic() - began) < 10 or (passed < 60 and not has_gone_round(owners)):
        owners.add(redis_server.ask(f"GET {stream}:lease".encode()))
        stopped = chance.choice(contenders)
        stopped.send(signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.05, 2 * TTL))
        stopped.send(signal.SIGCONT)
        await asyncio.sleep(chance.uniform(0, 0.3))
    found: list[Held] = []
    for contender in contenders:
        found += await asyncio.to_thread(contender.finish)
    contenders.clear()
    found.sort()
    for one, other in itertools.pairwise(found):
        assert one.ended < other.began, f"two owners at once: {one} and {other}"
        assert one.fence < other.fence, f"the fence went back: {one} and {other}"
    assert len(found) > 8 and len({held.name for held in found}) >= 3, f"it went round: {found}"


async def test_another_takes_over_within_the_lease_and_a_second_when_the_owner_is_killed(
    redis_url: str, contenders: list[Contender]
) -> None:
    ttl = 1.0
    contenders.append(Contender(redis_url, "first", ttl))
    assert await asyncio.to_thread(contenders[0].line) == ["ready"]
    said, fence = await asyncio.to_thread(contenders[0].line)
    assert said == "owner"
    async with running(redis_url, "second", ttl) as lease:
        await asyncio.sleep(1.5 * ttl)
        assert not lease.valid and lease.fence == 0 and lease.holder == f"first:{fence}"
        contenders[0].send(signal.SIGKILL)
        began = time.monotonic()
        assert await owner(lease) > int(fence)
        assert time.monotonic() - began < ttl + 1
        assert lease.valid and lease.holder == f"second:{lease.fence}"


async def test_a_process_that_was_stopped_knows_at_once_that_it_is_no_owner(
    redis_url: str, contenders: list[Contender]
) -> None:
    log = await RedisLog.open(redis_url)
    last = await log.append(b"kept")
    contenders.append(Contender(redis_url, "stopped", TTL))
    assert await asyncio.to_thread(contenders[0].line) == ["ready"]
    said, fence = await asyncio.to_thread(contenders[0].line)
    assert said == "owner"
    await asyncio.sleep(TTL)
    async with running(redis_url, "other", TTL) as lease:
        contenders[0].send(signal.SIGSTOP)
        before = now()
        assert await owner(lease) > int(fence)
        await asyncio.sleep(2 - (now() - before))
        contenders[0].send(signal.SIGCONT)
        words = await asyncio.to_thread(contenders[0].line)
        assert words[:2] == ["held", fence] and float(words[3]) < before + TTL, "its first look said no"
        assert (await asyncio.to_thread(contenders[0].line))[0] == "refused"
    assert await log.first() == await log.last() == last
    await log.close()


async def test_a_stale_owner_trims_nothing(redis_url: str) -> None:
    async with running(redis_url, "old", LONG) as old, running(redis_url, "new", LONG) as new:
        log, theirs = await RedisLog.open(redis_url, lease=old), await RedisLog.open(redis_url, lease=new)
        positions = [await log.append(b"%d" % i) for i in range(20)]
        if await first_of(old, new) is new:
            log, theirs, old, new = theirs, log, new, old
        await log.trim(positions[4])
        assert await log.first() == positions[5]
        with pytest.raises(LogUnavailable, match="another engine owns the stream"):
            await theirs.trim(positions[9])
        stale = Stale(old)
        await old.release()
        await owner(new)
        log._lease = stale
        with pytest.raises(LogUnavailable, match="another engine owns the stream"):
            await log.trim(positions[14])
        assert await log.first() == positions[5] and await log.trimmed() == positions[4]
        await theirs.trim(positions[9])
        assert await log.first() == positions[10]
        await log.close()
        await theirs.close()


class Stale(RedisLease):
    """A lease as a process sees it that was stopped after it had looked and before its command went out."""

    def __init__(self, lease: Lease) -> None:
        self.name, self._stale = lease.name, lease.fence
        assert self._stale

    @property
    def fence(self) -> int:
        return self._stale


async def test_the_fenced_trim_does_what_the_plain_one_does(redis_url: str) -> None:
    chance = random.Random(8)
    ends = (0, 1, 9, 10, (1 << 20) - 1, (1 << 20) - 2)
    async with running(redis_url, "only", LONG) as lease:
        await owner(lease)
        fenced = await RedisLog.open(redis_url, lease=lease)
        plain = await RedisLog.open(redis_url.replace("stream=", "stream=plain-"))
        ids = [(ms, end) for ms in (1, 9, 4095, 1_700_000_000_000, 1_700_000_000_001) for end in ends]
        entries = sorted(parse_id(f"{ms}-{end}") for ms, end in ids)
        for round in range(60):
            states = []
            for log in (fenced, plain):
                await log._client.execute_command("DEL", log._stream, f"{log._stream}:cursors")
                for position in entries:
                    await log._client.execute_command("XADD", log._stream, format_id(position), "e", b"x")
            cursors = {f"c{i}": max(0, chance.choice(entries) + chance.choice((-1, 0, 1))) for i in range(round % 4)}
            upto = chance.choice([0, 1, *entries, *(position + 1 for position in entries)])
            for log in (fenced, plain):
                for name, at in cursors.items():
                    await log._client.execute_command("HSET", f"{log._stream}:cursors", name, at)
                await log.trim(upto)
                kept = [r[0] for r in await log._client.execute_command("XRANGE", log._stream, "-", "+")]
                states.append((kept, await log._client.execute_command("HGETALL", f"{log._stream}:cursors")))
            assert states[0] == states[1], (cursors, upto)
        await fenced.close()
        await plain.close()


async def test_who_gives_it_up_lets_another_take_it_at_once(redis_url: str) -> None:
    ttl = 1.5
    async with running(redis_url, "one", ttl) as one, running(redis_url, "two", ttl) as two:
        if await first_of(one, two) is two:
            one, two = two, one
        fence, over = one.fence, asyncio.create_task(one.lost())
        await asyncio.sleep(2 * ttl)
        assert one.valid and one.fence == fence and not over.done(), "it is renewed"
        await one.release()
        began = time.monotonic()
        await asyncio.wait_for(over, 0.1)
        await one.lost()
        assert not one.valid and one.fence == 0
        assert await owner(two) > fence and time.monotonic() - began < ttl / 2
        assert await owner(two) == two.fence


async def test_a_redis_that_was_killed_gives_the_ownership_back(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(server.url, "one", TTL) as lease:
        fences = [await owner(lease)]
        for data in ("kept", "kept", "gone"):
            over = asyncio.create_task(lease.lost())
            server.kill()
            began = time.monotonic()
            await asyncio.wait_for(over, TTL + 1)
            assert not lease.valid and lease.fence == 0 and time.monotonic() - began < TTL + 0.5
            await asyncio.sleep(TTL)
            await lease.release()
            if data == "gone":
                shutil.rmtree(server.directory)
            await asyncio.to_thread(server.start)
            fences.append(await owner(lease, TTL + 4))
        troubles = [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and "lease" in r.getMessage()]
        # A Redis that is there may be slow on a busy machine, which is another trouble.
        refused = [trouble for trouble in troubles if not trouble.endswith("no answer in time")]
        assert len(refused) == 3, f"each outage is said once: {troubles}"

        async def forgotten(counter: int) -> None:
            server.ask(b"SET streamgauge:log:fence %d" % counter)
            server.ask(b"DEL streamgauge:log:lease")
            await asyncio.wait_for(lease.lost(), 2 * TTL)
            fences.append(await owner(lease))

        await forgotten(fences[-1] + 10**9)
        assert fences[-1] == fences[-2] + 10**9 + 1, "the counter counts"
        await forgotten(5)  # greater than the one before, which is ahead of the time
    assert fences == sorted(set(fences)), fences


async def test_a_counter_that_was_set_back_gives_no_number_twice(redis_url: str, redis_server: RedisServer) -> None:
    fences = []
    stream = redis_url.partition("stream=")[2]
    for name in ("one", "two", "three"):
        async with running(redis_url, name, TTL) as lease:
            fences.append(await owner(lease))
        assert redis_server.ask(f"SET {stream}:fence 5".encode()) == b"+OK\r\n"
    assert fences == sorted(set(fences))


async def test_a_power_loss_that_takes_the_lease_makes_no_second_owner(tmp_path: Path) -> None:
    ttl = 3.0
    server = RedisServer(tmp_path / "forgets", "--appendonly", "no")
    await asyncio.to_thread(server.start)
    try:
        async with running(server.url, "before", ttl) as lease:
            await owner(lease)
            await lease.release()
        assert server.ask(b"SAVE") == b"+OK\r\n"
        owning = await open_lease(server.url, "owning", ttl=ttl)
        task = asyncio.create_task(owning.run())
        await owner(owning)
        await end(task)  # it hears nothing of what follows
        server.kill()
        await asyncio.to_thread(server.start)
        assert server.ask(b"EXISTS streamgauge:log:lease streamgauge:log:fence") == b":1\r\n", "the lease is forgotten"
        async with running(server.url, "second", ttl) as second:
            assert owning.valid
            while owning.valid:
                assert not second.valid
                await asyncio.sleep(0.001)
            await owner(second)
        await owning.close()
    finally:
        server.kill()


async def test_a_redis_without_memory_has_an_owner_who_trims(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "small", "--maxmemory-policy", "noeviction")
    await asyncio.to_thread(server.start)
    try:
        async with running(server.url, "only", LONG) as lease:
            log = await RedisLog.open(server.url, lease=lease)
            for _ in range(20):
                position = await log.append(b"x" * 100_000)
            server.ask(b"CONFIG SET maxmemory 2mb")
            with pytest.raises(LogFull, match="out of memory"):
                await log.append(b"x")
            assert server.ask(b"SET a b").startswith(b"-OOM")
            await lease.release()
            await owner(lease)
            await asyncio.sleep(LONG)
            assert lease.valid, "renewed"
            await log.trim(position)
            assert await log.first() == position + 1 and await log.append(b"again")
            await log.close()
    finally:
        server.kill()


async def test_a_stopped_redis_ends_an_ownership_in_time(server: RedisServer) -> None:
    async with running(server.url, "one", LONG) as lease:
        await owner(lease)
        assert server.child is not None
        server.child.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            await asyncio.wait_for(lease.lost(), LONG + 1)
            assert time.monotonic() - began < LONG and lease.fence == 0
            await asyncio.wait_for(lease.release(), LONG)
        finally:
            server.child.send_signal(signal.SIGCONT)
        await owner(lease)


async def test_an_owner_that_appends_nothing_is_seen_from_outside(redis_url: str) -> None:
    log = await open_log(redis_url)
    await log.append(b"x")
    await log.close()
    async with running(redis_url, "quiet", 3.0) as lease:
        await owner(lease)
        assert "an engine owns" in await asyncio.to_thread(log_owner, redis_url)
    left_over = await open_lease(redis_url, "killed", ttl=4.0)
    task = asyncio.create_task(left_over.run())
    await owner(left_over)
    await end(task)
    assert await asyncio.to_thread(log_owner, redis_url) == "", "nobody renews it"
    await left_over.close()


async def test_what_means_nothing_is_refused(tmp_path: Path, redis_url: str) -> None:
    with pytest.raises(ValueError, match="needs a Redis URL"):
        await open_lease(tmp_path.as_uri(), "x")
    for name, ttl in (("", 3.0), ("x", 0.0)):
        with pytest.raises(ValueError, match="a lease needs a name"):
            await open_lease(redis_url, name, ttl=ttl)
    lease = await open_lease(redis_url, "x")
    with pytest.raises(ValueError, match="needs a Redis URL"):
        await open_log(tmp_path.as_uri(), lease=lease)
    assert (lease.fence, lease.valid, lease.holder) == (0, False, "")
    await lease.lost()
    await lease.release()
    await lease.close()
