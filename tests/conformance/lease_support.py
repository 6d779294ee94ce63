"""What the lease suite shares: processes that contend for a stream and say when they believed to own it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

from server.log import Lease, open_lease
from server.tasks import end
from tests.support import ROOT

CONTENDER = """
import asyncio, random, sys, time
from server.log import LogUnavailable, open_lease, open_log
from server.log.redis_lease import now

async def main(url, name, ttl, unrest):
    lease = await open_lease(url, name, ttl=ttl)
    log = await open_log(url, lease=lease)
    running = asyncio.create_task(lease.run())
    print("ready", flush=True)
    stdin = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    fence, began, last = 0, 0.0, 0.0
    while not stdin.done():
        before = now()
        held = lease.fence
        after = now()
        if held != fence:
            if fence:
                print("held", fence, began, last, flush=True)
            if last and before - last > 1 and fence:
                try:
                    await log.trim(1 << 60)
                    print("trimmed", flush=True)
                except LogUnavailable as error:
                    print("refused", error, flush=True)
            fence, began = held, after
            if held:
                print("owner", held, flush=True)
        if held:
            last = before
        act = random.random() if unrest else 1
        if act < 0.004:
            time.sleep(random.uniform(0.05, 1.5) * ttl)
        elif act < 0.006:
            await lease.release()
        else:
            await asyncio.sleep(0.002)
    if fence:
        print("held", fence, began, last, flush=True)
    running.cancel()

asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] == "unrest"))
"""
"""A time at which it surely believed to be the owner is one after the first look that said so and before the last."""


class Held(NamedTuple):
    """One ownership, as who had it saw it: seconds on a clock that all processes share."""

    began: float
    ended: float
    fence: int
    name: str


class Contender:
    """A process with a lease on the stream of a URL."""

    def __init__(self, url: str, name: str, ttl: float, *, unrest: bool = False) -> None:
        self.name = name
        arguments = [url, name, str(ttl), "unrest" if unrest else "calm"]
        self._child = subprocess.Popen(
            [sys.executable, "-c", CONTENDER, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def line(self) -> list[str]:
        """The next thing it says, in words."""
        assert self._child.stdout is not None
        return self._child.stdout.readline().decode().split()

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def finish(self) -> list[Held]:
        """Let it end by itself; the ownerships that it had."""
        said, _ = self._child.communicate(timeout=20)
        assert self._child.returncode == 0
        lines = [line.split() for line in said.decode().splitlines()]
        return [Held(float(w[2]), float(w[3]), int(w[1]), self.name) for w in lines if w[0] == "held"]

    def kill(self) -> None:
        self._child.kill()
        self._child.communicate()


@contextlib.asynccontextmanager
async def running(url: str, name: str, ttl: float) -> AsyncIterator[Lease]:
    """A lease in this process, contending until the end of the block."""
    lease = await open_lease(url, name, ttl=ttl)
    task = asyncio.create_task(lease.run())
    try:
        yield lease
    finally:
        await end(task)
        assert task.cancelled(), task.exception()
        await lease.release()
        await lease.close()
