"""The log on a Redis Cluster beyond what every log does: nodes that restart, slots that move, who reads beside it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from server.log import (
    Hole,
    LogUnavailable,
    Record,
    log_owner,
    mend_stream,
    open_lease,
    open_log,
    open_reader,
    scan_stream,
    set_log_aside,
)
from server.log.redis_names import in_cluster, split_url
from server.log.redis_streams import RedisLog
from server.tasks import end
from tests.cluster_support import RedisCluster
from tests.conformance.lease_support import running
from tests.conformance.log_support import held
from tests.support import wait_until


def test_a_stream_in_a_cluster_gets_a_hash_tag_where_it_has_none() -> None:
    url = "redis://u:p@h:1/0?cluster=true"
    assert split_url(url) == ("redis://u:p@h:1/0", "{streamgauge:log}", "engine") and in_cluster(url)
    for given, name in (("a", "{a}"), ("x{a}y", "x{a}y"), ("x{}y", "{x{}y}"), ("{a", "{{a}")):
        assert split_url(f"{url}&stream={given}")[1] == name
    assert split_url("redis://h?cluster=false&stream=a")[1] == "a" and not in_cluster("redis://h?cluster=false")
    with pytest.raises(ValueError, match="true or false"):
        split_url("redis://h?cluster=maybe")


async def test_a_cluster_is_not_at_a_socket(redis_cluster: RedisCluster) -> None:
    with pytest.raises(ValueError, match="redis:// or rediss://"):
        await open_log("unix:///run/redis.sock?cluster=true")


async def test_a_plain_redis_is_no_cluster(redis_url: str) -> None:
    with pytest.raises(LogUnavailable, match="cluster support disabled"):
        await RedisLog.open(redis_url + "&cluster=true", patience=0.2)


async def test_the_stream_is_found_from_every_node(redis_cluster: RedisCluster, cluster_url: str) -> None:
    given = cluster_url.partition("?")[2]
    for number, node in enumerate(redis_cluster.nodes):
        log = await open_log(f"{node.url}?{given}")
        await log.append(b"%d" % number)
        assert await held(log) == [b"%d" % i for i in range(number + 1)]
        await log.close()


async def through(
    log: RedisLog, disturb: Callable[[], None], times: int, batch: int = 4
) -> tuple[dict[int, int], list[tuple[int, int]]]:
    """Appends and follows while something happens: (number -> acknowledged position, what was followed)."""
    acknowledged: dict[int, int] = {}
    found: list[tuple[int, int]] = []
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            numbers = range(number, number + batch)
            positions = await asyncio.gather(*(log.append(b"%d" % n) for n in numbers))
            acknowledged.update(zip(numbers, positions, strict=True))
            number += batch

    async def follow() -> None:
        async with contextlib.aclosing(log.follow(0)) as batches:
            async for records in batches:
                found.extend((int(r.payload), r.position) for r in records)

    async with asyncio.timeout(60):
        writing, following = asyncio.create_task(write()), asyncio.create_task(follow())
        for _ in range(times):
            before = len(acknowledged)
            await asyncio.to_thread(wait_until, lambda before=before: len(acknowledged) >= before + 50, 20)
            await asyncio.to_thread(disturb)
        before = len(acknowledged)
        await asyncio.to_thread(wait_until, lambda: len(acknowledged) >= before + 50, 20)
        stop.set()
        await writing
        await asyncio.to_thread(wait_until, lambda: found[-1][1] >= max(acknowledged.values()))
        await end(following)
    return acknowledged, found


def check(acknowledged: dict[int, int], found: list[tuple[int, int]]) -> None:
    """All that was acknowledged is there, in order; what was sent twice may come twice."""
    places = {position: number for number, position in found}
    assert all(places[position] == number for number, position in acknowledged.items())
    assert all(one[1] < other[1] for one, other in itertools.pairwise(found))
    newest, fresh = -1, []
    for number, _ in found:
        if number > newest:
            fresh.append(number)
            newest = number
    assert fresh == list(range(len(fresh))), "in order, none lost"


async def test_a_node_that_is_killed_and_started_loses_nothing(redis_cluster: RedisCluster, cluster_url: str) -> None:
    log = await RedisLog.open(cluster_url, patience=30)
    node = redis_cluster.owner(log._stream)

    def restart() -> None:
        node.kill()
        node.start()
        redis_cluster.wait()

    check(*await through(log, restart, 2))
    await log.close()


async def test_a_slot_that_moves_takes_the_log_along(redis_cluster: RedisCluster, cluster_url: str) -> None:
    async with running(cluster_url, "only", 3.0) as lease:
        fence = await asyncio.wait_for(lease.acquired(), 10)
        log = await RedisLog.open(cluster_url, patience=30, lease=lease)
        before = redis_cluster.owner(log._stream)
        check(*await through(log, lambda: redis_cluster.move(log._stream), 3))
        assert redis_cluster.owner(log._stream) is not before
        assert lease.valid and lease.fence == fence, "a lease moves with the stream"
        await log.trim(await log.last())
        assert await log.first() == await log.last() + 1
        await log.close()


async def test_a_lease_and_the_fenced_trim_in_a_cluster(redis_cluster: RedisCluster, cluster_url: str) -> None:
    async with running(cluster_url, "one", 0.9) as lease:
        fence = await asyncio.wait_for(lease.acquired(), 10)
        log = await open_log(cluster_url, lease=lease)
        positions = [await log.append(b"%d" % i) for i in range(10)]
        await log.trim(positions[4])
        assert await log.first() == positions[5]
        other = await open_lease(cluster_url, "other", ttl=0.9)
        theirs = await open_log(cluster_url, lease=other)
        with pytest.raises(LogUnavailable, match="another engine owns the stream"):
            await theirs.trim(positions[8])
        over = asyncio.create_task(lease.lost())
        node = redis_cluster.owner(split_url(cluster_url)[1])
        await asyncio.to_thread(node.kill)
        await asyncio.wait_for(over, 3)
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(redis_cluster.wait)
        assert await asyncio.wait_for(lease.acquired(), 10) > fence
        await log.trim(positions[6])
        assert await log.first() == positions[7]
        for each in (log, theirs, other):
            await each.close()


async def test_what_reads_and_mends_beside_a_server_does_it_in_a_cluster(
    redis_cluster: RedisCluster, cluster_url: str, tmp_path: Path
) -> None:
    assert await asyncio.to_thread(open_reader, cluster_url) is None
    log = await RedisLog.open(cluster_url)
    positions = [await log.append(b"%d" % i) for i in range(40)]

    def read() -> None:
        reader = open_reader(cluster_url)
        assert reader is not None and reader.epoch == log.epoch and reader.first() == positions[0]
        found = [record for record in reader.read(0) if isinstance(record, Record)]
        assert [(r.position, r.payload) for r in found] == [(at, b"%d" % i) for i, at in enumerate(positions)]
        reader.close()

    def mend() -> None:
        (hole,) = scan_stream(cluster_url, positions[-1])
        assert isinstance(hole, Hole) and hole.first == strange
        mend_stream(cluster_url, tmp_path / "aside", [strange], b"for the one that was taken out")
        assert len(list(scan_stream(cluster_url, 0))) == 41
        assert log_owner(cluster_url) == ""
        assert set_log_aside(cluster_url, "old") == f"{log._stream}.old"
        assert open_reader(cluster_url) is None

    await asyncio.to_thread(read)
    await log._client.execute_command("XADD", log._stream, "*", "name", "value")
    strange = await log.last()
    await asyncio.to_thread(mend)
    await log.close()


async def test_what_runs_finds_the_stream_while_the_node_of_its_url_is_away(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path / "own", "--cluster-require-full-coverage", "no")
    await asyncio.to_thread(cluster.start)
    try:
        stream = next(name for name in map(str, itertools.count()) if cluster.owner(name) is cluster.nodes[1])
        log = await RedisLog.open(f"{cluster.nodes[0].url}?cluster=true&stream={stream}", patience=30)
        await log.append(b"1")
        await asyncio.to_thread(cluster.nodes[0].kill)
        await asyncio.to_thread(cluster.nodes[1].kill)
        await asyncio.to_thread(cluster.nodes[1].start)
        async with asyncio.timeout(20):
            await log.append(b"2")
        assert await held(log) == [b"1", b"2"]
        await log.close()
    finally:
        cluster.kill()
