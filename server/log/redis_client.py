"""Connections to Redis: how they are made, what counts as one that is lost, and the stream's place taken by another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

READ_SIZE = 1 << 18
TROUBLE = (RedisConnectionError, RedisTimeoutError, OSError, RuntimeError)  # uvloop's, of a transport just closed

Client = Any  # redis-py's Redis, whose commands are not typed well enough to check against
MakeClient = Callable[[], Client]


class Replaced(RedisError):
    """The server answers, but the stream is not the one that was opened."""


def maker(url: str, greet: Callable[[Any], Awaitable[None]]) -> MakeClient:
    """Makes clients for `url`. greet: is awaited with every new connection, which redis-py makes anew unseen."""

    def make() -> Client:
        # protocol 2: one shape of replies; no retries of its own: repeating an XADD is decided by the log
        return Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=5,
            socket_connect_timeout=2,
            socket_keepalive=True,
            socket_read_size=READ_SIZE,
            redis_connect_func=greet,
        )

    return make
