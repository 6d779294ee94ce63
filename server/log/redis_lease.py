"""Who of several processes owns a stream on Redis: a lease that runs out by itself, and a number that fences.

    STREAM:lease        "NAME:FENCE" of the owner, with the lease's life as its expiry
    STREAM:fence        the newest fence given out; each ownership has a greater one than all before it

The owner trusts its own clock, not an answer: the lease is valid from the moment before the last good renewal was sent,
for less than Redis keeps it. So two processes are valid at once only where Redis forgets a lease: its clock jumps
ahead, a replica without the newest writes takes its place, or it comes back without the last seconds, as it may with
appendfsync everysec. Against the last, a Redis that has just started gives nobody a lease until those it may have
forgotten are over. Against all, writes carry the fence: `server.log.redis_trim` here, the store's head beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sys
import time
from typing import Any

from redis.exceptions import RedisError

from server.log.redis_client import TROUBLE, maker
from server.log.redis_names import split_url, text

log = logging.getLogger(__name__)

MARGIN = 0.5
"""Seconds by which the owner holds a lease for shorter than Redis does, at a life of 3 s; in proportion below it."""

ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder then return {'0', holder} end
local given = redis.call('GET', KEYS[2])
local info = redis.pcall('INFO', 'server')
if given and type(info) == 'string' then
    local up = tonumber(string.match(info, 'uptime_in_seconds:(%d+)'))
    if up and (up - 1) * 1000 < tonumber(ARGV[2]) then return {'0', ''} end
end
local now = redis.call('TIME')
local fence = math.max(tonumber(given or '0') + 1, tonumber(ARGV[3]) + 1, now[1] * 1000 + math.floor(now[2] / 1000))
fence = string.format('%.0f', fence)
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], fence)
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. fence, 'PX', ARGV[2])
return {fence, ''}
"""
"""The fence is at least the time in ms, so that a counter which a power loss set back gives no number twice. A write
that needs no memory comes first: after it Redis lets a script go on although its memory is full, and somebody has to
own the stream that is to be trimmed."""
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


def now() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def owner_text(name: str, fence: int) -> str:
    """What the lease's key holds while `name` owns the stream."""
    return f"{name}:{fence}"


class RedisLease:
    """See `server.log.Lease`."""

    def __init__(self, url: str, name: str, *, ttl: float = 3.0) -> None:
        if not name or ttl < 0.1:
            raise ValueError(f"a lease needs a name and a life of at least 0.1 s, not {name!r} and {ttl}")
        _, stream, _ = split_url(url)
        self.name = name
        self.holder = ""
        self._client = maker(url, timeout=ttl / 3)()
        self._keys = (f"{stream}:lease", f"{stream}:fence")
        self._ttl = ttl
        self._life = ttl - min(MARGIN, ttl / 6)
        self._fence = 0
        self._deadline = 0.0
        self._seen = 0
        """The greatest fence that this process knows of."""
        self._paused_until = 0.0
        self._held, self._over = asyncio.Event(), asyncio.Event()
        self._over.set()
        self._asking = asyncio.Lock()
        self._down = False

    @property
    def fence(self) -> int:
        return self._fence if self.valid else 0

    @property
    def valid(self) -> bool:
        return self._fence != 0 and now() < self._deadline

    async def run(self) -> None:
        while True:
            if self._fence:
                await self._renew()
            elif now() >= self._paused_until:
                await self._acquire()
            pause = self._ttl / 12 if self._down else self._ttl / 3 if self._fence else self._ttl / 6
            await asyncio.sleep(pause if self._fence else pause * random.uniform(0.7, 1.3))

    async def acquired(self) -> int:
        while True:
            await self._held.wait()
            if fence := self.fence:
                return fence
            await self._over.wait()  # it has run out, which is yet to be noticed

    async def lost(self) -> None:
        over = self._over
        while not over.is_set() and self.valid:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self._deadline - now(), 0.001)):
                    await over.wait()

    async def release(self) -> None:
        async with self._asking:
            fence = self._fence
            if fence:
                self._lose("it is given up")
                self._paused_until = now() + self._ttl
                await self._ask(RELEASE, owner_text(self.name, fence))

    async def close(self) -> None:
        await self._client.aclose()

    async def _acquire(self) -> None:
        async with self._asking:
            sent = now()
            answer = await self._ask(ACQUIRE, self.name, int(self._ttl * 1000), self._seen, keys=2)
            if answer is None:
                return
            fence, self.holder = int(answer[0]), text(answer[1])
            self._seen = max(self._seen, fence, int(self.holder.rpartition(":")[2] or 0))
            if not fence or now() >= sent + self._life:  # what came too late runs out by itself
                return
            self._fence, self._deadline, self.holder = fence, sent + self._life, owner_text(self.name, fence)
            self._over = asyncio.Event()
            self._held.set()
            log.info("lease: %s owns the stream, fence %d", self.name, fence)

    async def _renew(self) -> None:
        async with self._asking:
            sent, fence = now(), self.fence
            renewed = await self._ask(RENEW, owner_text(self.name, fence), int(self._ttl * 1000)) if fence else None
            if not self._fence:  # released before its turn came
                return
            # Whoever waits may have seen it run out while Redis was slow to answer: then it is over, renewed or not.
            if not self.valid:
                self._lose("it was not renewed in time")
            elif renewed:
                self._deadline = sent + self._life
            elif renewed is not None:
                self._lose("Redis says that it is over")

    def _lose(self, why: str) -> None:
        log.info("lease: %s no longer owns the stream, fence %d: %s", self.name, self._fence, why)
        self._fence, self.holder = 0, ""
        self._held.clear()
        self._over.set()

    async def _ask(self, script: str, *arguments: object, keys: int = 1) -> Any:
        """The answer of a script; None where there is none, which is logged once until there is one again."""
        patience = min(self._ttl / 3, self._deadline - now()) if self._fence else self._ttl / 3
        try:
            async with asyncio.timeout(patience):
                answer = await self._client.execute_command("EVAL", script, keys, *self._keys[:keys], *arguments)
        except (RedisError, *TROUBLE) as error:
            if not self._down:
                why = str(error) or "no answer in time"
                log.warning("lease: Redis does not answer as it should, trying again: %s", why)
            self._down = True
            return None
        self._down = False
        return answer
