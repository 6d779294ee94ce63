"""Which processes work on a stream on Redis: each says so every second, and is forgotten when it falls silent.

STREAM:member:NAME  what a process says of itself, JSON, which expires
STREAM:members      sorted set: name -> ms of the clock of Redis when it last spoke; so that nobody has to scan
STREAM:TOPIC:NAME   what a process has left for the others, which expires
"""

from __future__ import annotations

import json
import logging
from typing import Any

from redis.exceptions import RedisError

from server.log import MEMBER_LIFE, LogUnavailable
from server.log.redis_client import TROUBLE, maker
from server.log.redis_names import split_url, text

log = logging.getLogger(__name__)

LIFE_MS = int(MEMBER_LIFE * 1000)

ANNOUNCE = """
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
return 1
"""
LIST = """
local now = redis.call('TIME')
local silent = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', silent)
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""


class RedisMembers:
    """See `server.log.Members`."""

    def __init__(self, url: str, name: str) -> None:
        if not name:
            raise ValueError("a member needs a name")
        _, self._stream, _ = split_url(url)
        self.name = name
        self._client = maker(url, timeout=1.0)()
        self._down = False

    async def announce(self, info: dict[str, Any]) -> bool:
        said = json.dumps(info, allow_nan=False)
        keys = self._key(self.name), f"{self._stream}:members"
        return await self._say("EVAL", ANNOUNCE, 2, *keys, self.name, said, LIFE_MS)

    async def leave(self, topic: str, value: bytes, life: float) -> None:
        await self._say("SET", f"{self._stream}:{topic}:{self.name}", value, "PX", int(life * 1000))

    async def _say(self, *command: object) -> bool:
        try:
            await self._client.execute_command(*command)
            self._down = False
        except (RedisError, *TROUBLE) as error:
            if not self._down:
                log.warning("members: Redis does not take what %s says of itself, trying again: %s", self.name, error)
            self._down = True
        return not self._down

    async def listed(self) -> list[dict[str, Any]]:
        try:
            names = await self._client.execute_command("EVAL", LIST, 1, f"{self._stream}:members", LIFE_MS)
            said = await self._client.execute_command("MGET", *map(self._key, map(text, names))) if names else []
        except (RedisError, *TROUBLE) as error:
            raise LogUnavailable(f"Redis does not say which processes there are: {error}") from error
        there = [(text(name), value) for name, value in zip(names, said, strict=True) if value is not None]
        return [{"name": name, **json.loads(value)} for name, value in sorted(there)]

    async def left(self, topic: str) -> list[bytes]:
        names = [member["name"] for member in await self.listed() if member["name"] != self.name]
        try:
            keys = [f"{self._stream}:{topic}:{name}" for name in names]
            found = await self._client.execute_command("MGET", *keys) if keys else []
        except (RedisError, *TROUBLE) as error:
            raise LogUnavailable(f"Redis does not say what other processes have left: {error}") from error
        return [value for value in found if value is not None]

    async def close(self) -> None:
        try:
            await self._client.execute_command("DEL", self._key(self.name))
            await self._client.execute_command("ZREM", f"{self._stream}:members", self.name)
        except (RedisError, *TROUBLE) as error:
            log.info("members: %s is forgotten only in %d s: %s", self.name, LIFE_MS // 1000, error)
        await self._client.aclose()

    def _key(self, name: str) -> str:
        return f"{self._stream}:member:{name}"
