"""The catalogue: every series ever seen, by key, by dense id and by label, within a cardinality budget.

Labels are kept per metric name as dictionary-encoded columns: a matcher looks at each distinct value once and at each
series with one table lookup, and grouping is a gather of codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from engine.growing import Growing
from engine.matchers import Matcher
from engine.model import (
    COUNTER,
    DELTA,
    OTHER_LABEL,
    OWN_PREFIX,
    Codes,
    Flags,
    Labels,
    SeriesKey,
    pack_series_key,
    parse_series_key,
)

MAX_MATCHED = 512
"""Matchers whose results are kept."""
ABSENT = 0
"""The code of a label that a series does not have; its value is ""."""


@dataclass(slots=True)
class LabelColumn:
    """One label of one name: values by code, and each series' code."""

    values: list[str] = field(default_factory=lambda: [""])
    index: dict[str, int] = field(default_factory=dict)
    codes: Growing = field(default_factory=lambda: Growing(np.int32))

    def code(self, value: str) -> int:
        """The code of a value, a new one if need be."""
        known = self.index.get(value)
        if known is None:
            known = self.index[value] = len(self.values)
            self.values.append(value)
        return known


@dataclass(slots=True)
class Name:
    """A metric name: its series, in the order they were first seen, and their labels."""

    name: str
    number: int
    unit: str = ""
    types: set[int] = field(default_factory=set)
    series: Growing = field(default_factory=lambda: Growing(np.int32))
    labels: dict[str, LabelColumn] = field(default_factory=dict)
    sketched: bool = False
    """Whether distinct values are asked for."""
    folded: int = 0
    """Samples that went to the __other__ series."""

    def codes(self, label: str) -> Codes:
        """Each series' code for a label."""
        column = self.labels.get(label)
        if column is None:
            return np.zeros(len(self.series), np.int32)
        return padded(column.codes, len(self.series))

    def value_column(self, label: str) -> tuple[list[str], Codes]:
        """The values of a label by code, and each series' code."""
        column = self.labels.get(label)
        return (column.values if column else [""]), self.codes(label)

    def widest_label(self) -> str | None:
        """The label with the most values: the one to blame when the budget is spent."""
        return max(self.labels, key=lambda label: len(self.labels[label].values), default=None)


def padded(codes: Growing, size: int) -> Codes:
    """A label column as long as its name has series: those after its end do not have the label."""
    view = codes.view()
    if len(view) < size:
        view = np.concatenate([view, np.zeros(size - len(view), np.int32)])
    return view


class Catalogue:
    """Series by key, id and label. Ids are dense, start at 0 and hold for this catalogue only."""

    def __init__(self, max_series: int = 1_000_000, max_series_per_name: int = 50_000) -> None:
        self.max_series = max_series
        self.max_series_per_name = max_series_per_name
        self.names: dict[str, Name] = {}
        self.by_number: list[Name] = []
        self.keys: list[bytes] = []
        self.sketched: set[str] = set()
        """Names whose distinct values are asked for, seen or not."""
        self._ids: dict[bytes, int] = {}
        self._matched: dict[tuple[int, Matcher], Flags] = {}
        self._name_number = Growing(np.int32)
        self._type = Growing(np.int8)
        self._temporality = Growing(np.int8)
        self._total = Growing(np.bool_)
        self._delta = Growing(np.bool_)
        self._own = Growing(np.bool_)
        self.any_own = False
        """Whether there is any series of the server's own."""

    def __len__(self) -> int:
        return len(self.keys)

    def known(self, keys: Sequence[bytes]) -> Codes | None:
        """Series ids of packed keys where all of them are series already, as they are spelt; else None."""
        ids = np.fromiter(map(self._ids.get, keys, repeat(-1)), np.int32, len(keys))
        return None if int(ids.min(initial=0)) < 0 else ids

    def resolve(self, keys: Sequence[bytes]) -> tuple[Codes, Flags | None]:
        """Series ids of packed keys, registering new ones; and which of the keys went to __other__, None for none."""
        ids = np.fromiter(map(self._ids.get, keys, repeat(-1)), np.int32, len(keys))
        new = np.flatnonzero(ids < 0)
        if not len(new):
            return ids, None
        folded = np.zeros(len(keys), np.bool_)
        for row in new:
            ids[row], folded[row] = self._register(keys[int(row)])
        return ids, folded if folded.any() else None

    def _register(self, wire_key: bytes) -> tuple[int, bool]:
        known = self._ids.get(wire_key)
        if known is not None:  # twice in one batch
            return known, False
        key = parse_series_key(wire_key)
        if len(self) >= self.max_series and key.name not in self.names:
            # Names are bounded by the same budget: the rest share one name.
            return self._other(key._replace(name=OTHER_LABEL)), True
        name = self._name(key)
        canonical = pack_series_key(key.name, key.type, key.temporality, "", key.labels) if key.unit else wire_key
        known = self._ids.get(canonical)
        if known is None:
            if len(name.series) >= self.max_series_per_name or len(self) >= self.max_series:
                # Not remembered under its own key: what is beyond the budget must not cost memory.
                return self._other(key), True
            known = self._add(canonical, key, name)
        self._ids[wire_key] = known
        return known, False

    def _other(self, key: SeriesKey) -> int:
        labels = ((OTHER_LABEL, "true"),)
        canonical = pack_series_key(key.name, key.type, key.temporality, "", labels)
        known = self._ids.get(canonical)
        return self._add(canonical, key._replace(labels=labels), self._name(key)) if known is None else known

    def _name(self, key: SeriesKey) -> Name:
        name = self.names.get(key.name)
        if name is None:
            name = self.names[key.name] = Name(key.name, len(self.by_number), sketched=key.name in self.sketched)
            self.by_number.append(name)
        name.types.add(key.type)
        if key.unit and not name.unit:  # the first one stays: later ones are not seen by all replays alike
            name.unit = key.unit
        return name

    def _add(self, canonical: bytes, key: SeriesKey, name: Name) -> int:
        series = self._ids[canonical] = len(self.keys)
        self.keys.append(canonical)
        self._name_number.append(name.number)
        self._type.append(key.type)
        self._temporality.append(key.temporality)
        other = len(key.labels) == 1 and key.labels[0][0] == OTHER_LABEL
        self._total.append(key.type == COUNTER and key.temporality != DELTA and not other)
        self._delta.append(key.type == COUNTER and key.temporality == DELTA)
        own = key.name.startswith(OWN_PREFIX)
        self._own.append(own)
        self.any_own = self.any_own or own
        row = len(name.series)
        name.series.append(series)
        for label, value in key.labels:
            column = name.labels.get(label)
            if column is None:
                column = name.labels[label] = LabelColumn()
            gap = row - len(column.codes)
            if gap:
                column.codes.extend(np.zeros(gap, np.int32))
            column.codes.append(column.code(value))
        return series

    @property
    def name_numbers(self) -> Codes:
        """Each series' name, as a number into `by_number`."""
        return self._name_number.view()

    @property
    def types(self) -> np.ndarray:
        """Each series' type."""
        return self._type.view()

    @property
    def temporalities(self) -> np.ndarray:
        """Each series' temporality."""
        return self._temporality.view()

    @property
    def totals(self) -> Flags:
        """Which series are running totals."""
        return self._total.view()

    @property
    def deltas(self) -> Flags:
        """Which series are counters of deltas."""
        return self._delta.view()

    @property
    def own(self) -> Flags:
        """Which series are the server's own."""
        return self._own.view()

    def sketch(self, name: str) -> None:
        """Keeps what `unique` needs for a name from here on."""
        self.sketched.add(name)
        if name in self.names:
            self.names[name].sketched = True

    def sketched_rows(self, series: Codes) -> Flags | None:
        """Which of some series belong to names whose distinct values are asked for; None when none does."""
        if not self.sketched:
            return None
        wanted = np.fromiter((name.sketched for name in self.by_number), np.bool_, len(self.by_number))
        return np.asarray(wanted[self.name_numbers[series]])

    def labels(self, series: int) -> Labels:
        """The labels of a series."""
        return parse_series_key(self.keys[series]).labels

    def select(self, name: str, matchers: Iterable[Matcher] = (), type: int | None = None) -> tuple[Codes, Codes]:
        """The series of a name that fulfil all matchers: (ids, rows in the name's label columns)."""
        found = self.names.get(name)
        if found is None:
            return np.empty(0, np.int32), np.empty(0, np.int32)
        series = found.series.view()
        keep = np.ones(len(series), np.bool_)
        for matcher in matchers:
            values, codes = found.value_column(matcher.label)
            keep &= self._accepted(found, matcher, values)[codes]
        if type is not None:
            keep &= self.types[series] == type
        rows = np.flatnonzero(keep)
        return series[rows], rows.astype(np.int32)

    def _accepted(self, name: Name, matcher: Matcher, values: list[str]) -> Flags:
        """Which values of a label a matcher accepts; only values that are new since the last time are looked at."""
        key = name.number, matcher
        known = self._matched.pop(key, None)
        if known is None:
            known = np.empty(0, np.bool_)
        if len(known) < len(values):
            new = values[len(known) :]
            known = np.concatenate([known, np.fromiter(map(matcher.accepts, new), np.bool_, len(new))])
        self._matched[key] = known
        if len(self._matched) > MAX_MATCHED:
            del self._matched[next(iter(self._matched))]
        return known

    def restore(self, keys: Iterable[bytes], units: dict[str, str]) -> None:
        """Registers the series of a stored catalogue, in id order."""
        for key in keys:
            parsed = parse_series_key(key)
            self._add(key, parsed, self._name(parsed))
        for name, unit in units.items():
            if name in self.names:
                self.names[name].unit = unit
