"""Subscriptions made from outside a connection (POST /api/subscriptions): attached by client id, or waiting for it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.errors import ApiError
from server.hub.session import Session, Subscription

if TYPE_CHECKING:
    from server.hub.hub import Hub

WAIT = 60.0
"""Seconds a subscription waits for its client to connect."""
MAX_WAITING = 10_000
"""Subscriptions that may wait at a time."""


@dataclass(frozen=True, slots=True)
class OutsideSubscription:
    """A subscription asked for over HTTP."""

    id: str
    query_id: str
    client_id: str


class Outside:
    """All of them. clock: seconds, steady."""

    def __init__(self, hub: Hub, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub = hub
        self._clock = clock
        self._waiting: OrderedDict[str, tuple[float, OutsideSubscription]] = OrderedDict()
        self._attached: dict[str, list[Subscription]] = {}
        self._made: OrderedDict[str, None] = OrderedDict()

    def check(self, query_id: str) -> None:
        """Raises ApiError not_found where there is no saved query of this id."""
        if not self._hub.feed.known(query_id):
            raise ApiError("not_found", f"there is no query {query_id!r}")

    def knows(self, id: str) -> bool:
        """Whether a subscription of this id was made lately, wherever its client is connected."""
        return id in self._made

    def create(self, id: str, query_id: str, client_id: str) -> None:
        """Attach a new subscription to all connections of a client, or let it wait for the next one.

        ApiError not_found (no such saved query) or too_many_subscriptions.
        """
        self.check(query_id)
        made = OutsideSubscription(id, query_id, client_id)
        self._made[id] = None
        if len(self._made) > MAX_WAITING:
            self._made.popitem(last=False)
        sessions = [session for session in self._hub.sessions if session.client_id == client_id]
        limit = self._hub.limits.subscriptions
        if any(len(session.subscriptions) >= limit for session in sessions):
            raise ApiError("too_many_subscriptions", f"a connection can have {limit} subscriptions")
        for session in sessions:
            self._attach(session, made)
        if not sessions:
            self._expire()
            mine = sum(waiting.client_id == client_id for _, waiting in self._waiting.values())
            if len(self._waiting) >= MAX_WAITING or mine >= limit:
                raise ApiError("too_many_subscriptions", "too many subscriptions wait for their clients", WAIT)
            self._waiting[id] = self._clock() + WAIT, made

    def delete(self, id: str) -> bool:
        """End the subscription of this id, however it was made; its connections are told. False where there is none."""
        if self._waiting.pop(id, None) is not None:
            return True
        found = [s.subscriptions[id] for s in self._hub.sessions if id in s.subscriptions]
        for subscription in found:
            self._hub.unsubscribe(subscription)
            subscription.tell(
                {"type": "subscription_deleted", "subscription_id": id, "query_id": subscription.query_id}
            )
        return bool(found)

    def connected(self, session: Session) -> None:
        """Give a new connection what waits for its client."""
        if not self._waiting:
            return
        self._expire()
        for id, (_, made) in list(self._waiting.items()):
            if made.client_id == session.client_id:
                del self._waiting[id]
                try:
                    self._attach(session, made)
                except ApiError as error:  # the query has been deleted meanwhile
                    session.send({"type": "error", "code": error.code, "message": error.message, "subscription_id": id})

    def ended(self, subscription: Subscription) -> None:
        """A subscription has ended, maybe one of these."""
        attached = self._attached.get(subscription.id)
        if attached is not None and subscription in attached:
            attached.remove(subscription)
            if not attached:
                del self._attached[subscription.id]

    def __len__(self) -> int:
        return len(self._waiting)

    def _attach(self, session: Session, made: OutsideSubscription) -> None:
        subscription = self._hub.subscribe(session, made.query_id, id=made.id)
        self._attached.setdefault(made.id, []).append(subscription)

    def _expire(self) -> None:
        now = self._clock()
        while self._waiting and next(iter(self._waiting.values()))[0] <= now:
            self._waiting.popitem(last=False)
