"""One live query: when to evaluate it, what its subscribers get of the result."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol

from engine.errors import EngineError
from engine.query.value import Name
from server.errors import CODES, ApiError
from server.hub import Spliced, Subscription, Update
from server.subscribers.live_delta import Columns, Rows, comparable, difference
from server.subscribers.live_turns import Turns
from server.wire.messages import encode, error_around_id, update_around_id

logger = logging.getLogger("streamgauge.live")

MIN_INTERVAL = 0.005
"""Seconds between the starts of two evaluations, at least."""
CROWD = 100
"""Subscribers above which CROWD_INTERVAL holds."""
CROWD_INTERVAL = 0.025
COST_FACTOR = 10
"""An evaluation may take one part in so many of the time."""
PATIENCE = 1.0
"""Seconds that what is due waits at most for what is more urgent."""
PATIENCE_PER_COST = 200
PATIENCE_PER_BYTE = 40e-6
"""Seconds it waits for what costs less and whose result is smaller, which makes less work for all who get it."""
FAILURE_INTERVAL = 1.0
"""Seconds until a query that failed is tried again."""


class Answer(Protocol):
    """One result: rows as JSON values (mostly a list of objects), all that lies at or before `position`, as of `at`."""

    @property
    def position(self) -> int: ...
    @property
    def at(self) -> int: ...
    @property
    def rows(self) -> Any: ...
    @property
    def cost(self) -> float:
        """Seconds."""

    @property
    def moves(self) -> int | None:
        """When a calendar changes it next, in ms; None for never."""


class Questions(Protocol):
    """What live queries need to know about queries; a query is any object."""

    def saved(self, query_id: str) -> object | None:
        """The saved query of this id."""

    def parse(self, body: dict[str, Any]) -> object:
        """The query a body describes; equal bodies give equal or at least equally written (repr) queries. BadQuery."""

    def names(self, query: Any) -> Name:
        """The arrivals that change its result."""

    def slide(self, query: Any) -> int:
        """Milliseconds between the moments its range moves, 0 for never; `Answer.moves` is besides that."""

    async def answer(self, query: Any, at: int | None = None) -> Answer:
        """The result, as of the newest stamp. EngineError or ApiError."""

    def stamp(self) -> int:
        """Newest stamp applied, ms."""

    def offset(self, position: int) -> str:
        """How a position leaves the server."""


class LiveQuery:
    """One query, its subscribers and its newest result. Its task runs until it is cancelled.

    key: under which `Live` keeps it. name, slide_ms: what makes it due. turns: shared by all, to evaluate by.
    """

    def __init__(
        self,
        questions: Questions,
        key: tuple[str | None, object],
        query_id: str | None,
        query: object,
        name: Name,
        slide_ms: int,
        turns: Turns,
    ) -> None:
        self.key = key
        self.name = name
        self.slide_ms = slide_ms
        self.subscribers: set[Subscription] = set()
        self.evaluations = 0
        self.seconds = 0.0
        """Spent on them."""
        self._questions = questions
        self._query_id = query_id
        self._query = query
        self._turns = turns
        self._fresh: dict[Subscription, int | None] = {}
        """Subscribers not offered anything yet, with the position up to which they know the result."""
        self.moves: int | None = None
        """When a calendar changes the newest result next, in ms; a whole second."""
        self._touched = 0
        self._slid = True
        self._answered = -1
        """Position of the last answer, -1 before the first and after a failure."""
        self._changed_at = 0
        """Position of the answer that first had the present data."""
        self._data: bytes | None = None
        self._rows: Rows | Columns | None = None
        self._version = 0
        self._current: Update | None = None
        self._failure: tuple[str, str] | None = None
        self._cost = 0.0
        """Seconds of the last evaluation."""
        self._interval = MIN_INTERVAL
        self._turn: asyncio.Future[None] | None = None
        """What it waits for."""
        self._awake = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    @property
    def due(self) -> bool:
        """Is there something the last answer does not cover?"""
        return self._slid or self._news

    @property
    def _news(self) -> bool:
        """Is there new data, and not only a range that has moved?"""
        return self._touched > self._answered

    @property
    def _patience(self) -> float:
        """Seconds, the fewer the more urgent. Those with nothing on the screen yet count as new data."""
        if not (self._news or self._fresh):
            return PATIENCE
        return min(PATIENCE, PATIENCE_PER_COST * self._cost + PATIENCE_PER_BYTE * len(self._data or b""))

    def touch(self, position: int) -> None:
        """An entry at this position changed the data."""
        news = not self._news
        self._touched = position
        if self.subscribers:
            self._awake.set()
        if news and self._turn is not None:
            self._turns.hurry(self._turn, self._patience)

    def slide(self) -> None:
        """The range has moved."""
        self._slid = True
        self.moves = None
        if self.subscribers:
            self._awake.set()

    def add(self, subscription: Subscription, seen: int | None) -> None:
        """Offer the present result (unless it is the one as of position `seen`) and each new one from now on."""
        followed = bool(self.subscribers)
        self.subscribers.add(subscription)
        if self._current is not None and (followed or not self.due):
            self._offer_first(subscription, seen)
        else:
            self._fresh[subscription] = seen
        if self.due:
            self._awake.set()

    def remove(self, subscription: Subscription) -> None:
        """Offer it nothing more."""
        self.subscribers.discard(subscription)
        self._fresh.pop(subscription, None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        allowed_at = 0.0
        while True:
            await self._awake.wait()
            wait = allowed_at - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            self._awake.clear()
            if not self.subscribers or not (self.due or self._fresh):
                continue
            self._turn = self._turns.ask(self._patience)
            await self._turn
            self._turn = None
            started = loop.time()
            await self._evaluate()
            interval = max(self._interval, CROWD_INTERVAL if len(self.subscribers) > CROWD else MIN_INTERVAL)
            allowed_at = started + interval
            if self.due:
                self._awake.set()

    async def _evaluate(self) -> None:
        self.evaluations += 1
        self._slid = False
        try:
            answer = await self._questions.answer(self._query)
        except (EngineError, ApiError) as error:
            self._fail(error.code if error.code in CODES else "bad_query", str(error))
        except Exception:
            logger.exception("live query %r failed", self._query_id or self._query)
            self._fail("internal", "the query failed; the server's log says why")
        else:
            began = time.thread_time()
            self.moves = answer.moves
            self._publish(answer)
            self._cost = answer.cost + time.thread_time() - began
            self.seconds += self._cost
            self._interval = max(MIN_INTERVAL, COST_FACTOR * self._cost)

    def _fail(self, code: str, message: str) -> None:
        """Tell the subscribers once, however often it fails in the same way."""
        update = Update(self._version, Spliced(*error_around_id(self._query_id, code, message)))
        for subscription in self._fresh if self._failure == (code, message) else self.subscribers:
            subscription.offer(update)
            subscription.version = 0
        self._fresh.clear()
        self._failure = code, message
        self._interval = FAILURE_INTERVAL
        self._answered = -1
        self._current = self._data = self._rows = None

    def _publish(self, answer: Answer) -> None:
        touched = self._touched > self._answered >= 0
        data = encode(answer.rows)
        changed = data != self._data
        self._answered = max(answer.position, 0)
        self._failure = None
        if changed:
            self._data = data
            self._changed_at = answer.position
        news = changed or touched
        if news:
            self._version += 1
        offset = self._questions.offset(answer.position)
        full = Spliced(*update_around_id(self._query_id, offset, answer.at, data))
        delta = self._delta(answer, offset, changed) if news else None
        self._current = Update(self._version, full, delta)
        fresh, self._fresh = self._fresh, {}
        for subscription, seen in fresh.items():
            self._offer_first(subscription, seen)
        if news:
            for subscription in self.subscribers:
                if subscription not in fresh:
                    subscription.offer(self._current)

    def _offer_first(self, subscription: Subscription, seen: int | None) -> None:
        assert self._current is not None
        if seen is not None and seen >= self._changed_at:
            subscription.version = self._version  # it has this result already, and deltas can build on it
        else:
            subscription.offer(self._current)

    def _delta(self, answer: Answer, offset: str, changed: bool) -> Spliced | None:
        """What changed since the previous version, None where nobody wants it or the whole is needed."""
        if not any(subscription.delta for subscription in self.subscribers):
            self._rows = None
            return None
        before = self._rows
        rows = self._rows = comparable(answer.rows) if changed or before is None else before
        delta = None if rows is None or before is None else difference(before, rows)
        if delta is None:
            return None
        return Spliced(*update_around_id(self._query_id, offset, answer.at, encode(delta.data), delta.members))
