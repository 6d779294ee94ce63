"""The Hub: who is connected, what goes out at the end of a turn, who is still alive, and how all are sent away."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from engine.model import parse_offset
from server.errors import ApiError
from server.hub.channel import Channel
from server.hub.firehose import Arrivals, Group, Replay
from server.hub.frames import text_frame
from server.hub.outside import Outside
from server.hub.session import Session, Subscription
from server.wire.times import format_time

logger = logging.getLogger("streamgauge.hub")

FLUSH_SLICE = 256
"""Sessions written to in one go before the event loop may do something else."""
HEARTBEAT_SLOTS = 16
"""The heartbeats of all connections are spread over so many moments of an interval."""
MISSES = 2
"""Heartbeats in a row without a sign of life after which a connection is dead."""
RECONNECT_AFTER_MS = (500, 5000)
"""Range of the waits that connections sent away at shutdown are given."""
GOING_AWAY = 1001


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the hub. Rates per second and connection; heartbeat in seconds; messages in bytes."""

    connections: int = 1000
    subscriptions: int = 100
    message_bytes: int = 65_536
    message_rate: float = 50
    firehose_rate: int = 20
    heartbeat: float = 30.0


class Feed(Protocol):
    """Live queries, as the hub needs them; `server.subscribers.live` is one."""

    def begin(self, position: int) -> None:
        """Entries up to this position have been applied already."""

    def now(self) -> tuple[str, int]:
        """(offset, stamp in ms) of the newest entry applied."""

    def known(self, query_id: str) -> bool:
        """Is there a saved query of this id?"""

    def subscribe(self, subscription: Subscription, query: dict[str, Any] | None, since: str | None) -> None:
        """Offer the subscription each result from now on, the present one first unless it is the one at `since`.

        The query is the saved one of subscription.query_id, or the body given. ApiError or EngineError.
        """

    def unsubscribe(self, subscription: Subscription) -> None:
        """Offer it nothing more."""


class Hub:
    """All connections. Everything here runs on the event loop and none of it waits, except `drain`."""

    def __init__(self, feed: Feed, limits: Limits | None = None) -> None:
        self.feed = feed
        self.limits = limits or Limits()
        self.sessions: set[Session] = set()
        self.outside = Outside(self)
        self.draining = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._admitted = 0
        self._ready: deque[Session] = deque()
        self._flushing = False
        self._groups: dict[tuple[int, bool], Group] = {}
        """By rate, and by whether the server's own metrics are wanted."""
        self._replay = Replay()
        self._dropped = 0
        self._sent = 0
        self._slots: list[set[Session]] = [set() for _ in range(HEARTBEAT_SLOTS)]
        self._slot = 0
        self._beat_timer: asyncio.TimerHandle | None = None

    # Connections

    def admit(self) -> None:
        """Reserve a place for a connection, to be given back by `release`. ApiError when there is none."""
        if self.draining:
            raise ApiError("shutting_down", "the server is shutting down", retry_after=1)
        if self._admitted >= self.limits.connections:
            message = f"all {self.limits.connections} connections are taken"
            raise ApiError("too_many_connections", message, retry_after=5)
        self._admitted += 1

    def release(self) -> None:
        """Give back the place of an admitted connection."""
        self._admitted -= 1

    def connect(self, channel: Channel, client_id: str, firehose: bool = True, since: str | None = None) -> Session:
        """A session on an open channel: says hello, replays the firehose after `since`, starts it."""
        limits = self.limits
        burst = max(2 * limits.message_rate, limits.subscriptions)
        session = Session(channel, client_id, self._queue, limits.message_rate, burst)
        session.max_rate = limits.firehose_rate
        self.sessions.add(session)
        self._empty.clear()
        random.choice(self._slots).add(session)
        if self._beat_timer is None:
            self._beat_later()
        firehose = firehose and limits.firehose_rate > 0
        offset, at = self.feed.now()
        session.send(
            {
                "type": "hello",
                "client_id": client_id,
                "offset": offset,
                "at": format_time(at),
                "heartbeat": limits.heartbeat,
                "firehose": firehose,
                "max_rate": session.max_rate,
            }
        )
        if firehose:
            if since is not None:
                self._send_missed(session, since, offset)
            self.set_firehose(session, True)
        self.outside.connected(session)
        return session

    def disconnect(self, session: Session) -> None:
        """Forget a session and its subscriptions."""
        if session in self.sessions:
            self._sent += session.sent
        self.sessions.discard(session)
        for slot in self._slots:
            slot.discard(session)
        self.set_firehose(session, False)
        for subscription in list(session.subscriptions.values()):
            self.unsubscribe(subscription)
        session.channel.on_drain = None
        if not self.sessions:
            self._empty.set()

    @property
    def sent_bytes(self) -> int:
        """Bytes written to all connections, those that are gone included."""
        return self._sent + sum(session.sent for session in self.sessions)

    def stats(self) -> dict[str, int]:
        """Figures for /api/stats."""
        return {
            "connections": len(self.sessions),
            "active_subscriptions": sum(len(session.subscriptions) for session in self.sessions),
            "firehose_dropped": self._dropped + sum(group.dropped_total for group in self._groups.values()),
        }

    # Subscriptions

    def subscribe(
        self,
        session: Session,
        query_id: str | None,
        query: dict[str, Any] | None = None,
        *,
        since: str | None = None,
        delta: bool = False,
        id: str | None = None,
    ) -> Subscription:
        """A new subscription of a session, which is told of it before the first result. ApiError or EngineError."""
        if len(session.subscriptions) >= self.limits.subscriptions:
            message = f"a connection can have {self.limits.subscriptions} subscriptions"
            raise ApiError("too_many_subscriptions", message)
        subscription = Subscription(session, id or new_subscription_id(), query_id, delta)
        # The acknowledgement is queued first; results are conflated apart from it and follow it in the same write.
        self.feed.subscribe(subscription, query, since)
        session.subscriptions[subscription.id] = subscription
        session.send({"type": "subscription_created", "subscription_id": subscription.id, "query_id": query_id})
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription without telling its client."""
        if subscription.session.subscriptions.pop(subscription.id, None) is None:
            return
        subscription.pending = None
        self.feed.unsubscribe(subscription)
        self.outside.ended(subscription)

    # Firehose

    def firehose(self, arrivals: Arrivals) -> None:
        """Send an entry's rows to the connections that want them, as far as their rates allow."""
        if not arrivals.count:
            return
        if not arrivals.own:
            self._replay.add(arrivals)
        for (_, own), group in self._groups.items():
            if own or not arrivals.own:
                group.offer(arrivals)

    def tell(self, payload: bytes) -> None:
        """Send all connections a message, JSON already, that none should miss; who is far behind does, counted."""
        frame = text_frame(payload)
        for session in self.sessions:
            if not session.insist(frame):
                session.missed += 1

    def begin(self, position: int) -> None:
        """The hub will be given every row after this position: to be called with the last one replayed at start."""
        self._replay.floor = position
        self.feed.begin(position)

    def set_firehose(self, session: Session, on: bool) -> None:
        """Switch a session's firehose, at its max_rate."""
        if session.group is not None:
            session.group.remove(session)
            if not session.group.listeners:
                for key in [key for key, group in self._groups.items() if group is session.group]:
                    self._dropped += self._groups.pop(key).dropped_total
            session.group = None
        if on and session.max_rate > 0:
            key = session.max_rate, session.own
            session.group = self._groups.get(key)
            if session.group is None:
                session.group = self._groups[key] = Group(session.max_rate)
            session.group.add(session)

    def _send_missed(self, session: Session, since: str, offset: str) -> None:
        try:
            epoch, position = parse_offset(since)
        except ValueError as error:
            failure = ApiError("bad_request", str(error))
            session.send({"type": "error", "code": failure.code, "message": failure.message})
            return
        here, newest = parse_offset(offset)
        if epoch != here or position > newest:
            complete, frames = False, self._replay.after(0)[1]
        else:
            complete, frames = self._replay.after(position)
        if not complete:
            session.send({"type": "gap", "since": since, "offset": offset})
        if frames:
            session.push(b"".join(frames))

    # The end of a turn

    def _queue(self, session: Session) -> None:
        session.queued = True
        self._ready.append(session)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        ready = self._ready
        for _ in range(min(len(ready), FLUSH_SLICE)):
            session = ready.popleft()
            try:
                session.flush()
            except Exception:
                # One connection's trouble must not keep the others from getting their updates.
                logger.exception("connection of %r ended: it could not be written to", session.client_id)
                session.channel.abort()
        if ready:
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._flushing = False

    # Heartbeat

    def _beat_later(self) -> None:
        if self.sessions:
            delay = self.limits.heartbeat / HEARTBEAT_SLOTS
            self._beat_timer = asyncio.get_running_loop().call_later(delay, self._beat)
        else:
            self._beat_timer = None

    def _beat(self) -> None:
        self._beat_later()
        self._slot = (self._slot + 1) % HEARTBEAT_SLOTS
        for session in tuple(self._slots[self._slot]):
            channel = session.channel
            session.misses = 0 if channel.heard else session.misses + 1
            channel.heard = False
            if session.misses >= MISSES:
                logger.info("connection of %r ended: no sign of life", session.client_id)
                channel.abort()
            elif not channel.blocked:
                channel.ping()

    # Shutdown

    async def drain(self, seconds: float) -> None:
        """Send all connections away, spread over the time. Returns when all are gone; the last ones are cut off."""
        self.draining = True
        loop = asyncio.get_running_loop()
        start = loop.time()
        sessions = random.sample(list(self.sessions), len(self.sessions))
        for number, session in enumerate(sessions):
            delay = start + seconds * number / len(sessions) - loop.time()
            if delay > 0.02:
                await asyncio.sleep(delay)
            if session in self.sessions:
                session.send({"type": "reconnect", "after_ms": random.randint(*RECONNECT_AFTER_MS)})
                session.flush()
                session.channel.close(GOING_AWAY, "the server is shutting down")
        deadline = max(start + seconds, loop.time() + 1.0)
        try:
            async with asyncio.timeout_at(deadline):
                await self._empty.wait()
        except TimeoutError:
            logger.info("%d connections did not close in time and are cut off", len(self.sessions))
        for session in tuple(self.sessions):
            session.channel.abort()
        if self._beat_timer is not None:
            self._beat_timer.cancel()
            self._beat_timer = None


def new_subscription_id() -> str:
    """`sub_` and 16 hex digits that cannot be guessed."""
    return f"sub_{secrets.token_hex(8)}"
