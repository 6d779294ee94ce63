"""One connection: what waits to be sent to it, conflated per subscription, and how fast it may talk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from server.errors import ApiError
from server.hub.channel import WRITE_BOUND, Channel
from server.hub.firehose import Group
from server.hub.frames import Spliced, text_frame
from server.wire.messages import encode

INSIST_BOUND = 1 << 20
"""Bytes that may wait for one connection before it misses even what is not conflated."""


class Update:
    """One result of a live query, or its failure, ready for any number of subscribers.

    version: counts the results of the query. full: the whole result. delta: what changed since version - 1, or None.
    """

    __slots__ = ("delta", "full", "version")

    def __init__(self, version: int, full: Spliced, delta: Spliced | None = None) -> None:
        self.version = version
        self.full = full
        self.delta = delta


class Subscription:
    """One connection's subscription to one live query. `offer` is called for each new result and never waits."""

    __slots__ = ("delta", "id", "key", "pending", "query_id", "session", "version")

    def __init__(self, session: Session, id: str, query_id: str | None, delta: bool) -> None:
        self.session = session
        self.id = id
        self.key = id.encode()
        self.query_id = query_id
        self.delta = delta
        self.version = 0
        """The version its connection was last sent, 0 for none."""
        self.pending: Update | None = None

    def offer(self, update: Update) -> None:
        """Send this result next, instead of an older one that could not be sent yet."""
        session = self.session
        if self.pending is None:
            session.behind.append(self)
        self.pending = update
        if not session.queued:
            session.queue(session)

    def tell(self, message: dict[str, object]) -> None:
        """Send a message about this subscription, ahead of its pending result."""
        self.session.send(message)


class Session:
    """A connection. All that is to be sent gathers here and goes out in one write at the end of the loop's turn.

    queue: asks for a `flush` at the end of the turn; it sets `queued`.
    """

    __slots__ = (
        "_allowance",
        "_allowed_at",
        "_burst",
        "_out",
        "_out_size",
        "_rate",
        "behind",
        "channel",
        "client_id",
        "group",
        "max_rate",
        "missed",
        "misses",
        "own",
        "queue",
        "queued",
        "sent",
        "subscriptions",
    )

    def __init__(
        self, channel: Channel, client_id: str, queue: Callable[[Session], None], rate: float, burst: float
    ) -> None:
        self.channel = channel
        self.client_id = client_id
        self.queue = queue
        self.queued = False
        self.subscriptions: dict[str, Subscription] = {}
        self.behind: deque[Subscription] = deque()
        self.group: Group | None = None
        self.max_rate = 0
        """Firehose rows per second, kept while the firehose is off."""
        self.own = False
        """Whether the firehose has the server's own metrics too."""
        self.sent = 0
        """Bytes written."""
        self.missed = 0
        self.misses = 0
        """Heartbeats in a row without a sign of life."""
        self._out: list[bytes] = []
        self._out_size = 0
        self._rate = rate
        self._burst = self._allowance = burst
        self._allowed_at = 0.0
        channel.on_drain = self._drained

    def send(self, message: dict[str, object]) -> None:
        """Queue one message. For answers to what the client sent, of which only so many can wait, see `push`."""
        self.send_json(encode(message))

    def send_json(self, payload: bytes) -> None:
        """Queue one message that is JSON already."""
        self._append(text_frame(payload))

    @property
    def full(self) -> bool:
        """Is enough waiting to be worth a write before the end of the turn?"""
        return self._out_size > WRITE_BOUND

    def push(self, block: bytes) -> bool:
        """Queue frames unless the connection is blocked or has enough waiting; False then."""
        if self.channel.blocked or self.full:
            return False
        self._append(block)
        return True

    def insist(self, block: bytes) -> bool:
        """Queue frames even while the connection is blocked, as long as not much is waiting; False then."""
        if self._out_size > INSIST_BOUND:
            return False
        self._append(block)
        return True

    def _append(self, block: bytes) -> None:
        self._out.append(block)
        self._out_size += len(block)
        if not self.queued:
            self.queue(self)

    def _drained(self) -> None:
        if (self._out or self.behind) and not self.queued:
            self.queue(self)

    def flush(self) -> None:
        """Write what waits, as far as the connection takes it; the rest goes out when it has drained."""
        self.queued = False
        channel = self.channel
        if channel.blocked:
            return
        parts, size = self._out, self._out_size
        self._out, self._out_size = [], 0
        behind = self.behind
        while behind:
            subscription = behind.popleft()
            update = subscription.pending
            if update is None:
                continue  # unsubscribed meanwhile
            subscription.pending = None
            spliced = update.full
            if update.delta is not None and subscription.delta and subscription.version == update.version - 1:
                spliced = update.delta
            subscription.version = update.version
            parts += (spliced.head, subscription.key, spliced.tail)
            size += spliced.length
            if size >= WRITE_BOUND:
                channel.write(parts, size)
                self.sent += size
                parts, size = [], 0
                if channel.blocked:
                    return
        if parts:
            channel.write(parts, size)
            self.sent += size

    def pay(self, now: float) -> None:
        """Count one message of the client: `rate` per second, `burst` at once, else ApiError too_many_requests."""
        self._allowance = min(self._burst, self._allowance + (now - self._allowed_at) * self._rate)
        self._allowed_at = now
        if self._allowance < 1:
            raise ApiError("too_many_requests", f"at most {self._rate:g} messages per second", 1 / self._rate)
        self._allowance -= 1
