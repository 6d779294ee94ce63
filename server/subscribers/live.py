"""Live queries: each evaluated when its data changed, once for all who subscribe to it.

    pipeline ── applied(names, position, stamp) ──▶ Live: which queries does this touch, whose range slid?
                                                     └─▶ LiveQuery: evaluate, encode once ──▶ Subscription.offer

A query is due when an entry that touched its metric or event lies after the position of its last answer, or when the
newest stamp has crossed a multiple of its slide, or the moment at which a calendar changes its last answer. It is
evaluated at most every max(5 ms, 10 x its last cost), 25 ms above 100 subscribers. Each has a task of its own, so that
a slow one holds up nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

from engine.model import parse_offset
from engine.query.value import Name
from server.errors import ApiError
from server.hub import Subscription
from server.subscribers.live_query import Answer, LiveQuery, Questions
from server.subscribers.live_turns import Turns

logger = logging.getLogger("streamgauge.live")

__all__ = ["Answer", "Live", "Questions"]

LINGER = 60.0
"""Seconds a query without subscribers is kept, so that clients that come back cost no evaluation."""
MAX_IDLE = 1000
"""Queries without subscribers that are kept."""
MAX_QUERIES = 10_000
"""Distinct queries with subscribers."""


class Live:
    """All live queries; a `server.hub.Feed`. Everything runs on the event loop.

    failed: told the exception when a query's task dies, which none should; the composition root ends the process then.
    """

    def __init__(
        self, questions: Questions, *, failed: Callable[[BaseException], None] | None = None, linger: float = LINGER
    ) -> None:
        self.questions = questions
        self._failed = failed
        self._linger = linger
        self._turns = Turns()
        self._position = 0
        self._queries: dict[tuple[str | None, object], LiveQuery] = {}
        self._by_name: dict[Name, set[LiveQuery]] = {}
        self._by_slide: dict[int, set[LiveQuery]] = {}
        self._moments: dict[int, int] = {}
        self._second = 0
        self._by_subscription: dict[Subscription, LiveQuery] = {}
        self._idle: OrderedDict[LiveQuery, float] = OrderedDict()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._ended_evaluations = 0
        self._ended_seconds = 0.0

    def applied(self, names: Collection[Name], position: int, stamp: int) -> None:
        """An entry has been applied: what it touched (metrics and events by name), where it lies, its stamp in ms."""
        self._position = position
        if not self._queries:
            return
        by_name = self._by_name
        fewer, more = (names, by_name) if len(names) < len(by_name) else (by_name, names)
        for name in fewer:
            if name in more:
                for query in by_name[name]:
                    query.touch(position)
        for slide, moment in self._moments.items():
            if stamp // slide != moment:
                self._moments[slide] = stamp // slide
                for query in self._by_slide[slide]:
                    query.slide()
        if stamp // 1000 != self._second:  # calendars change at whole seconds
            self._second = stamp // 1000
            for query in self._queries.values():
                if query.moves is not None and stamp >= query.moves:
                    query.slide()

    def begin(self, position: int) -> None:
        """See `server.hub.Feed`."""
        self._position = position

    @property
    def watching(self) -> bool:
        """Whether there is any live query that an entry could touch."""
        return bool(self._queries)

    def now(self) -> tuple[str, int]:
        """(offset, stamp in ms) of the newest entry applied."""
        return self.questions.offset(self._position), self.questions.stamp()

    def known(self, query_id: str) -> bool:
        """Is there a saved query of this id?"""
        return self.questions.saved(query_id) is not None

    def subscribe(self, subscription: Subscription, query: dict[str, Any] | None, since: str | None) -> None:
        """See `server.hub.Feed`."""
        parsed: object
        if subscription.query_id is not None:
            parsed = self.questions.saved(subscription.query_id)
            if parsed is None:
                raise ApiError("not_found", f"there is no query {subscription.query_id[:100]!r}")
        else:
            parsed = self.questions.parse(query or {})
        seen = None if since is None else self._position_of(since)
        live = self._query(subscription.query_id, parsed)
        self._idle.pop(live, None)
        self._by_subscription[subscription] = live
        live.add(subscription, seen)

    def unsubscribe(self, subscription: Subscription) -> None:
        """See `server.hub.Feed`."""
        live = self._by_subscription.pop(subscription, None)
        if live is None:
            return
        live.remove(subscription)
        if not live.subscribers:
            self._idle[live] = asyncio.get_running_loop().time() + self._linger
            if len(self._idle) > MAX_IDLE:
                self._drop(self._idle.popitem(last=False)[0])
            if self._sweep_timer is None:
                self._sweep_timer = asyncio.get_running_loop().call_later(self._linger, self._sweep)

    def deleted(self, query_id: str) -> None:
        """A saved query has been deleted: its subscribers are told and get nothing more."""
        for live in [live for (id, _), live in self._queries.items() if id == query_id]:
            for subscription in tuple(live.subscribers):
                subscription.tell(
                    {
                        "type": "error",
                        "code": "not_found",
                        "message": f"the query {query_id!r} has been deleted",
                        "query_id": query_id,
                        "subscription_id": subscription.id,
                    }
                )
                subscription.pending = None
                self._by_subscription.pop(subscription, None)
                live.remove(subscription)
            self._idle.pop(live, None)
            self._drop(live)

    def stats(self) -> dict[str, int]:
        """Figures for /api/stats."""
        return {
            "live_queries": len(self._queries) - len(self._idle),
            "evaluations": self._ended_evaluations + sum(live.evaluations for live in self._queries.values()),
        }

    @property
    def evaluation_seconds(self) -> float:
        """Seconds spent on evaluations."""
        return self._ended_seconds + sum(live.seconds for live in self._queries.values())

    async def close(self) -> None:
        """Stop all evaluations."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        lives = list(self._queries.values())
        for live in lives:
            self._drop(live)
        if lives:
            await asyncio.wait([live.task for live in lives])

    def _position_of(self, since: str) -> int | None:
        """The position of an offset, None where it is of another log's life or from the future."""
        try:
            epoch, position = parse_offset(since)
        except ValueError as error:
            raise ApiError("bad_request", str(error)) from None
        here, newest = parse_offset(self.questions.offset(self._position))
        return position if epoch == here and position <= newest else None

    def _query(self, query_id: str | None, parsed: object) -> LiveQuery:
        try:
            hash(parsed)
            key = (query_id, parsed)
        except TypeError:
            key = (query_id, repr(parsed))
        live = self._queries.get(key)
        if live is not None:
            return live
        if len(self._queries) - len(self._idle) >= MAX_QUERIES:
            raise ApiError("too_many_subscriptions", f"{MAX_QUERIES} different queries are live already")
        name, slide = self.questions.names(parsed), self.questions.slide(parsed)
        live = LiveQuery(self.questions, key, query_id, parsed, name, slide, self._turns)
        live.task.add_done_callback(self._ended)
        self._queries[key] = live
        self._by_name.setdefault(name, set()).add(live)
        if slide > 0:
            self._by_slide.setdefault(slide, set()).add(live)
            self._moments.setdefault(slide, self.questions.stamp() // slide)
        return live

    def _drop(self, live: LiveQuery) -> None:
        del self._queries[live.key]
        live.task.cancel()
        self._ended_evaluations += live.evaluations
        self._ended_seconds += live.seconds
        _discard(self._by_name, live.name, live)
        if live.slide_ms > 0 and _discard(self._by_slide, live.slide_ms, live):
            del self._moments[live.slide_ms]

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep_timer = None
        while self._idle and next(iter(self._idle.values())) <= loop.time():
            self._drop(self._idle.popitem(last=False)[0])
        if self._idle:
            self._sweep_timer = loop.call_at(next(iter(self._idle.values())), self._sweep)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            logger.critical("the task of a live query died", exc_info=error)
            if self._failed is not None:
                self._failed(error)


def _discard(index: dict[Any, set[LiveQuery]], key: object, live: LiveQuery) -> bool:
    """Take the query out of the index; True when nothing is left under the key."""
    index[key].discard(live)
    if index[key]:
        return False
    del index[key]
    return True
