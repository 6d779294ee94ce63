"""What arrives of the metrics that rules look at value by value: per series the least, the greatest, first and last."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from engine.engine import Delivery, Engine
from engine.kernels.grouping import group
from engine.model import Flags, Floats, Ints
from engine.newest import Raw

SECOND = 1000
_FOLD_AT = 65_536


class Arrived(NamedTuple):
    """A row for each series that has had a value."""

    series: Ints
    least: Floats
    greatest: Floats
    first: Floats
    last: Floats

    def pick(self, rows: Ints) -> Arrived:
        """Some of the rows."""
        return Arrived(
            self.series[rows], self.least[rows], self.greatest[rows], self.first[rows], self.last[rows]
        )

    @property
    def columns(self) -> dict[str, Floats]:
        """By the names of aggregations."""
        return {"min": self.least, "max": self.greatest, "first": self.first, "last": self.last}


NOTHING = Arrived(np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))


class Arrivals:
    """Collects until somebody takes. Nothing is kept of metrics that nobody watches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: frozenset[str] = frozenset()
        self._flags: Flags = np.zeros(0, np.bool_)
        self._touched: Flags = np.zeros(0, np.bool_)
        self._events: set[str] = set()
        self._parts: list[Arrived] = []
        self._held = 0

    def watch(self, names: Collection[str]) -> None:
        """The metrics whose values count from here on."""
        if self._names != frozenset(names):
            self._names = frozenset(names)
            self._flags = np.zeros(0, np.bool_)

    def watch_too(self, name: str) -> None:
        """One more of them."""
        if name not in self._names:
            self.watch({*self._names, name})

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        if delivery.events:
            self._events.update(event.type for _, event in delivery.events)
        if not len(delivery.series):
            return
        numbers = self._engine.catalogue.name_numbers[delivery.series]
        self._grow()
        self._touched[numbers] = True
        if not self._names or not (wanted := self._flags[numbers]).any():
            return
        values, series = delivery.values[wanted], delivery.series[wanted].astype(np.int64)
        self._parts.append(Arrived(series, values, values, values, values))
        self._held += len(series)
        if self._held >= _FOLD_AT:
            self._fold()

    @property
    def waiting(self) -> bool:
        """Whether anything has come since the last time."""
        return bool(self._parts or self._events or self._touched.any())

    def put(self, before: Arrived) -> None:
        """Adds values that have arrived before all that are here."""
        if len(before.series):
            self._parts.insert(0, before)

    def take(self) -> Arrived:
        """All values that have arrived since the last time."""
        self._fold()
        taken = self._parts[0] if self._parts else NOTHING
        self._parts, self._held = [], 0
        return taken

    def take_names(self) -> set[tuple[str, str]]:
        """The metrics and events, as ("metric" or "event", name), of which anything has arrived since the last time."""
        by_number = self._engine.catalogue.by_number
        names = {("metric", by_number[number].name) for number in np.flatnonzero(self._touched).tolist()}
        names.update(("event", type) for type in self._events)
        self._touched[:] = False
        self._events.clear()
        return names

    def _grow(self) -> None:
        by_number = self._engine.catalogue.by_number
        if len(self._flags) != len(by_number):
            known = [name.name in self._names for name in by_number[len(self._flags) :]]
            self._flags = np.concatenate([self._flags, np.array(known, np.bool_)])
        if len(self._touched) != len(by_number):
            more = np.zeros(len(by_number) - len(self._touched), np.bool_)
            self._touched = np.concatenate([self._touched, more])

    def _fold(self) -> None:
        if not self._parts:
            return
        folded = fold(*(np.concatenate(columns) for columns in zip(*self._parts, strict=True)))
        self._parts, self._held = [folded], len(folded.series)


class Missed(NamedTuple):
    """What has arrived while nobody looked. by_second: by the end of each second, ms; rest: what is of the one that
    goes on, and the log position before it."""

    by_second: dict[int, Arrived]
    rest: Arrived
    position: int


def arrived_since(engine: Engine, position: int, begin: int, now: int) -> Missed | None:
    """What has come after a log position, of all metrics, by seconds in (begin, now], ms. None where the newest raw
    samples do not reach back as far."""
    rings = [(ring, ring.view()) for ring in (engine.newest, engine.newest_own)]
    if any(not ring.is_whole and held.positions[0] > position for ring, held in rings):
        return None
    held = Raw(*(np.concatenate(columns) for columns in zip(*(held for _, held in rings), strict=True)))
    order = np.argsort(held.positions, kind="stable")
    order = order[np.searchsorted(held.positions[order], position, "right") :]
    positions, series, values = held.positions[order], held.series[order].astype(np.int64), held.values[order]
    # What came late, or from a clock that is ahead, counts in a second near by, but not before what came before it.
    ends = np.clip(held.times[order] // SECOND * SECOND + SECOND, begin + SECOND, now + SECOND)
    ends = np.maximum.accumulate(ends)
    found = {end: fold(series[ends == end], *[values[ends == end]] * 4) for end in np.unique(ends).tolist()}
    goes_on = np.searchsorted(ends, now, "right")
    before = int(positions[goes_on]) - 1 if goes_on < len(positions) else engine.position
    return Missed(found, found.pop(now + SECOND, NOTHING), before)


def fold(keys: Ints, least: Floats, greatest: Floats, first: Floats, last: Floats) -> Arrived:
    """Rows of the same key made one, in the order in which they came."""
    groups = group(keys)
    ends = np.append(groups.starts[1:], len(keys)) - 1
    order = groups.order
    return Arrived(
        groups.keys, np.minimum.reduceat(least[order], groups.starts),
        np.maximum.reduceat(greatest[order], groups.starts), first[order[groups.starts]], last[order[ends]],
    )  # fmt: skip
