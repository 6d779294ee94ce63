"""Connections to the node of a Redis Cluster that holds a stream, wherever it is just now.

All keys of a stream lie in one slot, so one node at a time is all there is to talk to, and everything that the log
decides on a plain Redis (what is repeated, what is put back on a new connection) holds here too. redis-py's own
RedisCluster repeats commands by itself, unseen, which would append entries twice without the log's knowledge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, RedisError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

Address = tuple[str, int]
ELSEWHERE = (AskError, ClusterDownError, TryAgainError)
"""Answers of a node that does not serve the slot now, MOVED among them: the command was not done."""
_WORDS = ("MOVED ", "ASK ", "CLUSTERDOWN ", "TRYAGAIN ")
"""How they begin with a redis-py that has no classes for them outside its own cluster client."""


class Route:
    """Where the node is that holds a slot; shared by the clients of a maker."""

    def __init__(self, slot: int, base: Any, options: dict[str, Any]) -> None:
        self._slot = slot
        self._base = base
        self._options = options
        self._known: list[Address] = [(options.pop("host", "localhost"), options.pop("port", 6379))]
        """Nodes to ask, the likeliest first."""
        self._at: Address | None = None

    async def find(self) -> Address:
        """The node, which is asked for only when it is not known. Raises redis-py's ConnectionError."""
        if self._at is None:
            failure: Exception | None = None
            for address in self._known:
                try:
                    self._learn(address, await self._slots(address))
                    break
                except (RedisError, OSError) as error:
                    failure = failure or error
            if self._at is None:
                raise RedisConnectionError(str(failure or f"no node of the cluster holds slot {self._slot}"))
        return self._at

    def forget(self) -> None:
        """It is not there, or no longer."""
        self._at = None

    async def _slots(self, address: Address) -> Any:
        connection = self._base(host=address[0], port=address[1], **self._options)
        try:
            await connection.connect()
            await connection.send_command("CLUSTER", "SLOTS")
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)

    def _learn(self, asked: Address, slots: Any) -> None:
        known = [asked]
        for begin, end, *nodes in slots:
            # A node that does not know its own address leaves it out: it is where it was asked.
            at = [((name or b"").decode() or asked[0], int(port)) for name, port, *_ in nodes]
            known += [address for address in at if address[0] != "?" and address not in known]
            if begin <= self._slot <= end and at[0][0] != "?":
                self._at = at[0]
        self._known = known if self._at is None else [self._at, *(node for node in known if node != self._at)]


class _Routed:
    """What a connection of redis-py is given to go where the route says."""

    def __init__(self, *, route: Route, **options: Any) -> None:
        self._route = route
        super().__init__(**options)

    async def _connect(self) -> None:
        self.host, self.port = await self._route.find()
        try:
            await super()._connect()  # type: ignore[misc]
        except BaseException:
            self._route.forget()
            raise

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*arguments, **options)  # type: ignore[misc]
        except ResponseError as error:
            if not isinstance(error, ELSEWHERE) and not str(error).startswith(_WORDS):
                raise
            self._route.forget()
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise RedisConnectionError(f"the cluster is changing: {error}") from error


class _RoutedConnection(_Routed, Connection):
    pass


class _RoutedSSLConnection(_Routed, SSLConnection):
    pass


def cluster_maker(url: str, key: str, options: dict[str, Any]) -> Callable[[], Any]:
    """What makes clients for the keys in the slot of `key`; they tell one another which nodes there are.

    options: of redis-py's connections; those in the URL win. Raises ValueError for a URL that no cluster has.
    """
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError("with cluster=true the URL starts with redis:// or rediss://")
    given: dict[str, Any] = {**options, **parse_url(url)}
    given.pop("connection_class", None)
    base, routed = (SSLConnection, _RoutedSSLConnection) if url[:7] == "rediss:" else (Connection, _RoutedConnection)
    asking = {name: value for name, value in given.items() if name not in ("redis_connect_func", "max_connections")}
    route = Route(key_slot(key.encode()), base, asking)
    return lambda: Redis.from_pool(ConnectionPool(connection_class=routed, route=route, **given))
