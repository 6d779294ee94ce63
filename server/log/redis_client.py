"""The clients of the log on Redis: how they are made, what trouble passes, and a stream that was replaced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from server.log.redis_cluster import cluster_maker
from server.log.redis_names import in_cluster, split_url

READ_SIZE = 1 << 18
TROUBLE = (RedisConnectionError, RedisTimeoutError, OSError, RuntimeError)  # uvloop's, of a transport just closed

Client = Any  # redis-py's Redis, whose commands are not typed well enough to check against
MakeClient = Callable[[], Client]
Greet = Callable[[Any], Awaitable[None]]


class Replaced(RedisError):
    """The server answers, but the stream is not the one that was opened."""


def maker(url: str, greet: Greet | None = None, *, timeout: float = 5.0) -> MakeClient:
    """What makes clients for a log URL. greet: done on every new connection; timeout: seconds to wait for an answer.

    Raises ValueError for a URL that means nothing.
    """
    bare, stream, _ = split_url(url)
    options: dict[str, Any] = {
        "protocol": 2,  # one shape of replies
        "retry": Retry(NoBackoff(), 0),  # repeating an XADD is decided by the log
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, 2),
        "socket_keepalive": True,
        "socket_read_size": READ_SIZE,
        "redis_connect_func": greet,
    }
    return cluster_maker(bare, stream, options) if in_cluster(url) else lambda: Redis.from_url(bare, **options)
