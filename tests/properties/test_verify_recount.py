"""Whatever comes in, the recount agrees with the engine; and it does not where an entry of the log is gone.

A world of tests.engine_support stands for the server. What is verified is its last checkpoint, its blocks as retention
has left them since, and its log as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import engine as engine_module
from engine.checkpoint import decode
from engine.dedup import Bound
from engine.engine import Options
from engine.levels import DAY, HOUR, LEVELS, MINUTE, PACKED, Retention, level_of
from engine.model import Batch, Entry, Event, KeyedRequest, Reject
from engine.panes import ALL
from engine.rejects import Rejects
from engine.rollup import BlockId
from server.log import Hole, Record
from server.numbering import Numbering
from server.store import BlockKey, Checkpoint, Snapshot
from server.verify.check import verify
from server.verify.report import Report
from server.wire.blocks import Block, encode
from server.wire.entry import pack_entry, unpack_entry
from tests.engine_support import KEYS, T0, World

SHORT = Retention((3 * MINUTE, 2 * HOUR, 3 * DAY, 20 * DAY))
OPTIONS = Options(
    lateness=20_000, retention=SHORT, max_series=7, max_series_per_name=4, pane_memory=900,
    dedup=Bound(keys=6, age=2 * HOUR), max_rejects=3,
)  # fmt: skip
PATIENT = replace(OPTIONS, retention=Retention(SHORT.keep, patient=True))
either = st.sampled_from([OPTIONS, PATIENT])


class Drawn(NamedTuple):
    """One entry as it is drawn: ids are small numbers, so that they come again."""

    gap: int
    writer: int
    numbered: bool
    again: bool
    """The writer's last entry is appended once more instead."""
    rows: list[tuple[int, int, float, int]]
    """(key, age, value, id or 0)."""
    events: list[int]
    """Ids, 0 for none."""
    key: int
    """Of a request that brings all rows, 0 for none."""
    body: int
    rejected: int


ages = st.one_of(st.integers(0, 3000), st.integers(-5000, 30_000), st.integers(0, 5 * DAY), st.integers(0, 200 * DAY))
values = st.one_of(st.integers(-5, 20).map(float), st.floats(-1e6, 1e6, allow_nan=False))
entries = st.builds(
    Drawn,
    st.sampled_from([0, 1, 400, 5000, 21_000, 65_000, 7 * MINUTE, 2 * HOUR + 7, 30 * HOUR, 40 * DAY]),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([False] * 7 + [True]),
    st.lists(st.tuples(st.integers(0, len(KEYS) - 1), ages, values, st.integers(0, 8)), max_size=6),
    st.lists(st.integers(0, 4), max_size=2),
    st.integers(0, 3),
    st.integers(0, 1),
    st.integers(0, 2),
)
parts = st.lists(st.one_of(entries, entries, entries, st.sampled_from(["flush", "begin", "end", "expire"])), max_size=7)
scripts = st.tuples(parts, parts, parts).map(
    lambda drawn: [*drawn[0], "end", "flush", *drawn[1], "end", "flush", "expire", *drawn[2]]
)


class Server:
    """The world, its writers, and its log as bytes."""

    def __init__(self, options: Options) -> None:
        self.world = World(options, recount=False)
        self.stamp = T0
        self.payloads: list[tuple[int, bytes, int]] = []
        """(position, payload, writer)."""
        self._numbering = {writer: Numbering() for writer in (1, 2)}
        self._sequence, self._written = {1: 0, 2: 0}, {1: 0, 2: 0}
        self._last: dict[int, Entry] = {}

    def play(self, step: Any) -> None:
        """One step of a script."""
        world = self.world
        if isinstance(step, Drawn):
            self._append(step)
        elif step == "expire":
            world.expire()
        elif step in ("begin", "flush") and world.flushing is None:
            world.begin_flush()
        if step in ("end", "flush") and world.flushing is not None:
            world.end_flush()

    def _append(self, drawn: Drawn) -> None:
        self.stamp += drawn.gap
        repeated = drawn.again and drawn.writer in self._last
        entry = self._last[drawn.writer] if repeated else self._made(drawn)
        self.world.apply(entry)
        self.payloads.append((self.world.position, pack_entry(entry), entry.epoch))
        if entry.batch is not None and entry.batch.table is not None:
            self._numbering[entry.epoch].confirm(entry.batch.table)

    def _made(self, drawn: Drawn) -> Entry:
        writer = drawn.writer
        entry = Entry(self.stamp, rejected={"bad_value": drawn.rejected} if drawn.rejected else {})
        entry.rejects = [
            Reject("metric", row, "bad_value", f"no number in {self.stamp}", "value", b'{"value": "x"}', False)
            for row in range(drawn.rejected)
        ]
        if drawn.rows:
            codes, moments, found, ids = zip(*drawn.rows, strict=True)
            named = {row: bytes([number]) * 16 for row, number in enumerate(ids) if number}
            times = self.stamp - np.array(moments, np.int64)
            entry.batch = Batch(KEYS, np.array(codes, np.int32), np.array(found), times, named)
            if drawn.numbered and writer:
                entry.batch = self._numbering[writer].shorten(entry.batch)
        entry.events = [
            Event(self.stamp, "e", None, None, b"{}", bytes([number]) * 16 if number else None)
            for number in drawn.events
        ]
        if drawn.key:
            key, body = bytes([drawn.key]) * 16, bytes([drawn.body]) * 8
            entry.requests = [KeyedRequest(key, body, (0, len(drawn.rows)), (0, len(entry.events)))]
        if writer:
            self._sequence[writer] += 1
            entry.epoch, entry.sequence, entry.written = writer, self._sequence[writer], self._written[writer]
            self._written[writer] += entry.rows
            self._last[writer] = entry
        return entry

    def ledger(self) -> dict[str, Any]:
        """What GET /api/ledger would answer."""
        return {"offset": f"x-{self.world.engine.position}", **self.world.engine.ledger.as_dict()}


class StoreOf:
    """What a store with the world's blocks and last checkpoint gives to read: server.store.Snapshot."""

    def __init__(self, world: World) -> None:
        self.world, self.saved = world, world.saved
        self.events = decode(self.saved.data)[0]["ledger"]["events"] if self.saved else 0

    def newest_checkpoint(self) -> Checkpoint | None:
        return Checkpoint(1, self.saved.position, self.saved.data) if self.saved else None

    def checkpoints(self) -> list[tuple[int, int]]:
        return [(decode(self.saved.data)[0]["generation"], self.saved.position)] if self.saved else []

    def series(self) -> Iterator[tuple[int, bytes]]:
        return iter(enumerate(self.saved.series if self.saved else []))

    def dedup_chunks(self) -> list[tuple[int, bytes]]:
        return sorted(self.saved.chunks.items()) if self.saved else []

    def _keys(self, level: int, start: int, end: int) -> list[BlockKey]:
        return sorted(BlockKey(*b) for b in self.world.blocks if b.level == level and start <= b.start < end)

    def list_blocks(self, level: int, start: int, end: int, names: object = None) -> list[BlockKey]:
        return self._keys(level, start, end)

    def next_block(self, level: int, start: int) -> BlockKey | None:
        return next(iter(self._keys(level, start, 1 << 62)), None)

    def read_blocks(self, keys: Sequence[BlockKey]) -> dict[BlockKey, tuple[int, bytes]]:
        return {key: self.world.blocks[BlockId(*key)] for key in keys}

    def block_counts(self) -> dict[int, int]:
        return {level: len(self._keys(level, -(1 << 62), 1 << 62)) for level in (*LEVELS, PACKED)}

    def number(self, name: str) -> int:
        return self.world.let_go if name == "let_go" else 0

    def event_count(self, upto: int = 0) -> int:
        return self.events

    def copy(self, path: object, progress: object) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""


class LogOf:
    """Payloads as a log: server.log.LogReader."""

    epoch, place, dense = "x", "memory", False

    def __init__(self, payloads: Sequence[tuple[int, bytes, int]]) -> None:
        self._payloads = payloads

    def read(self, after: int) -> Iterator[Record | Hole]:
        return iter([Record(position, payload) for position, payload, _ in self._payloads if position > after])

    def first(self) -> int:
        return 1

    def close(self) -> None:
        """Nothing is held."""


def verified(
    server: Server, payloads: Sequence[tuple[int, bytes, int]], ask: Callable[[], dict[str, Any] | None]
) -> Report:
    """What verify finds in the server's store and these entries."""

    def store() -> Snapshot:
        found: Any = StoreOf(server.world)
        return found  # type: ignore[no-any-return]

    return verify(store, lambda: LogOf(payloads), server.world.options, ask, lambda _: None)


SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SETTINGS
@given(scripts, either)
def test_the_recount_agrees_with_the_engine(script: list[Any], options: Options) -> None:
    server = Server(options)
    with patch.object(engine_module, "CHECK_EVERY", 1):
        for step in script:
            server.play(step)
        report = verified(server, server.payloads, server.ledger)
    assert report.code == 0, report.differences
    assert report.server is not None
    assert report.total == server.world.engine.ledger.as_dict()


@settings(SETTINGS, max_examples=25)
@given(scripts, either, st.data())
def test_an_entry_that_is_gone_is_missed(script: list[Any], options: Options, data: st.DataObject) -> None:
    server = Server(options)
    with patch.object(engine_module, "CHECK_EVERY", 1):
        for step in script:
            server.play(step)
        held = server.world.saved.position if server.world.saved else 0
        seen: dict[tuple[int, int], int] = {}
        for position, payload, writer in server.payloads:
            number = int.from_bytes(payload[24:32], "little")
            seen.setdefault((writer, number), position)
        counts = {at: n for at, n in enumerate(server.payloads) if n[0] > held and n[2]}
        gone = [
            at for at, (position, payload, writer) in counts.items()
            if position in seen.values()
            and any(later[2] == writer and later[1] != payload for later in server.payloads[at + 1 :])
            and not any(later[1] == payload for later in server.payloads[at + 1 :])
            and _rows(payload)
        ]  # fmt: skip
        if not gone:
            return
        at = data.draw(st.sampled_from(gone))
        report = verified(server, server.payloads[:at] + server.payloads[at + 1 :], lambda: None)
    assert report.missing_rows == _rows(server.payloads[at][1])
    assert report.code == 1


@settings(SETTINGS, max_examples=25)
@given(scripts, either, st.data())
def test_a_row_too_many_in_any_block_is_noticed(script: list[Any], options: Options, data: st.DataObject) -> None:
    server = Server(options)
    for step in script:
        server.play(step)
    engine, blocks = server.world.engine, server.world.blocks
    kept = [*map(min, engine.horizons[:-1], engine.rolled[:-1]), -(1 << 62)]  # the rest waits to be deleted
    known = sorted(block for block in blocks if block.start >= kept[level_of(block.level)])
    if options is PATIENT:  # single blocks stay a while after they were packed
        known = [block for block in known if block.level or block.start >= engine.rolled[0]]
    if not known:
        return
    changed = data.draw(st.sampled_from(known))
    generation, stored = blocks[changed]
    rows = Block(stored).panes(ALL)
    rows.state["count"] = rows.state["count"].copy()
    rows.state["count"][data.draw(st.integers(0, len(rows) - 1))] += 1
    blocks[changed] = generation, encode(rows)
    assert verified(server, server.payloads, lambda: None).code == 1


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_refused_rows_that_are_not_kept_as_the_log_has_them_are_noticed(kept: int) -> None:
    server, add = Server(OPTIONS), Rejects.add
    for number in (1, 2, 2):
        server.play(Drawn(1000, 1, False, False, [], [], 0, 0, number))
    assert verified(server, server.payloads, lambda: None).code == 0

    def broken(self: Rejects, position: int, stamp: int, rows: Sequence[Reject]) -> None:
        add(self, position, stamp, [row._replace(reason="other") for row in rows] if kept == 3 else rows[:kept])

    with patch.object(Rejects, "add", broken):
        report = verified(server, server.payloads, lambda: None)
    assert report.code == 1 and {found.kind for found in report.differences} == {"refused"}


def test_late_running_totals_are_recounted() -> None:
    server = Server(OPTIONS)
    for age in (0, 30_000):
        server.play(Drawn(1000, 1, True, False, [(key, age, 5.0, 0) for key in range(3)], [], 0, 0, 0))
    report = verified(server, server.payloads, server.ledger)
    assert report.code == 0 and report.recount["late"] == 3 and report.recount["late_total"] == 2
    wrong = verified(server, server.payloads, lambda: {**server.ledger(), "late_total": 3})
    assert [found.where["count"] for found in wrong.differences] == ["late_total"]


def _rows(payload: bytes) -> int:
    return unpack_entry(payload).rows
