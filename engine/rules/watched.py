"""One rule as it is evaluated: what was seen last of each group, and where each alert stands.

Readings come as columns. Only groups whose condition has changed, whose timer is over or whose value is worse than the
worst so far reach the step function; for the others nothing would come of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from engine.model import Flags, Ints
from engine.rules.conditions import AS_BEFORE, levels, patience, worse
from engine.rules.model import (
    CANCELLED,
    CONDITION,
    ERROR,
    FIRING,
    INACTIVE,
    NO_DATA,
    OK,
    QUIET,
    RESOLVED,
    SILENT,
    Edge,
    Group,
    Readings,
    Rule,
    State,
)
from engine.rules.step import due, step

_SEEN = np.dtype([("up", "i1"), ("hold", "i1"), ("cause", "i1"), ("value", "f8"), ("with_data", "i8"), ("peak", "f8")])
"""Of a group: what its last reading was, when (ms) it last had data, and the worst value while it fires."""
_SPARE = 1000
"""Groups without data that are remembered besides those with some."""


class Watched:
    """A rule and its alerts. states: as they stand, of those that are not inactive; at: ms, now."""

    def __init__(self, rule: Rule, states: Mapping[Group, State], at: int) -> None:
        self.rule = rule
        self.states = dict(states)
        self.error = ""
        """Why the newest readings could not be made."""
        self.over = 0
        """Groups beyond the rule's `max_groups`."""
        self.evaluated = at
        """ms of the newest readings."""
        self.blind = 0
        """Until when (ms) silence says nothing, as nobody listened before."""
        self._read: Sequence[Group] = ()
        self._rows: Ints = np.empty(0, np.int64)
        self._number: dict[Group, int] = {}
        self._groups: list[Group] = []
        self._seen = np.empty(0, _SEEN)
        self._due: dict[Group, int] = {}
        # A window is empty only when it is over; of arriving values silence begins with the last of them.
        span = rule.silence_after or rule.query.range
        over = 0 if rule.each else span if rule.kind == NO_DATA else rule.query.range
        self.span = max(over, span)
        """ms of silence that say something."""
        self._is_whole = self.states.get((), QUIET).cause == ERROR
        """Whether the group () stands for the rule itself, whose query has failed."""
        self._add(list(self.states))
        for group in self.states:
            self._settle(group)

    @property
    def groups(self) -> int:
        """How many have data."""
        return int(np.count_nonzero(self._seen["cause"] == CONDITION))

    @property
    def values(self) -> dict[Group, float]:
        """The newest value of each group that has one."""
        known = np.flatnonzero(~np.isnan(self._seen["value"]))
        return {self._groups[row]: float(self._seen["value"][row]) for row in known.tolist()}

    def take(self, readings: Readings, partly: bool = False) -> list[Edge]:
        """What the readings change. partly: groups that are not among them have not been looked at.

        An error is one of all groups that are known, or, where none is, of the rule itself: of the group ().
        """
        at = self.evaluated = readings.at
        self.error, self.over = readings.error, readings.over
        if readings.error and not self._groups:
            self._add([()])
            self._is_whole = True
        elif self._is_whole and not readings.error:
            self._is_whole = () not in readings.groups
        rows = self._rows_of(readings.groups)
        new = np.zeros(len(self._seen), _SEEN)
        new["value"], new["cause"] = np.nan, ERROR if readings.error else SILENT
        new["value"][rows], new["cause"][rows] = readings.values, readings.causes
        new["cause"][(new["cause"] == CONDITION) & np.isnan(new["value"])] = SILENT
        new["up"], new["hold"] = levels(self.rule, new["value"], new["cause"])
        self._seen["with_data"][new["cause"] == CONDITION] = at
        looked = np.full(len(new), not partly or self.rule.each or bool(readings.error))
        looked[rows] = True
        if self.rule.each and self.rule.silence_after is not None:  # of those from which nothing has come, too
            looked |= new["cause"] == SILENT
        looked &= (new["cause"] != SILENT) | self._long_enough(at)
        if self._is_whole and not readings.error and (whole := self._number.get(())) is not None:  # that error is over
            new["up"][whole], new["hold"][whole], looked[whole] = OK, OK, True
        edges = self._step(new, np.flatnonzero(looked), at)
        if not partly and len(self._groups) > 2 * len(rows) + _SPARE:
            self._forget(readings.groups)
        return edges

    def know(self, groups: Sequence[Group]) -> None:
        """These have had data before; their silence counts from now on."""
        self._add([group for group in groups if group not in self._number])

    def _long_enough(self, at: int) -> Flags:
        """Of which groups silence has lasted so long that it says something."""
        after = patience(self.rule)
        if after is None or at < self.blind:
            return np.zeros(len(self._seen), np.bool_)
        return np.asarray(at - self._seen["with_data"] >= after)

    def _step(self, new: np.ndarray, looked: Ints, at: int) -> list[Edge]:
        """Steps the alerts of the rows looked at that need it, and those whose timer is over."""
        old = self._seen[looked]
        changed = np.zeros(len(looked), np.bool_)
        for name in ("up", "hold", "cause"):
            changed |= new[name][looked] != old[name]
        farther = worse(self.rule, new["value"][looked], old["peak"]) & ~np.isnan(old["peak"])
        chosen = set(looked[changed | farther].tolist())
        chosen.update(self._number[group] for group, moment in self._due.items() if moment <= at)
        for name in ("up", "hold", "cause", "value"):
            self._seen[name][looked] = new[name][looked]
        return [edge for row in sorted(chosen) if (edge := self._step_one(row, at)) is not None]

    def _step_one(self, row: int, at: int) -> Edge | None:
        group, seen = self._groups[row], self._seen[row]
        value = None if np.isnan(seen["value"]) else float(seen["value"])
        before = self.states.get(group, QUIET)
        state, kind = step(self.rule, before, int(seen["up"]), int(seen["hold"]), int(seen["cause"]), value, at)
        if state.status == INACTIVE:
            self.states.pop(group, None)
        else:
            self.states[group] = state
        self._settle(group)
        return None if kind is None else Edge(group, kind, at, state)

    def _settle(self, group: Group) -> None:
        """Notes the timer and the worst value of an alert."""
        state = self.states.get(group, QUIET)
        moment = due(self.rule, state)
        if moment is None:
            self._due.pop(group, None)
        else:
            self._due[group] = moment
        firing = state.status == FIRING and state.peak is not None
        self._seen["peak"][self._number[group]] = state.peak if firing else np.nan

    def _rows_of(self, groups: Sequence[Group]) -> Ints:
        if groups is not self._read and groups != self._read:
            self._add([group for group in groups if group not in self._number])
            self._rows = np.fromiter((self._number[group] for group in groups), np.int64, len(groups))
            self._read = groups
        return self._rows

    def _add(self, groups: list[Group]) -> None:
        if not groups:
            return
        self._number.update((group, len(self._groups) + at) for at, group in enumerate(groups))
        self._groups += groups
        added = np.zeros(len(groups), _SEEN)
        added["up"] = added["hold"] = AS_BEFORE
        added["cause"], added["value"], added["peak"], added["with_data"] = SILENT, np.nan, np.nan, self.evaluated
        self._seen = np.concatenate([self._seen, added])

    def _forget(self, read: Sequence[Group]) -> None:
        """Forgets groups that have neither data nor an alert."""
        wanted = {*read, *self.states}
        kept = [row for row, group in enumerate(self._groups) if group in wanted]
        self._groups, self._seen = [self._groups[row] for row in kept], self._seen[kept]
        self._number = {group: row for row, group in enumerate(self._groups)}
        self._read = ()


def ended(states: Mapping[Group, State], at: int) -> list[Edge]:
    """What ends alerts, as of a rule that is not evaluated any more."""
    return [
        Edge(group, RESOLVED if old.status == FIRING else CANCELLED, at, replace(old, status=INACTIVE, level=OK))
        for group, old in states.items()
    ]
