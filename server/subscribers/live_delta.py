"""What changed from one result of a live query to the next, as little as a client needs to have the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RowKey = tuple[object, object]


@dataclass(frozen=True, slots=True)
class Delta:
    """data: of the update. members: what else its message has to say."""

    data: Any
    members: dict[str, object]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by (group, time)."""

    by_key: dict[RowKey, Any]

    def since(self, before: Rows) -> Delta:
        """The rows that are new or differ; `removed` has the keys of those that are gone."""
        old, new = before.by_key, self.by_key
        removed = [key for key in old if key not in new]
        return Delta([row for key, row in new.items() if old.get(key) != row], {"removed": removed})


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns: the times of the steps, and for each group whose they are and (values, counts)."""

    times: list[int]
    groups: list[tuple[object, object]]
    columns: list[tuple[list[Any], list[Any]]]

    def since(self, before: Columns) -> Delta | None:
        """The steps from the first that is new or differs; `first` is the time before which steps are gone.

        None where the groups or the steps are others, or where so much differs that the whole is no longer.
        """
        if not self.times or self.groups != before.groups or self.times[0] not in before.times:
            return None
        gone = before.times.index(self.times[0])
        shared = len(before.times) - gone
        if shared > len(self.times):
            return None
        same = _same(before.times, gone, self.times, shared)
        if same < shared:
            return None
        for old, new in zip(before.columns, self.columns, strict=True):
            for was, now in zip(old, new, strict=True):
                same = _same(was, gone, now, same)
        if 2 * same < len(self.times):
            return None
        series = [{"values": values[same:], "counts": counts[same:]} for values, counts in self.columns]
        return Delta({"times": self.times[same:], "series": series}, {"first": self.times[0]})


def comparable(result: Any) -> Rows | Columns | None:
    """A result (JSON values) as it is compared with the next; None for what has to come whole."""
    if isinstance(result, dict):
        if result.keys() != {"times", "series"}:  # calendar steps say which are not over; they are few
            return None
        series = result["series"]
        groups = [(each["group"], each["labels"]) for each in series]
        return Columns(result["times"], groups, [(each["values"], each["counts"]) for each in series])
    if not isinstance(result, list) or not all(isinstance(row, dict) for row in result):
        return None
    rows = {(row.get("group"), row.get("time")): row for row in result}
    return Rows(rows) if len(rows) == len(result) else None


def difference(before: Rows | Columns, after: Rows | Columns) -> Delta | None:
    """What to tell one who has `before`; None where only the whole of `after` will do."""
    if isinstance(before, Rows) and isinstance(after, Rows):
        return after.since(before)
    if isinstance(before, Columns) and isinstance(after, Columns):
        return after.since(before)
    return None


def _same(old: Sequence[Any], skip: int, new: Sequence[Any], count: int) -> int:
    """How many of the first `count` values are those of `old` after its first `skip`."""
    if old[skip : skip + count] == new[:count]:
        return count
    low, high = 0, count  # there is a difference in [low, high), and none before
    while high - low > 1:
        middle = (low + high) // 2
        if old[skip + low : skip + middle] == new[low:middle]:
            low = middle
        else:
            high = middle
    return low
