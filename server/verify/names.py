"""Which series a row of the log belongs to: by the keys it spells and the numbers its writer gave them."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from engine.model import COUNTER, DELTA, OTHER_LABEL, Batch, Codes, Flags, pack_series_key, parse_series_key

_END = b"\xff"
UNKNOWN = -1


class Owners(NamedTuple):
    """The series of each row, UNKNOWN where the log does not say; and which rows went to an __other__ series."""

    series: Codes
    folded: Flags


class Names:
    """Series by key, in the order in which they were first seen, within the budgets."""

    def __init__(self, keys: list[bytes], most: int, most_per_name: int) -> None:
        self.keys = list(keys)
        self._most, self._most_per_name = most, most_per_name
        self._numbers = {key: number for number, key in enumerate(keys)}
        self._per_name = Counter(map(name_of, keys))

    def find(self, key: bytes) -> tuple[int, bool]:
        """(series, whether it takes the samples of others) of a key as an entry spells it; a new series if need be."""
        bare = key[:2] + key[key.index(_END) :]  # the unit is no part of a series
        known = self._numbers.get(bare)
        if known is not None:
            return known, False
        name = name_of(bare)
        full = len(self.keys) >= self._most
        if not full and self._per_name[name] < self._most_per_name:
            return self._add(bare, name), False
        parsed = parse_series_key(bare)
        if full and name not in self._per_name:
            parsed = parsed._replace(name=OTHER_LABEL)
        other = pack_series_key(parsed.name, parsed.type, parsed.temporality, "", [(OTHER_LABEL, "true")])
        known = self._numbers.get(other)
        return (self._add(other, name_of(other)) if known is None else known), True

    def totals(self, series: Codes) -> Flags:
        """Which of some series are running totals: counters that do not say that they are deltas, and no __other__."""
        distinct, places = np.unique(series, return_inverse=True)
        return np.array([self._is_total(number) for number in distinct.tolist()], np.bool_)[places]

    def _is_total(self, number: int) -> bool:
        key = parse_series_key(self.keys[number])
        takes_others = len(key.labels) == 1 and key.labels[0][0] == OTHER_LABEL
        return key.type == COUNTER and key.temporality != DELTA and not takes_others

    def _add(self, key: bytes, name: bytes) -> int:
        number = self._numbers[key] = len(self.keys)
        self.keys.append(key)
        self._per_name[name] += 1
        return number


def name_of(key: bytes) -> bytes:
    """The name in a packed key."""
    return key.split(_END, 2)[1]


class Tables:
    """What writers call series: by (epoch, table), the series of each number. Only the newest `most` are remembered."""

    def __init__(self, held: dict[tuple[int, int], tuple[Codes, Flags]], most: int) -> None:
        self._held, self._most = dict(held), most

    def owners(self, epoch: int, batch: Batch, names: Names) -> Owners:
        """The series of each row of a batch, after learning the keys that it spells."""
        spelt = [names.find(key) for key in batch.keys]
        series = np.array([number for number, _ in spelt], np.int32)
        folded = np.array([other for _, other in spelt], np.bool_)
        if batch.table is None:
            return Owners(series[batch.codes], folded[batch.codes])
        table = epoch, batch.table.id
        known, others = self._held.pop(table, (np.empty(0, np.int32), np.empty(0, np.bool_)))
        numbers = batch.table.numbers
        size = max(len(known), int(numbers.max(initial=-1)) + 1, int(batch.codes.max(initial=-1)) + 1)
        if size > len(known):
            room = max(size, 2 * len(known)) - len(known)
            known = np.concatenate([known, np.full(room, UNKNOWN, np.int32)])
            others = np.concatenate([others, np.zeros(room, np.bool_)])
        known[numbers], others[numbers] = series, folded
        self._held[table] = known, others
        if len(self._held) > self._most:
            del self._held[next(iter(self._held))]
        return Owners(known[batch.codes], others[batch.codes])
