"""Replaying a rule over the past: what it would have seen, as columns, through the step function and the routing.

Conditions are columns of a whole row at once; the step function sees only the moments at which they change and those
at which a timer is over. Messages are those that the book and `routing.decide` give for the edges that come of it, of
channels that take everything at once. Alerts of other rules are not known, so nothing is inhibited.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from engine.model import Flags, Floats, Ints
from engine.rules.conditions import AS_BEFORE, Levels, levels, patience, reference
from engine.rules.model import (
    BEGAN,
    CANCELLED,
    CHANGED,
    CONDITION,
    FIRED,
    FIRING,
    NOTED,
    QUIET,
    RESOLVED,
    SILENT,
    Edge,
    Episode,
    Group,
    Rule,
    Silence,
    State,
)
from engine.rules.replay_messages import Told, messages
from engine.rules.step import due, step, worse

FLAP = 5 * 60_000
"""ms; an episode that is shorter is a flap."""
MAX_CHANGES = 20_000
"""Changes of conditions that are stepped; where there are more, only the newest part of the past is replayed."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a rule would have seen. times: ms of the moments when it would have looked, ascending; values: [groups,
    times], nan where there was nothing. A group begins to exist where it has its first value."""

    groups: Sequence[Group]
    times: Ints
    values: Floats


class Pending(NamedTuple):
    """An alert that was pending and never fired, [since, until) in ms."""

    group: Group
    since: int
    until: int


@dataclass(slots=True)
class Replay:
    """What would have been. begin: ms from which on it was replayed, later than asked where that was too much."""

    begin: int
    episodes: list[Episode] = field(default_factory=list)
    """Oldest first; those that still go on have no `resolved`."""
    pending: list[Pending] = field(default_factory=list)
    messages: list[Told] = field(default_factory=list)
    """Of these, the first MAX_MESSAGES."""

    @property
    def flaps(self) -> Counter[Group]:
        """How many short episodes each group has."""
        over = [each for each in self.episodes if each.resolved is not None]
        return Counter(each.group for each in over if (each.resolved or 0) - each.fired < FLAP)


def replay(
    rule: Rule, past: Past, begin: int, end: int, silences: Sequence[Silence] = (),
    muted: Callable[[int], bool] = lambda at: False,
) -> Replay:  # fmt: skip
    """Replays [begin, end]. What lies before `begin` only tells which groups there are already, and since when they
    have been silent. muted: the rule's mute times."""
    rows = [_row(rule, group, past.times, values) for group, values in zip(past.groups, past.values, strict=True)]
    first = int(np.searchsorted(past.times, begin))
    fits = max(first, _fits(rows, len(past.times)))
    done = Replay(begin if fits == first else int(past.times[fits]))
    found: list[Edge] = []
    for group, row in zip(past.groups, rows, strict=True):
        changes, state = _walk(rule, group, row, past.times, fits)
        found += changes
        done.episodes += _episodes(changes, state)
        done.pending += _pending(changes)
    done.episodes.sort(key=lambda each: each.fired)
    done.pending.sort(key=lambda each: each.since)
    found.sort(key=lambda each: each.at)
    done.messages = messages(rule, found, end, silences, muted)
    return done


class _Row(NamedTuple):
    """What one alert sees at each moment: level reached, level kept, cause and value, those of the newest reading."""

    up: Levels
    hold: Levels
    cause: Levels
    values: Floats
    changes: Ints
    """The moments at which one of the first three is not what it was."""


def _row(rule: Rule, group: Group, times: Ints, values: Floats) -> _Row:
    silent = np.isnan(values)
    cause = np.where(silent, np.int8(SILENT), np.int8(CONDITION))
    up, hold = levels(rule, values, cause)
    if silent.any() and not (looked := _looked(rule, group, times, silent)).all():
        newest = np.maximum.accumulate(np.where(looked, np.arange(len(times)), -1))
        before = newest < 0
        up, hold, cause, values = up[newest], hold[newest], cause[newest], values[newest]
        up[before], hold[before], cause[before], values[before] = AS_BEFORE, AS_BEFORE, SILENT, np.nan
    code = (up * 4 + hold) * 4 + cause
    return _Row(up, hold, cause, values, np.flatnonzero(code[1:] != code[:-1]) + 1)


def _looked(rule: Rule, group: Group, times: Ints, silent: Flags) -> Flags:
    """At which moments there is a reading: where there is data, or its lack has lasted so long that it says something.

    Of a group that has never had data there is none, but for the one of a rule without groups.
    """
    wait = patience(rule)
    if wait is None:
        return ~silent
    newest = np.maximum.accumulate(np.where(silent, -1, np.arange(len(times))))
    lasted = times - times[np.maximum(newest, 0)]
    there = (newest >= 0) | (group == () and not rule.each)
    return np.asarray(~silent | ((lasted >= wait) & there))


def _fits(rows: Sequence[_Row], moments: int) -> int:
    """The moment since which there are not too many changes."""
    if not rows or sum(len(row.changes) for row in rows) <= MAX_CHANGES:
        return 0
    many = np.bincount(np.concatenate([row.changes for row in rows]), minlength=moments)
    return moments - int(np.searchsorted(np.cumsum(many[::-1]), MAX_CHANGES, "right"))


def _walk(rule: Rule, group: Group, row: _Row, times: Ints, first: int) -> tuple[list[Edge], State]:
    """The edges of one alert from a moment on, but for those only noted, and its state at the end."""
    state, before = QUIET, first - 1
    found: list[Edge] = []
    changes = iter([*([first] if first < len(times) else []), *row.changes[row.changes > first].tolist()])
    change = next(changes, len(times))
    while True:
        timer = due(rule, state)
        over = len(times) if timer is None else max(before + 1, int(np.searchsorted(times, timer)))
        at = min(change, over)
        if state.status == FIRING:
            state = _with_peak(rule, state, row.values[before + 1 : at], times[before + 1 : at])
        if at >= len(times):
            return found, state
        value, moment = float(row.values[at]), int(times[at])
        up, hold, cause = int(row.up[at]), int(row.hold[at]), int(row.cause[at])
        state, kind = step(rule, state, up, hold, cause, None if value != value else value, moment)
        if kind is not None and kind != NOTED:
            found.append(Edge(group, kind, moment, state))
        if at == change:
            change = next(changes, len(times))
        before = at


def _with_peak(rule: Rule, state: State, values: Floats, times: Ints) -> State:
    """The state after values that changed no condition: the worst of them may be the worst of all."""
    farness = values if rule.op in (">", ">=") else -values if rule.op in ("<", "<=") else abs(values - reference(rule))
    if not len(values) or np.isnan(values).all():
        return state
    place = int(np.nanargmax(farness))
    if not worse(rule, float(values[place]), state.peak):
        return state
    at = int(times[place])
    return replace(state, peak=float(values[place]), peak_at=at, noted=at)


def _episodes(changes: Sequence[Edge], last: State) -> Iterator[Episode]:
    """The episodes of one alert, from its edges and its state at the end."""
    open: Episode | None = None
    for edge in changes:
        state = edge.state
        if edge.kind == FIRED:
            open = Episode(
                "", "", edge.group, state.level, state.since[0], edge.at, state.cause, state.level, state.value
            )
        if open is None:
            continue
        open.peak, open.peak_at = state.peak, state.peak_at
        if edge.kind == CHANGED:
            open.level, open.worst = state.level, max(open.worst, state.level)
        elif edge.kind == RESOLVED:
            open.resolved, open.resolved_value = edge.at, state.last
            yield open
            open = None
    if open is not None:
        open.peak, open.peak_at = last.peak, last.peak_at
        yield open


def _pending(changes: Sequence[Edge]) -> Iterator[Pending]:
    for before, edge in itertools.pairwise(changes):
        if (before.kind, edge.kind) == (BEGAN, CANCELLED):
            yield Pending(edge.group, before.at, edge.at)
