"""Answers: a query run over the engine's open panes and the store's blocks, joined at one log position.

What the engine holds is read between two entries; the blocks may have to be fetched on a thread. A flush that ends in
between would count panes twice or not at all, so each block says which flush wrote it, and a reading that a flush has
overtaken is done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.aggregates import Registry
from engine.engine import Engine
from engine.errors import BadQuery, EngineError
from engine.query import events as event_queries
from engine.query import plan
from engine.query.bounds import Bounds
from engine.query.execute import RawRows, Table, execute, execute_custom, raw
from engine.query.follow import Follower, Followers, Reading
from engine.query.plan import Groups, Limits, Stretch
from engine.query.value import Query
from engine.rollup import BlockId
from server.block_cache import BlockCache
from server.effort import Effort, on_thread
from server.errors import ApiError
from server.questions import SavedQueries, parse_body, parse_query
from server.store import BlockKey, Store, StoreDamaged, StoreUnavailable, TooManyRows
from server.wire.answers import as_columns, as_rows, raw_rows
from server.wire.blocks import Block
from server.wire.event_fields import pick_fields
from server.wire.times import duration, format_time

logger = logging.getLogger("streamgauge.answers")

LONG_ROWS = 20_000
"""Stored rows from which a query is computed on a thread."""
_TRIES = 50


@dataclass(slots=True)
class Answer:
    """One result: all that lies at or before `position`, as of `at`. rows: S4 rows, or an object of columns."""

    position: int
    at: int
    rows: Any
    bounds: Bounds
    cost: float
    """Seconds of its own work; `took` has those in which it waited as well."""
    total: int
    error: float = 0.0
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    took: float = 0.0
    moves: int | None = None
    """When its range or what is marked in it changes next, where that depends on a calendar; ms."""


class Tabled(NamedTuple):
    """An answer as columns, and the position up to which it holds all that lies in its bounds."""

    position: int
    bounds: Bounds
    table: Table


class Answers:
    """Answers queries; also what live queries ask (`Questions`)."""

    def __init__(
        self, engine: Engine, store: Store, registry: Registry, saved: SavedQueries, offset: Callable[[int], str],
        limits: Limits, timeout: float, asked: Callable[[Query], Awaitable[None]],
    ) -> None:  # fmt: skip
        """timeout: seconds a query may take; asked: awaited for a query before it is answered or saved."""
        self.engine, self.store, self.registry, self.queries = engine, store, registry, saved
        self.offset, self.limits, self.timeout, self.asked = offset, limits, timeout, asked
        self.cache = BlockCache()
        self._followers = Followers(2048)
        self._threads = asyncio.Semaphore(2)

    # What live queries ask.

    def saved(self, query_id: str) -> Query | None:
        """The saved query of an id."""
        return self.queries.find(query_id)

    def parse(self, body: dict[str, Any]) -> Query:
        """The query of a body. Raises BadQuery and ApiError."""
        return parse_query(parse_body(body), self.registry)

    def names(self, query: Query) -> tuple[str, str]:
        """What a query listens to."""
        return query.kind, query.name

    def slide(self, query: Query) -> int:
        """Every how many ms the range moves on; 0 for a fixed one, and where only a calendar moves it."""
        by_calendar = query.calendar is not None or (query.period is not None and query.period.last)
        if query.end is not None or query.at is not None or by_calendar:
            return 0
        if query.kind == "event":
            return query.step or 1000
        bounds = plan.bounds(query, self.engine, self.stamp())
        return bounds.step or bounds.resolution

    def stamp(self) -> int:
        """The newest stamp applied, in ms."""
        return self.engine.stamp

    # Answering.

    async def answer(self, query: Query, at: int | None = None) -> Answer:
        """The answer as of `at`, the query's own, or the newest stamp. Raises EngineError and ApiError."""
        await self.asked(query)
        moment = next((t for t in (at, query.at) if t is not None), self.engine.stamp)
        effort = Effort()
        async with self._bound():
            if query.kind == "metric" and query.aggregation is None:
                answer = self._raw(query, moment)
            else:
                answer = _answer(query, moment, await self._tabled(query, moment))
        answer.cost, answer.took = effort.seconds, effort.elapsed
        answer.moves = None if query.at is not None else _moves(query, answer.bounds, moment)
        return answer

    async def tabled(self, query: Query, at: int, once: bool = False) -> Tabled:
        """The answer of an aggregating query as of `at`, as columns. Raises EngineError and ApiError.

        once: it will not be asked again, so that nothing is kept of it.
        """
        await self.asked(query)
        async with self._bound():
            return await self._tabled(query, at, once)

    @contextlib.asynccontextmanager
    async def _bound(self) -> AsyncIterator[None]:
        """Bounds the time of an answer, and says in the words of an answer what the store fails at."""
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except TimeoutError:
            message = f"the query took longer than {self.timeout:g} s; ask for a shorter range or a wider step"
            raise ApiError("query_timeout", message) from None
        except StoreUnavailable as error:
            logger.error("a query cannot read the store: %s", error)
            message = "the store cannot be read now; the server's log says why"
            raise ApiError("store_unavailable", message, retry_after=5) from None
        except StoreDamaged as error:
            logger.error("a query needs what is damaged in the store: %s", error)
            raise ApiError("store_unavailable", "what this query needs is damaged in the store") from None

    async def _tabled(self, query: Query, at: int, once: bool = False) -> Tabled:
        if query.kind == "event":
            return await self._events(query, at)
        if query.aggregation in self.registry.custom:
            return await self._custom(query, at)
        return await self._panes(query, at, once)

    async def _panes(self, query: Query, at: int, once: bool) -> Tabled:
        follower = self._followers.borrow(query)
        for _ in range(_TRIES):
            bounds = plan.bounds(query, self.engine, at)
            groups = follower.groups(self.engine, self.limits)
            plan.check_points(query, bounds, len(groups.labels), self.limits)
            stretches = plan.cover(bounds, self.engine)
            reading = follower.read(bounds, stretches, groups, self.engine)
            needless = follower.knows_closed(reading) or not groups.series
            wanted = [] if needless else plan.blocks(query, stretches, self.engine)
            blocks, missing = self.cache.split(wanted)
            if missing:
                fetched = await self._fetch(missing)
                newest = max((block.generation for block in fetched.values()), default=0)
                if self.engine.generation != reading.generation or newest > reading.generation:
                    await asyncio.sleep(0.005)  # a flush is ending: read again what it leaves
                    continue
                for block_id in missing:
                    self.cache.put(block_id, fetched.get(block_id))
                blocks |= fetched
            if any(block.generation > reading.generation for block in blocks.values()):
                continue
            table = await self._compute(follower, bounds, groups, reading, blocks, stretches)
            self.cache.measure(wanted)
            if not once:
                self._followers.give_back(follower)
            return Tabled(reading.position, bounds, table)
        raise ApiError("query_timeout", "the query was overtaken by flushes again and again; try again")

    async def _fetch(self, missing: list[BlockId]) -> dict[BlockId, Block]:
        found = await on_thread(self._threads, self.store.read_blocks, [BlockKey(*block) for block in missing])
        return {BlockId(*key): Block(data, generation) for key, (generation, data) in found.items()}

    async def _compute(
        self, follower: Follower, bounds: Bounds, groups: Groups, reading: Reading, blocks: dict[BlockId, Block],
        stretches: list[Stretch],
    ) -> Table:  # fmt: skip
        def compute() -> Table:
            unpacked = {block_id: block.panes(follower.need) for block_id, block in blocks.items()}
            return execute(follower, bounds, groups, reading, unpacked, stretches)

        if sum(block.rows for block in blocks.values()) + reading.rows < LONG_ROWS:
            return compute()
        return await on_thread(self._threads, compute)

    def _raw_of(self, query: Query, at: int) -> tuple[Bounds, Groups, RawRows]:
        bounds = plan.bounds(query, self.engine, at)
        groups = plan.groups(query, self.engine, self.limits)
        plan.check_points(query, bounds, len(groups.labels), self.limits)
        return bounds, groups, raw(self.engine, bounds, groups, query.name)

    def _raw(self, query: Query, at: int) -> Answer:
        bounds, groups, rows = self._raw_of(query, at)
        data = raw_rows(query, rows, groups, self.engine.catalogue)
        extra = {"complete_from": rows.complete_from} if rows.complete_from > bounds.start else {}
        return Answer(self.engine.position, at, data, bounds, 0.0, len(rows.times), extra=extra)

    async def _custom(self, query: Query, at: int) -> Tabled:
        bounds, groups, rows = self._raw_of(query, at)
        fn, position = self.registry.custom[query.aggregation or ""], self.engine.position
        try:
            # what is registered may take its time, and must not hold up the event loop
            table = await on_thread(self._threads, execute_custom, query, bounds, groups, rows, fn)
        except EngineError:
            raise
        except Exception as error:
            logger.exception("the registered aggregation %s failed", query.aggregation)
            raise BadQuery(f"{query.aggregation}, a registered aggregation, failed: {error!r:.200}") from None
        return Tabled(position, bounds, table)

    async def _events(self, query: Query, at: int) -> Tabled:
        bounds = event_queries.bounds(query, at)
        plan.check_points(query, bounds, 1, self.limits)
        fields = event_queries.fields(query)
        position, flushed = self.engine.position, self.engine.flushed_position
        fresh = [
            pick_fields(event, fields)
            for _, _, event in (*self.engine.frozen_events, *self.engine.events)
            if event.type == query.name and bounds.start <= event.time < bounds.end
        ]

        def compute() -> Table:
            def rows() -> Iterator[Sequence[Any]]:
                for chunk in self.store.events_scan(
                    query.name, bounds.start, bounds.end, fields, upto=(flushed, 1 << 30)
                ):
                    yield from chunk
                yield from fresh

            return event_queries.execute(query, bounds, rows(), self.limits)

        try:
            table = await on_thread(self._threads, compute)
        except TooManyRows as error:
            raise ApiError("query_too_expensive", str(error)) from None
        return Tabled(position, bounds, table)


def _answer(query: Query, at: int, tabled: Tabled) -> Answer:
    position, bounds, table = tabled
    data = as_columns(query, bounds, table) if query.columns else as_rows(query, bounds, table)
    notes = table.notes if bounds.exact_from is None else [*table.notes, _rounded(query, bounds)]
    return Answer(position, at, data, bounds, 0.0, int(table.counts.sum()), table.error, notes)


def _moves(query: Query, bounds: Bounds, at: int) -> int | None:
    """When a calendar moves the range next, or ends a step that is marked as not over."""
    moments = [bounds.next_edge(at), None if query.period is None else query.period.calendar.after(at)]
    return min((moment for moment in moments if moment is not None), default=None)


def _rounded(query: Query, bounds: Bounds) -> str:
    """What is wrong with steps whose edges were rounded, and which range would have right ones."""
    assert query.calendar is not None and bounds.calendar is not None and bounds.exact_from is not None
    begin = "days in UTC" if bounds.calendar.tz != query.calendar.tz else f"the nearest {duration(bounds.resolution)}"
    return (
        f"panes of {duration(bounds.resolution)} are the finest kept since the start of the range, so its steps begin "
        f"with {begin}, not at midnight in {query.calendar.tz}; they are exact in a range from "
        f"{format_time(bounds.exact_from)} on"
    )
