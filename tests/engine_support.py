"""An engine with a store of plain dicts, asked synchronously, and a naive recount of the same samples.

The world does what the server does (flush in two halves, blocks as bytes, checkpoint, restore), without threads. The
oracle keeps every accepted sample and recounts each answer from scratch with nothing but sorting and adding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine import checkpoint
from engine.aggregates import find
from engine.engine import Delivery, Engine, Options
from engine.levels import LEVELS, WIDTHS, floor
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
    pack_series_key,
    parse_series_key,
)
from engine.panes import ALL, Panes
from engine.query import plan
from engine.query.execute import Table, execute
from engine.query.follow import Follower
from engine.query.plan import Bounds, Limits
from engine.query.value import Query
from engine.rollup import BlockId, Pending, roll
from server.wire.blocks import Block, encode

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


@dataclass(slots=True)
class Answer:
    """A table with the bounds it was computed for."""

    table: Table
    bounds: Bounds
    rows: dict[tuple[tuple[str, ...], int], tuple[float, int]]
    """(group, time of the step, 0 without) -> (value, count)."""


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
    rows = {}
    for group, values, counts in zip(table.groups, table.values.tolist(), table.counts.tolist(), strict=True):
        for time, value, count in zip(table.times.tolist(), values, counts, strict=True):
            rows[group, time if bounds.step is not None else 0] = (value, count)
    return Answer(table, bounds, rows)


@dataclass(slots=True)
class Sample:
    """An accepted sample, as the oracle remembers it."""

    key: bytes
    labels: dict[str, str]
    name: str
    type: int
    total: bool
    delta: bool
    time: int
    position: int
    row: int
    value: float
    counts_in_increase: bool
    """For running totals: it was neither late nor behind what had been closed early."""


class Oracle:
    """Every accepted sample, and answers recounted from them."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.expired = 0

    def take(self, given: Entry, applied: Applied, lateness: int, closed: int, oldest: int) -> None:
        """Sees an entry. closed: the engine's boundary when its rows were filed; oldest: start of the oldest block kept."""
        if given.batch is None:
            return
        parsed = [(key, parse_series_key(key)) for key in given.batch.keys]
        duplicate = applied.duplicate
        for row, (code, value, time) in enumerate(
            zip(given.batch.codes.tolist(), given.batch.values.tolist(), given.batch.times.tolist(), strict=True)
        ):
            if duplicate is not None and duplicate[row]:
                continue
            if time < closed and time < oldest:
                self.expired += 1
                continue
            key, series = parsed[code]
            self.samples.append(
                Sample(
                    key, dict(series.labels), series.name, series.type,
                    series.type == COUNTER and series.temporality != DELTA,
                    series.type == COUNTER and series.temporality == DELTA,
                    time, applied.position, row, value, time >= applied.stamp - lateness and time >= closed,
                )
            )  # fmt: skip

    def increases(self, name: str) -> list[tuple[Sample, float]]:
        """What each sample adds to its series' increase, those that add nothing left out."""
        found: list[tuple[Sample, float]] = []
        points: dict[bytes, dict[int, Sample]] = {}
        for sample in self.samples:
            if sample.name != name:
                continue
            if sample.delta:
                found.append((sample, sample.value))
            elif sample.total and sample.counts_in_increase:
                points.setdefault(sample.key, {})[sample.time] = sample  # the higher offset wins
        for of_series in points.values():
            before: float | None = None
            for time in sorted(of_series):
                sample = of_series[time]
                if before is not None:
                    delta = sample.value if sample.value < before else sample.value - before
                    found.append((sample, delta))
                before = sample.value
        return found

    def check(self, query: Query, answer: Answer) -> None:
        """Asserts that an answer is the recount over its own bounds."""
        bounds = answer.bounds
        chosen = [s for s in self.samples if self._wanted(s, query, bounds)]
        cells: dict[tuple[tuple[str, ...], int], list[Sample]] = {}
        for sample in chosen:
            cells.setdefault(self._cell(sample, query, bounds), []).append(sample)
        present = {cell for cell, (_, count) in answer.rows.items() if count}
        assert present == set(cells), f"cells {present ^ set(cells)} differ for {query}"
        added: dict[tuple[tuple[str, ...], int], list[float]] = {}
        if query.aggregation in ("increase", "rate"):
            for sample, delta in self.increases(query.name):
                if self._wanted(sample, query, bounds):
                    added.setdefault(self._cell(sample, query, bounds), []).append(delta)
        seconds = (bounds.step or bounds.end - bounds.start) / 1000
        counters = any(s.type == COUNTER for s in chosen)
        for cell, samples in cells.items():
            value, count = answer.rows[cell]
            assert count == len(samples), f"count of {cell} in {query}: {count}, not {len(samples)}"
            if query.aggregation in ("increase", "rate"):
                if not counters:
                    continue
                deltas = added.get(cell, [])
                share = 1 / seconds if query.aggregation == "rate" else 1.0
                wanted = math.fsum(deltas) * share
                scale = math.fsum(abs(s.value) for s in samples) + math.fsum(map(abs, deltas))
                assert abs(value - wanted) <= 1e-12 * scale * share, f"{query} {cell}: {value}, not {wanted}"
            else:
                compare(query.aggregation or "count", value, samples, answer.table.error)

    @staticmethod
    def _wanted(sample: Sample, query: Query, bounds: Bounds) -> bool:
        return (
            sample.name == query.name
            and bounds.start <= sample.time < bounds.end
            and (query.type is None or sample.type == query.type)
            and all(matcher.accepts(sample.labels.get(matcher.label, "")) for matcher in query.matchers)
        )

    @staticmethod
    def _cell(sample: Sample, query: Query, bounds: Bounds) -> tuple[tuple[str, ...], int]:
        group = tuple(sample.labels.get(label, "") for label in query.group_by)
        return group, 0 if bounds.step is None else bounds.start + floor(sample.time - bounds.start, bounds.step)


def compare(aggregation: str, value: float, samples: list[Sample], error: float) -> None:
    """Asserts one value against the samples it stands for."""
    values = [s.value for s in samples]
    n, magnitude = len(values), math.fsum(map(abs, values))
    what = f"{aggregation} of {n}: {value}"
    if aggregation == "count":
        assert value == n, what
    elif aggregation == "sum":
        assert abs(value - math.fsum(values)) <= 1e-12 * magnitude, what
    elif aggregation == "average":
        assert abs(value - math.fsum(values) / n) <= 1e-12 * magnitude / n, what
    elif aggregation in ("min", "max"):
        assert value == (min if aggregation == "min" else max)(values), what
    elif aggregation in ("first", "last"):
        assert value in edges(samples, latest=aggregation == "last"), what
    elif aggregation == "stddev":
        wanted = float(np.std(values))
        assert abs(value - wanted) <= 1e-9 * wanted + 1e-7 * max(map(abs, values)), f"{what}, not {wanted}"
    elif aggregation == "unique":
        distinct = len(set(values))
        assert abs(value - distinct) <= (0 if n <= 64 else max(0.08 * distinct, 2)), f"{what}, not {distinct}"
    else:
        rank = 0.5 if aggregation == "median" else float(aggregation.removeprefix("percentile_").replace("_", ".")) / 100
        check_quantile(value, values, rank, error)


def edges(samples: list[Sample], latest: bool) -> set[float]:
    """The values first or last may have: of samples of one moment and entry, each series' own may stand."""
    pick = max if latest else min
    moment = pick((s.time, s.position) for s in samples)
    tied = [s for s in samples if (s.time, s.position) == moment]
    return {
        pick((s for s in tied if s.key == key), key=lambda s: s.row).value for key in {s.key for s in tied}
    }  # fmt: skip


def check_quantile(value: float, values: Sequence[float], rank: float, error: float) -> None:
    """Asserts a quantile: as numpy has it up to 64 values, else within the bound of the order statistics around it."""
    ordered = np.sort(np.array(values, np.float64))
    at = rank * (len(ordered) - 1)
    low, high = float(ordered[math.floor(at)]), float(ordered[math.ceil(at)])
    share = at - math.floor(at)
    exact = low * (1 - share) + high * share
    allowed = 4e-16 * max(abs(low), abs(high))
    if len(ordered) > 64:
        assert error > 0
        # Below 2^-1022 floats are 2^-1074 apart, which is more than any relative bound can promise.
        allowed += error * 1.000001 * (abs(low) * (1 - share) + abs(high) * share) + 5e-324
    assert abs(value - exact) <= allowed, f"quantile {rank} of {len(values)}: {value}, not {exact} +- {allowed}"
    assert ordered[0] <= value <= ordered[-1]


@dataclass(slots=True)
class Flushing:
    """A flush between its two halves."""

    pending: Pending
    header: dict[str, Any]
    arrays: checkpoint.Arrays
    position: int
    series: list[bytes]
    chunk: bytes | None
    oldest_chunk: int


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
            oldest = self.options.retention.horizon(LEVELS[-1], self.engine.watermark)
            self.oracle.take(given, applied, self.options.lateness, closed, oldest)
        return applied, delivery

    def begin_flush(self) -> None:
        """What a flush does between two entries."""
        assert self.flushing is None
        engine = self.engine
        generation = engine.generation + 1
        engine.frozen, engine.pending = engine.pending, {}
        engine.frozen_events, engine.events = engine.events, []
        header, arrays = checkpoint.capture(engine)
        self.flushing = Flushing(
            Pending(engine.frozen, engine.closed, engine.rolled, engine.watermark), header, arrays, engine.position,
            engine.catalogue.keys[engine.flushed_series :],
            engine.seen.take_chunk(generation), engine.seen.oldest_chunk(generation),
        )  # fmt: skip

    def end_flush(self) -> None:
        """What it does on its thread, and then between two entries again."""
        job, engine = self.flushing, self.engine
        assert job is not None
        generation = engine.generation + 1
        blocks, rolled = roll(job.pending, engine.catalogue, self.options.retention, self.read, self.stored)
        data = checkpoint.encode(job.header | {"generation": generation, "rolled": list(rolled)}, job.arrays)
        self.blocks.update((block, (generation, encode(rows))) for block, rows in blocks.items())
        self.series += job.series
        if job.chunk:
            self.chunks[generation] = job.chunk
        self.chunks = {number: chunk for number, chunk in self.chunks.items() if number >= job.oldest_chunk}
        engine.frozen, engine.frozen_events = {}, []
        engine.generation, engine.rolled = generation, rolled
        engine.flushed_series += len(job.series)
        engine.flushed_position = job.position
        self.flushing = None
        self.saved = Saved(data, job.position, dict(self.blocks), list(self.series), dict(self.chunks))

    def flush(self) -> None:
        """A whole flush."""
        self.begin_flush()
        self.end_flush()

    def expire(self) -> None:
        """What retention lets go of, as far as it is folded; never during a flush, which may still read it."""
        if self.flushing is not None:
            return
        for level in LEVELS:
            before = self.options.retention.horizon(level, self.engine.watermark)
            if level + 1 in LEVELS:
                before = min(before, self.engine.rolled[level])
            self.blocks = {b: data for b, data in self.blocks.items() if b.level != level or b.start >= before}

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
        return world

    def state(self) -> bytes:
        """The engine's state as checkpoint bytes."""
        return checkpoint.encode(*checkpoint.capture(self.engine))


AGGREGATIONS = (
    "sum", "count", "average", "min", "max", "first", "last", "stddev", "increase", "rate",
    "median", "percentile_95", "percentile_99_9", "percentile_0", "unique",
)  # fmt: skip
