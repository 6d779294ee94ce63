"""What the server counts of its own work, as plain numbers: cheap to add to where it is hot, read now and then."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

OTHER = "other"
"""The path of requests that no route answered: what is asked there is anybody's text."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
RING = 64
"""Durations kept of each kind between two readings; a power of two."""


class Ring:
    """The newest few of a stream of numbers."""

    __slots__ = ("_taken", "_values", "count")

    def __init__(self) -> None:
        self.count = 0
        self._values = array("d", bytes(8 * RING))
        self._taken = 0

    def add(self, value: float) -> None:
        """Takes one number; it may replace one that was not read."""
        self._values[self.count & (RING - 1)] = value
        self.count += 1

    def take(self) -> list[float]:
        """The numbers that came since the last call, at most RING of them, the newest."""
        begin = max(self._taken, self.count - RING)
        self._taken = self.count
        return [self._values[at & (RING - 1)] for at in range(begin, self.count)]


class Tally:
    """The requests of one method and route."""

    __slots__ = ("durations", "received", "sent", "statuses")

    def __init__(self) -> None:
        self.statuses = [0] * 600
        """Requests by status."""
        self.received = 0
        """Bytes of the bodies that were sent to us, as far as their length is known."""
        self.sent = 0
        """Bytes of the bodies of the answers."""
        self.durations = Ring()
        """Seconds."""

    def done(self, status: int, received: int, sent: int, begun: float) -> None:
        """Counts a request that is answered now. begun: time.perf_counter() at its beginning."""
        self.statuses[status] += 1
        self.received += received
        self.sent += sent
        self.durations.add(time.perf_counter() - begun)


class Counts:
    """Requests by method and route template, and errors by code."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str], Tally] = {}
        self.errors: Counter[tuple[str, int]] = Counter()
        """By code and HTTP status."""

    def tally(self, method: str, path: str) -> Tally:
        """The tally of a method and a route template."""
        key = (method if method in METHODS else OTHER, path)
        known = self.tallies.get(key)
        if known is None:
            known = self.tallies[key] = Tally()
        return known


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class CountedApp:
    """ASGI: counts the HTTP requests that the app behind it answers.

    routes: what may answer; a route has an `endpoint`, which the router leaves in the scope, and a `path`.
    """

    def __init__(
        self, app: Callable[[Message, Receive, Send], Awaitable[None]], counts: Counts, routes: Iterable[Any]
    ) -> None:
        self._app, self._counts = app, counts
        self._paths = {route.endpoint: route.path for route in routes if hasattr(route, "endpoint")}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status, sent = 500, 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
            received = int(length) if length.isdigit() and len(length) < 16 else 0
            path = self._paths.get(scope.get("endpoint"), OTHER)
            self._counts.tally(scope["method"], path).done(status, received, sent, begun)
