"""Following a query: reading the engine for it again and again without reading the same samples twice.

A follower remembers, per open slot, the rows it has picked out and their fold, and the fold of all that is closed. What
it computes has the same structure whether it remembers or not (each slot by itself, then all of them with the closed
part), so a live result equals a fresh one to the last bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine import panes
from engine.aggregates import find
from engine.engine import SLOT, Engine
from engine.model import Codes, Flags, Floats, Ints
from engine.panes import Panes
from engine.query import plan
from engine.query.bounds import Bounds
from engine.query.plan import OPEN, Groups, Limits, Stretch
from engine.query.value import Query
from engine.rollup import BlockId
from engine.slots import Slot

_PIECES = 16
"""Picked pieces of raw samples before they become one."""
_UNIQUE = frozenset({"count", "sketch"})
_STEPS_PER_SLOT = 8
_ROW_BYTES = 64
Increases = tuple[Codes, Ints, Floats]


@dataclass(slots=True)
class Folded:
    """Panes by ascending key; what the key means is the business of who made it."""

    keys: Ints
    panes: Panes


@dataclass(slots=True)
class _Picked:
    """What was picked out of one open slot."""

    slot: Slot
    compactions: int
    parts: list[Panes]
    """Of the slot's folded panes."""
    raw: list[Panes] = field(default_factory=list)
    scanned: int = 0
    """Raw samples of the slot looked at."""
    folded: Folded | None = None


@dataclass(slots=True)
class Reading:
    """What a query reads from the engine, taken between two entries; its arrays do not change afterwards."""

    opened: list[tuple[_Picked, list[Panes] | None]]
    """Open slots, each with the panes picked from it; None where their fold is known."""
    pending: list[Panes]
    increases: Increases
    closed_key: tuple[object, ...]
    """Names the state of all that is closed."""
    generation: int
    position: int

    @property
    def rows(self) -> int:
        """Rows still to fold."""
        opened = sum(sum(map(len, parts)) for _, parts in self.opened if parts is not None)
        return opened + sum(map(len, self.pending))


class Follower:
    """Reads for one query. Used from one thread at a time."""

    def __init__(self, query: Query, need: frozenset[str]) -> None:
        self.query, self.need = query, need
        self._groups: Groups | None = None
        self._seen = (-1, -1)
        self._picked: dict[int, _Picked] = {}
        self._steps: tuple[object, ...] = ()
        """The steps that the folds of open slots were made for; they follow the resolution."""
        self._closed: tuple[tuple[object, ...], Folded] | None = None

    @property
    def nbytes(self) -> int:
        """Memory held, nearly: the map from series to groups, the rows picked out of open slots, the closed fold."""
        rows = sum(sum(map(len, picked.parts)) + sum(map(len, picked.raw)) for picked in self._picked.values())
        rows += len(self._closed[1].keys) if self._closed is not None else 0
        return rows * _ROW_BYTES + (self._groups.of_series.nbytes if self._groups is not None else 0)

    def groups(self, engine: Engine, limits: Limits) -> Groups:
        """The series asked for and their groups, as of now. Raises TooExpensive."""
        name = engine.catalogue.names.get(self.query.name)
        seen = len(engine.catalogue), len(name.series) if name is not None else 0
        if self._groups is None or seen[1] != self._seen[1]:
            self._groups = plan.groups(self.query, engine, limits)
            self._closed = None
            self._forget_folds()
        elif seen[0] != self._seen[0]:
            others = np.full(seen[0] - len(self._groups.of_series), -1, np.int32)
            self._groups.of_series = np.concatenate([self._groups.of_series, others])
        self._seen = seen
        return self._groups

    def read(self, bounds: Bounds, stretches: list[Stretch], groups: Groups, engine: Engine) -> Reading:
        """All the engine holds of the groups' series in the range."""
        if (bounds.step, bounds.calendar) != self._steps:
            self._steps = bounds.step, bounds.calendar
            self._forget_folds()
        wanted = groups.of_series >= 0
        waiting = _waiting(bounds, engine)
        versions = tuple((key, slot.version) for key, slot in waiting)
        closed_key = (bounds, engine.generation, engine.closed, versions)
        pending: list[Panes] = []
        if self._closed is None or self._closed[0] != closed_key:
            parts = (part for _, slot in waiting for part in slot.select(wanted, self.need))
            pending = [inside(part, bounds.start, bounds.end) for part in parts]
        opened = []
        increases: Increases = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))
        for stretch in stretches:
            if stretch.level == OPEN:
                opened = self._read_open(stretch, bounds, wanted, engine)
                if "increase" in self.need:
                    increases = engine.totals.open(wanted, stretch.start, stretch.end)
        return Reading(opened, pending, increases, closed_key, engine.generation, engine.position)

    def _forget_folds(self) -> None:
        for picked in self._picked.values():
            picked.folded = None

    def _read_open(
        self, stretch: Stretch, bounds: Bounds, wanted: Flags, engine: Engine
    ) -> list[tuple[_Picked, list[Panes] | None]]:
        self._picked = {start: picked for start, picked in self._picked.items() if start in engine.open}
        found: list[tuple[_Picked, list[Panes] | None]] = []
        for start in sorted(engine.open):
            if start >= stretch.end or start + SLOT <= stretch.start:
                continue
            picked = self._pick(engine.open[start], wanted)
            parts = [*picked.parts, *picked.raw]
            if start < stretch.start or start + SLOT > stretch.end:
                # The range cuts this slot: what is picked stays good, its fold does not.
                parts = [inside(part, stretch.start, stretch.end) for part in parts]
                picked = _Picked(picked.slot, -1, [])
            found.append((picked, parts if picked.folded is None else None))
        return found

    def _pick(self, slot: Slot, wanted: Flags) -> _Picked:
        picked = self._picked.get(slot.start)
        if picked is None or picked.slot is not slot or picked.compactions != slot.compactions:
            parts = slot.select_folded(wanted, self.need)
            picked = self._picked[slot.start] = _Picked(slot, slot.compactions, parts)
        if picked.scanned < len(slot.raw):
            piece = slot.select_raw(wanted, picked.scanned)
            picked.scanned = len(slot.raw)
            if len(piece):
                picked.raw.append(piece)
                picked.folded = None
                if len(picked.raw) > _PIECES:
                    picked.raw = [panes.concat(picked.raw)]
        return picked

    def fold(self, reading: Reading, bounds: Bounds, groups: Groups, stored: Mapping[BlockId, list[Panes]]) -> Folded:
        """Everything read, folded by (group, step). stored: the panes of each block that lie in the range."""
        results = [self._fold_closed(reading, bounds, groups, stored)]
        for picked, parts in reading.opened:
            folded = picked.folded
            if folded is None:
                folded = picked.folded = self._fold_open(picked.slot, parts or [], bounds, groups)
            results.append(_placed(folded, picked.slot, bounds))
        results = [result for result in results if len(result.keys)]
        if len(results) < 2:  # one alone is folded already
            return results[0] if results else Folded(np.empty(0, np.int64), panes.empty())
        return _fold([r.panes for r in results], [r.keys for r in results], self.need)

    def _fold_closed(
        self, reading: Reading, bounds: Bounds, groups: Groups, stored: Mapping[BlockId, list[Panes]]
    ) -> Folded:
        if self._closed is not None and self._closed[0] == reading.closed_key:
            return self._closed[1]
        parts = [*(part for block in stored.values() for part in block), *reading.pending]
        size, rows = len(groups.labels) * bounds.steps, sum(map(len, parts))
        if self.need <= _ADDITIVE and size * len(parts) <= 8 * rows + _SMALL:
            folded = _add_up(parts, bounds, groups, self.need)
        else:
            chosen, keys = [], []
            for part in parts:
                placed, wanted = place(part, bounds, groups)
                rows_wanted = np.flatnonzero(wanted)
                chosen.append(part if len(rows_wanted) == len(part) else part.pick(rows_wanted, self.need))
                keys.append(placed[rows_wanted])
            folded = _fold(chosen, keys, self.need)
        self._closed = reading.closed_key, folded
        return folded

    def knows_closed(self, reading: Reading) -> bool:
        """Whether the fold of all that is closed is at hand, so that no block has to be read."""
        return self._closed is not None and self._closed[0] == reading.closed_key

    def _fold_open(self, slot: Slot, parts: list[Panes], bounds: Bounds, groups: Groups) -> Folded:
        """One slot folded by (group, step within the slot)."""
        keys = []
        for part in parts:
            key = groups.of_series[part.series].astype(np.int64) * _STEPS_PER_SLOT
            if bounds.step is not None:
                key += part.start // bounds.step - slot.start // bounds.step
            elif bounds.edges is not None:
                key += bounds.number(part.start) - bounds.number(np.array([slot.start]))
            keys.append(key)
        return _fold(parts, keys, self.need)


class Followers:
    """The followers of the queries asked last. One that is lent is gone until it is given back."""

    def __init__(self, count: int = 256, size: int = 64 << 20) -> None:
        self._count, self._size = count, size
        self._held: OrderedDict[Query, tuple[Follower, int]] = OrderedDict()
        self.nbytes = 0

    def borrow(self, query: Query) -> Follower:
        """The follower of a query, or a new one."""
        known = self._held.pop(query, None)
        if known is None:
            return Follower(query, plan.needs(find(query.aggregation or "count")))
        self.nbytes -= known[1]
        return known[0]

    def give_back(self, follower: Follower) -> None:
        """Keeps a follower for the next time its query is asked; those asked longest ago make room."""
        other = self._held.pop(follower.query, None)  # the same query was asked twice at once
        self.nbytes += follower.nbytes - (other[1] if other is not None else 0)
        self._held[follower.query] = follower, follower.nbytes
        while self._held and (len(self._held) > self._count or self.nbytes > self._size):
            self.nbytes -= self._held.popitem(last=False)[1][1]


def _waiting(bounds: Bounds, engine: Engine) -> list[tuple[object, Slot]]:
    """The closed slots in the range that the store does not have yet."""
    return [
        (key, slot)
        for slots in (engine.frozen, engine.pending)
        for key, slot in slots.items()
        if slot.start < bounds.end and slot.start + slot.width * slot.per_slot > bounds.start
    ]


_ADDITIVE = frozenset({"sum", "count", "increase"})
_SMALL = 1_000_000
"""Cells of table worth adding into for any number of panes."""


def _placed(folded: Folded, slot: Slot, bounds: Bounds) -> Folded:
    """A slot's fold with the keys of the whole range."""
    group, step = np.divmod(folded.keys, _STEPS_PER_SLOT)
    if bounds.step is not None:
        step += slot.start // bounds.step - bounds.start // bounds.step
    elif bounds.edges is not None:
        step += bounds.number(np.array([slot.start]))
    return Folded(group * bounds.steps + step, folded.panes)


def _fold(parts: list[Panes], keys: list[Ints], need: frozenset[str]) -> Folded:
    kept = [number for number, part in enumerate(parts) if len(part)]
    if not kept:
        return Folded(np.empty(0, np.int64), panes.empty())
    together = panes.concat([parts[number] for number in kept], need)
    joined = np.concatenate([keys[number] for number in kept])
    if not need.isdisjoint(("first", "last")):
        # Series whose samples tie in time and position are told apart by their ids, before and after they are folded.
        order = np.argsort(together.series, kind="stable")
        together, joined = together.pick(order, need), joined[order]
    unique = np.ones(len(together), np.bool_) if need == _UNIQUE else None
    return Folded(*panes.fold(together, joined, need, unique))


def inside(part: Panes, start: int, end: int) -> Panes:
    """The panes that start in [start, end)."""
    if not len(part) or (int(part.start.min()) >= start and int(part.start.max()) < end):
        return part
    return part.take(np.flatnonzero((part.start >= start) & (part.start < end)))


def place(part: Panes, bounds: Bounds, groups: Groups) -> tuple[Ints, Any]:
    """The (group, step) key of each pane, and which panes are asked for at all."""
    series = part.series
    known = series < len(groups.of_series)  # a series may be newer than the plan
    group = groups.of_series[series] if known.all() else np.where(known, groups.of_series[series * known], -1)
    keys = group.astype(np.int64)
    if bounds.stepped:
        keys = keys * bounds.steps + bounds.number(part.start)
    return keys, group >= 0


def _add_up(parts: list[Panes], bounds: Bounds, groups: Groups, need: frozenset[str]) -> Folded:
    """Sums without sorting, for columns that only add."""
    size = len(groups.labels) * bounds.steps
    totals = {name: np.zeros(size) for name in need}
    for part in parts:
        keys, wanted = place(part, bounds, groups)
        everything = bool(wanted.all())
        keys = keys if everything else keys[wanted]
        for name in need:
            column = part.state[name] if everything else part.state[name][wanted]
            totals[name] += np.bincount(keys, weights=column, minlength=size)
    keys = np.flatnonzero(totals["count"])
    state: panes.Columns = {name: column[keys] for name, column in totals.items()}
    state["count"] = state["count"].astype(np.int64)
    return Folded(keys, Panes(np.zeros(len(keys), np.int32), keys, state, None))
