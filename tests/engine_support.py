"""An engine with a store of plain dicts, asked synchronously, beside the oracle of tests.recount.

The world does what the server does (flush in two halves, blocks as bytes, checkpoint, restore), without threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine import checkpoint
from engine.aggregates import find
from engine.engine import Delivery, Engine, Options
from engine.flushes import BEGIN, DONE, Frozen, freeze, thaw
from engine.levels import LEVELS, WIDTHS, floor, level_of
from engine.model import (
    COUNTER,
    CUMULATIVE,
    DELTA,
    GAUGE,
    HISTOGRAM,
    TIMER,
    UNSPECIFIED,
    Applied,
    Batch,
    Entry,
    Event,
    KeyedRequest,
    Mark,
    pack_series_key,
)
from engine.panes import ALL, Panes
from engine.query import plan
from engine.query.execute import execute
from engine.query.follow import Follower
from engine.query.plan import Limits
from engine.query.value import Query
from engine.rollup import BlockId, roll
from server.wire.blocks import Block, encode
from tests.recount import Answer, Oracle

T0 = 1_700_000_000_000
"""A stamp to begin with: 2023-11-14T22:13:20Z, in the middle of a minute."""
Stored = dict[BlockId, tuple[int, bytes]]
Row = tuple[bytes, int, float]
"""(packed key, time, value)."""

NAME = "m"
KEYS = [
    pack_series_key(NAME, COUNTER, UNSPECIFIED, "", [("host", "a"), ("zone", "x")]),
    pack_series_key(NAME, COUNTER, CUMULATIVE, "", [("host", "b"), ("zone", "x")]),
    pack_series_key(NAME, COUNTER, DELTA, "", [("host", "a"), ("zone", "y")]),
    pack_series_key(NAME, GAUGE, UNSPECIFIED, "", [("host", "b")]),
    pack_series_key(NAME, HISTOGRAM, UNSPECIFIED, "", [("zone", "y")]),
    pack_series_key(NAME, TIMER, UNSPECIFIED, "ms", [("host", "c"), ("zone", "x")]),
    pack_series_key("n", COUNTER, UNSPECIFIED, "", [("host", "a")]),
    pack_series_key("n", GAUGE, UNSPECIFIED, "", []),
]


def entry(
    stamp: int, rows: Sequence[Row] = (), *, epoch: int = 0, sequence: int = 0, ids: dict[int, bytes] | None = None,
    events: Iterable[Event] = (), requests: Iterable[KeyedRequest] = (), rejected: dict[str, int] | None = None,
    sketched: Iterable[str] = (),
) -> Entry:  # fmt: skip
    """A log entry of these rows."""
    batch = None
    if rows:
        keys = list(dict.fromkeys(row[0] for row in rows))
        number = {key: code for code, key in enumerate(keys)}
        batch = Batch(
            keys,
            np.array([number[row[0]] for row in rows], np.int32),
            np.array([row[2] for row in rows], np.float64),
            np.array([row[1] for row in rows], np.int64),
            ids or {},
        )
    return Entry(stamp, epoch, sequence, batch, list(events), list(requests), dict(rejected or {}), list(sketched))


def ask(
    engine: Engine, blocks: Mapping[BlockId, tuple[int, bytes]], query: Query, at: int | None = None,
    follower: Follower | None = None,
) -> Answer:  # fmt: skip
    """The answer of an aggregating query as of `at` or the newest stamp; the way of server.answers, without waiting."""
    limits = Limits(series=1 << 30, points=1 << 30)
    follower = follower or Follower(query, plan.needs(find(query.aggregation or "count")))
    bounds = plan.bounds(query, engine, engine.stamp if at is None else at)
    groups = follower.groups(engine, limits)
    stretches = plan.cover(bounds, engine)
    reading = follower.read(bounds, stretches, groups, engine)
    wanted = plan.blocks(query, stretches, engine) if groups.series and not follower.knows_closed(reading) else []
    unpacked = {}
    for block_id in wanted:
        if block_id in blocks:
            generation, data = blocks[block_id]
            assert generation <= reading.generation
            unpacked[block_id] = Block(data, generation).panes(follower.need)
    table = execute(follower, bounds, groups, reading, unpacked, stretches)
    rows, stepped = {}, bounds.stepped
    for group, values, counts in zip(table.groups, table.values.tolist(), table.counts.tolist(), strict=True):
        for time, value, count in zip(table.times.tolist(), values, counts, strict=True):
            rows[group, time if stepped else 0] = (value, count)
    return Answer(table, bounds, rows)


@dataclass(slots=True)
class Flushing:
    """A flush between its two halves."""

    taken: Frozen
    header: dict[str, Any]
    arrays: checkpoint.Arrays


@dataclass(slots=True)
class Saved:
    """All that a store holds after a flush."""

    data: bytes
    position: int
    blocks: Stored
    series: list[bytes]
    chunks: dict[int, bytes]


@dataclass
class World:
    """An engine, its store and, where wanted, the oracle."""

    options: Options = field(default_factory=Options)
    recount: bool = True
    position_step: int = 1

    def __post_init__(self) -> None:
        self.engine = Engine(self.options)
        self.oracle = Oracle()
        self.blocks: Stored = {}
        self.series: list[bytes] = []
        self.chunks: dict[int, bytes] = {}
        self.saved: Saved | None = None
        self.flushing: Flushing | None = None
        self.log: list[tuple[int, Entry]] = []
        self.position = 0
        self.followers: dict[Query, Follower] = {}
        self.let_go = 0
        """Samples of the blocks that the last retention let go of."""

    def apply(self, given: Entry) -> tuple[Applied, Delivery]:
        """Appends an entry to the log and applies it."""
        self.position += self.position_step
        self.log.append((self.position, given))
        repeated = self.engine.ledger.repeated
        closed_early = max(self.engine.closed, 0)
        applied, delivery = self.engine.apply(given, self.position)
        if self.recount and repeated == self.engine.ledger.repeated:
            # Rows are filed after the watermark moved and before memory is relieved.
            closed = max(closed_early, floor(self.engine.watermark, WIDTHS[0]))
            oldest = self.engine.horizons[LEVELS[-1]]
            self.oracle.take(given, applied, self.options.lateness, closed, oldest)
        self.check_balance()
        return applied, delivery

    def begin_flush(self) -> None:
        """What a flush does between two entries; where the log is shared, in one of its own."""
        assert self.flushing is None
        shared = self.engine.shared
        if shared is None:
            taken = freeze(self.engine)
        else:
            self.mark(Mark(BEGIN, self.engine.generation + 1, shared.fence))
            assert shared.frozen is not None
            taken = shared.frozen
        self.flushing = Flushing(taken, *checkpoint.capture(self.engine))

    def end_flush(self) -> None:
        """What it does on its thread, and then between two entries again."""
        job = self.flushing
        assert job is not None
        rolled = self.store(job)
        self.flushing = None
        shared = self.engine.shared
        if shared is None:
            thaw(self.engine, job.taken, rolled)
        else:
            self.mark(Mark(DONE, job.taken.generation, shared.fence, rolled))
        self.check_balance()

    def store(self, job: Flushing) -> tuple[int, ...]:
        """Writes a flush to the store; the new `rolled`."""
        taken = job.taken
        pending, generation = taken.pending, taken.generation
        needless = self.stored(0, 0, pending.rolled[0]) if pending.patient else []
        blocks, rolled = roll(pending, self.engine.catalogue, self.read, self.stored)
        data = checkpoint.encode(job.header | {"generation": generation, "rolled": list(rolled)}, job.arrays)
        self.blocks = {block: data for block, data in self.blocks.items() if block not in needless}
        self.blocks.update((block, (generation, encode(rows))) for block, rows in blocks.items())
        self.series = [*self.series[: taken.known], *taken.series]
        if taken.chunk:
            self.chunks[generation] = taken.chunk
        self.chunks = {number: chunk for number, chunk in self.chunks.items() if number >= taken.oldest_chunk}
        self.saved = Saved(data, taken.position, dict(self.blocks), list(self.series), dict(self.chunks))
        return rolled

    def mark(self, mark: Mark) -> None:
        """Appends a mark to the log and applies it."""
        self.apply(Entry(self.engine.stamp, marks=[mark]))

    def flush(self) -> None:
        """A whole flush."""
        self.begin_flush()
        self.end_flush()

    def expire(self) -> None:
        """What retention lets go of, as far as it is folded; never during a flush, which may still read it."""
        if self.flushing is not None:
            return
        for level in LEVELS:
            before = self.engine.horizons[level]
            if level == LEVELS[-1]:
                self.let_go += sum(self.samples_of(b) for b in self.blocks if b.level == level and b.start < before)
            if level + 1 in LEVELS:
                before = min(before, self.engine.rolled[level])
            self.blocks = {b: d for b, d in self.blocks.items() if level_of(b.level) != level or b.start >= before}

    def check_balance(self) -> None:
        """Every row that came is accounted for, and every accepted one is where the ledger says."""
        engine, ledger = self.engine, self.engine.ledger
        held = engine.open_samples + engine.pending_samples + engine.stored + ledger.expired
        assert ledger.accepted == held and engine.balanced, f"{ledger} but {held} are held"

    def samples_in_store(self) -> int:
        """Samples in the stored blocks that are not yet, or will never be, part of a coarser one."""
        rolled = [*self.engine.rolled[:-1], 0]
        return sum(self.samples_of(block) for block in self.blocks if block.start >= rolled[level_of(block.level)])

    def samples_of(self, block: BlockId) -> int:
        """The counts of a stored block's panes, added up."""
        generation, data = self.blocks[block]
        return int(Block(data, generation).panes({"count"}).state["count"].sum())

    def read(self, wanted: list[BlockId]) -> dict[BlockId, Panes]:
        """The stored blocks of these ids."""
        return {
            b: Block(self.blocks[b][1], self.blocks[b][0]).panes(ALL) for b in wanted if b in self.blocks
        }  # fmt: skip

    def stored(self, level: int, start: int, end: int) -> list[BlockId]:
        """The blocks of a level that begin in a range."""
        return sorted(b for b in self.blocks if b.level == level and start <= b.start < end)

    def ask(self, query: Query, at: int | None = None) -> Answer:
        """The answer now; one who follows the query from its first asking on must get the same to the last bit."""
        answer = ask(self.engine, self.blocks, query, at)
        follower = self.followers.setdefault(query, Follower(query, plan.needs(find(query.aggregation or "count"))))
        followed = ask(self.engine, self.blocks, query, at, follower)
        assert repr(followed) == repr(answer), f"who follows {query} got {followed.rows}, not {answer.rows}"
        return answer

    def verify(self, query: Query, at: int | None = None) -> Answer:
        """The answer now, compared with the recount."""
        answer = self.ask(query, at)
        self.oracle.check(query, answer)
        return answer

    def value(self, query: Query, at: int | None = None) -> float:
        """The single value of an answer."""
        [(value, _)] = self.ask(query, at).rows.values()
        return value

    def restored(self) -> World:
        """A new world at the last finished flush: its store, and an engine from its checkpoint."""
        saved = self.saved
        assert saved is not None
        world = World(self.options, recount=False, position_step=self.position_step)
        world.blocks, world.series, world.chunks = dict(saved.blocks), list(saved.series), dict(saved.chunks)
        world.saved = saved
        checkpoint.restore(world.engine, saved.data, saved.series, sorted(saved.chunks.items()))
        world.engine.flushed_position = saved.position
        world.position = saved.position
        world.check_balance()
        return world

    def state(self) -> bytes:
        """The engine's state as checkpoint bytes."""
        return checkpoint.encode(*checkpoint.capture(self.engine))


AGGREGATIONS = (
    "sum", "count", "average", "min", "max", "first", "last", "stddev", "increase", "rate",
    "median", "percentile_95", "percentile_99_9", "percentile_0", "unique",
)  # fmt: skip
