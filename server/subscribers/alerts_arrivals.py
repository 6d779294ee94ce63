"""What arrives of the metrics that rules look at value by value: per series the least, the greatest, first and last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.engine import Delivery, Engine
from engine.kernels.grouping import group
from engine.model import Floats, Ints
from engine.newest import Raw
from engine.query.value import Name
from engine.series import Name as Named

SECOND = 1000
_FOLD_AT = 65_536
WATCHED, VALUED = 1, 2
"""Of a metric, that it is heard whether anything has come; that its values count as well."""


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
    """Collects until somebody takes. Nothing is kept, nor looked at, of metrics and events that nobody watches."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.waiting = False
        """Whether anything that somebody watches has come since the last time."""
        self._valued: frozenset[str] = frozenset()
        self._metrics: frozenset[str] = frozenset()
        self._types: frozenset[str] = frozenset()
        self._flags: NDArray[np.int8] = np.zeros(0, np.int8)
        """Per number of a name, WATCHED or VALUED, 0 for neither."""
        self._touched: set[Name] = set()
        self._parts: list[Arrived] = []
        self._held = 0

    def watch(self, valued: Collection[str], names: Collection[Name]) -> None:
        """From here on the values of some metrics count, and of these and others that anything has come."""
        metrics = frozenset(valued).union(name for kind, name in names if kind == "metric")
        self._types = frozenset(name for kind, name in names if kind == "event")
        if (self._valued, self._metrics) != (frozenset(valued), metrics):
            self._valued, self._metrics = frozenset(valued), metrics
            self._flags = np.zeros(0, np.int8)

    def watch_too(self, name: str) -> None:
        """The values of one more metric."""
        if name not in self._valued:
            self._valued, self._metrics = self._valued | {name}, self._metrics | {name}
            self._flags = np.zeros(0, np.int8)

    def applied(self, delivery: Delivery) -> None:
        """Sees every entry."""
        if self._types and delivery.events:
            types = {event.type for _, event in delivery.events} & self._types
            self._touch(("event", type) for type in types)
        if not self._metrics or not len(delivery.series):
            return
        catalogue = self._engine.catalogue
        numbers = catalogue.name_numbers[delivery.series]
        flags = self._known(catalogue.by_number)[numbers]
        if not flags.any():
            return
        self._touch(("metric", catalogue.by_number[number].name) for number in np.unique(numbers[flags > 0]).tolist())
        wanted = flags == VALUED
        if wanted.any():
            values, series = delivery.values[wanted], delivery.series[wanted].astype(np.int64)
            self._parts.append(Arrived(series, values, values, values, values))
            self._held += len(series)
            if self._held >= _FOLD_AT:
                self._fold()

    def _touch(self, names: Iterable[Name]) -> None:
        self._touched.update(names)
        self.waiting = bool(self._touched)

    def _known(self, by_number: Sequence[Named]) -> NDArray[np.int8]:
        """The flags, of names that are new as well."""
        if len(self._flags) != len(by_number):
            new = [self._flag(each.name) for each in by_number[len(self._flags) :]]
            self._flags = np.concatenate([self._flags, np.array(new, np.int8)])
        return self._flags

    def _flag(self, name: str) -> int:
        return VALUED if name in self._valued else WATCHED if name in self._metrics else 0

    def put(self, before: Arrived) -> None:
        """Adds values that have arrived before all that are here."""
        if len(before.series):
            self._parts.insert(0, before)
            self.waiting = True

    def take(self) -> tuple[Arrived, set[Name]]:
        """All values that have arrived since the last time, and of what anything has."""
        self._fold()
        taken = self._parts[0] if self._parts else NOTHING, self._touched
        self._parts, self._held, self._touched, self.waiting = [], 0, set(), False
        return taken

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
