"""What the log suites share: opening each back-end, reading what it holds, a writing child to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fakeredis import FakeAsyncRedis, FakeServer

from server.log import Log, Record
from server.log.redis_streams import RedisLog
from server.log.segments import SegmentLog
from tests.support import ROOT

BACKENDS = ("segments", "fakeredis", "redis", "cluster")


class Backend:
    """One log that can be opened again and again."""

    def __init__(self, kind: str, path: Path, url: str) -> None:
        self.kind = kind
        self.path = path / "log"
        self.url = url
        self.fake = FakeServer()

    async def open(self, max_bytes: int = 8 << 30) -> Log:
        if self.kind == "segments":
            return await SegmentLog.open(self.path, max_bytes=max_bytes, segment_bytes=2000)
        if self.kind in ("redis", "cluster"):
            return await RedisLog.open(self.url, max_bytes=max_bytes)
        return await RedisLog.open(
            "redis://fake/0?stream=fake", max_bytes=max_bytes, make=lambda: FakeAsyncRedis(server=self.fake, protocol=2)
        )

    @contextlib.asynccontextmanager
    async def opened(self, max_bytes: int = 8 << 30) -> AsyncIterator[Log]:
        log = await self.open(max_bytes)
        try:
            yield log
        finally:
            await log.close()


async def read(log: Log, after: int, upto: int, seconds: float = 10.0) -> list[Record]:
    """The records above `after` until the one at `upto` has been seen."""
    found: list[Record] = []
    if upto <= after:
        return found
    async with asyncio.timeout(seconds), contextlib.aclosing(log.follow(after)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            assert batch, "a follower yields no empty list"
            found += batch
            if found[-1].position >= upto:
                break
    return found


async def held(log: Log) -> list[bytes]:
    """The payloads of everything the log holds, in order."""
    last = await log.last()
    return [r.payload for r in await read(log, 0, last)] if await log.first() <= last else []


CHILD = """
import asyncio, sys
from server.log import open_log
async def main(url, start):
    log = await open_log(url)
    print("open", flush=True)
    number = start
    while True:
        sizes = [1 + (number + i) * 7919 % 3000 for i in range(8)]
        payloads = [b"%d:" % (number + i) + bytes([(number + i) % 251]) * size for i, size in enumerate(sizes)]
        positions = await asyncio.gather(*(log.append(payload) for payload in payloads))
        print("".join(f"{number + i} {at}\\n" for i, at in enumerate(positions)), end="", flush=True)
        number += len(payloads)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def payload_of(number: int) -> bytes:
    """What the child appends for a number."""
    return b"%d:" % number + bytes([number % 251]) * (1 + number * 7919 % 3000)


def write_and_kill(url: str, start: int, seconds: float) -> dict[int, int]:
    """Let a child append from `start` on, kill -9 it after `seconds`: acknowledged number -> position."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, str(start)], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    killer = subprocess.Popen([sys.executable, "-c", f"import time,os; time.sleep({seconds}); os.kill({child.pid}, 9)"])
    began = time.monotonic()
    lines = child.stdout.read().split(b"\n")
    assert child.wait() == -signal.SIGKILL
    killer.wait()
    assert time.monotonic() - began < 30
    acknowledged = (line.split() for line in lines[:-1])  # the last line may be cut short
    return {int(number): int(position) for number, position in acknowledged}


async def check_acknowledged(log: Log, acknowledged: dict[int, int]) -> int:
    """Every acknowledged number is where it was said to be, all in order; the greatest number found."""
    last = await log.last()
    found: dict[int, bytes] = {}
    greatest = -1
    for record in await read(log, 0, last):
        number = int(record.payload.partition(b":")[0])
        assert record.payload == payload_of(number)
        found[record.position] = record.payload
        assert number > greatest, "in the order of the calls"
        greatest = number
    for number, position in acknowledged.items():
        assert found[position] == payload_of(number)
    return greatest
