"""What arrives of the metrics that rules look at value by value: per series the least, the greatest, first and last."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from engine.engine import Delivery, Engine
from engine.kernels.grouping import group
from engine.model import Flags, Floats, Ints

SECOND = 1000
_FOLD_AT = 65_536


class Arrived(NamedTuple):
    """A row for each series that has had a value, by ascending id."""

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


NOTHING = Arrived(np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))


class Arrivals:
    """Collects until somebody takes. Nothing is kept of metrics that nobody watches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: frozenset[str] = frozenset()
        self._flags: Flags = np.zeros(0, np.bool_)
        self._touched: Flags = np.zeros(0, np.bool_)
        self._events: set[str] = set()
        self._second = 0
        """Of the newest entry."""
        self._over: list[Arrived] = []
        """What has come in the seconds before it."""
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
        if delivery.stamp // SECOND > self._second:
            self._second = delivery.stamp // SECOND
            self._over += self._parts
            self._parts = []
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
            self._over, self._parts = _folded(self._over), _folded(self._parts)
            self._held = sum(len(part.series) for part in (*self._over, *self._parts))

    @property
    def waiting(self) -> bool:
        """Whether anything has come since the last time."""
        return bool(self._parts or self._events or self._touched.any())

    def take(self) -> Arrived:
        """All values that have arrived since the last time, in seconds that are over: a second is looked at whole."""
        over, self._over = _folded(self._over), []
        self._held = sum(len(part.series) for part in self._parts)
        return over[0] if over else NOTHING

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


def _folded(parts: list[Arrived]) -> list[Arrived]:
    """The parts as one, which has a row for each series."""
    return [fold(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))] if parts else []


def fold(keys: Ints, least: Floats, greatest: Floats, first: Floats, last: Floats) -> Arrived:
    """Rows of the same key made one, in the order in which they came."""
    groups = group(keys)
    ends = np.append(groups.starts[1:], len(keys)) - 1
    order = groups.order
    return Arrived(
        groups.keys, np.minimum.reduceat(least[order], groups.starts),
        np.maximum.reduceat(greatest[order], groups.starts), first[order[groups.starts]], last[order[ends]],
    )  # fmt: skip
