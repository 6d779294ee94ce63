"""The step of one alert: from where it stands, and what its condition is now, to where it stands then.

Each level has the same small machine, and the alert is at the highest level that fires. Its condition holds where the
reading reaches the level, and for one that fires also where the reading still keeps it (see engine.rules.conditions).

    a level         its condition holds                     its condition does not hold
    off             counts; after `for` it fires            off
    counting        goes on; after `for` it fires           off
    firing          fires                                   fires, and counts; after `keep` it is off
    ending          fires; the count is forgotten           goes on; after `keep` it is off

    no level counts or fires     inactive
    one counts, none fires       pending
    one fires                    firing, at the highest of them

`for` and `keep` of 0 are over at once. Where the reading is "as before" the condition goes on as it was last: pending
goes on to fire, firing stays, ending ends. No data and errors arrive here as levels like any other, so they are causes
of the same alert, with the same `for` and the same `keep`; when one cause takes over from another, the alert goes on.
A level's condition includes that of the lower one, so a lower one never ends before a higher one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from engine.rules.conditions import AS_BEFORE, reference
from engine.rules.model import (
    BEGAN,
    CANCELLED,
    CHANGED,
    CONDITION,
    CRITICAL,
    FIRED,
    FIRING,
    INACTIVE,
    NOTED,
    OK,
    PENDING,
    QUIET,
    RESOLVED,
    WARNING,
    Rule,
    State,
)

NOTE_EVERY = 10_000
"""ms between edges that tell nothing but a new peak."""


class _Level(NamedTuple):
    """One level's machine. since, clear: as in State."""

    fires: bool
    since: int
    clear: int


def step(
    rule: Rule, before: State, up: int, hold: int, cause: int, value: float | None, at: int
) -> tuple[State, str | None]:
    """(state, kind of edge or None) after a reading. A state that was resolved or cancelled begins anew.

    up, hold: what engine.rules.conditions says of the reading; at: ms, never less than before. It has to be called when
    one of `up`, `hold` and `cause` has changed, at the first reading at or after `due`, and when a value is `worse`
    than the peak of an alert that fires. Calling it more often gives the same edges.
    """
    now = max(up, min(_fires(before), hold))
    warning, critical = (_step(rule, before, level, up, now, at) for level in (WARNING, CRITICAL))
    since, clear = (warning.since, critical.since), (warning.clear, critical.clear)
    if warning.fires:
        level = CRITICAL if critical.fires else WARNING
        after = _with_peak(rule, before, value, at)
        after = replace(after, status=FIRING, level=level, cause=cause if now > OK else before.cause)
    elif warning.since:
        level = CRITICAL if critical.since else WARNING
        after = State(PENDING, level, cause if now > OK else before.cause)
    elif before.status == FIRING:
        after = replace(before, status=INACTIVE, level=OK, cause=CONDITION if up == AS_BEFORE else cause)
    else:
        return QUIET, CANCELLED if before.status == PENDING else None
    after = replace(after, since=since, clear=clear, last=value)
    kind = _edge(before, after, at)
    return (after if kind is None else replace(after, noted=at)), kind


def due(rule: Rule, state: State) -> int | None:
    """The moment, ms, at which `step` has to be called although nothing changes; None for never."""
    moments = []
    for level, since, clear in zip((WARNING, CRITICAL), state.since, state.clear, strict=True):
        if clear:
            moments.append(clear + rule.keep)
        elif since and level > _fires(state):
            moments.append(since + rule.hold)
    if state.status == FIRING and state.peak_at > state.noted:
        moments.append(state.noted + NOTE_EVERY)
    return min(moments, default=None)


def worse(rule: Rule, value: float, peak: float | None) -> bool:
    """Whether a value of an alert that fires is worse than the worst so far, None for none; as in columns."""
    if peak is None or rule.op == "==":
        return peak is None
    if rule.op == "!=":
        return abs(value - reference(rule)) > abs(peak - reference(rule))
    return value < peak if rule.op in ("<", "<=") else value > peak


def _fires(state: State) -> int:
    """The level that fires."""
    return state.level if state.status == FIRING else OK


def _step(rule: Rule, before: State, level: int, up: int, now: int, at: int) -> _Level:
    fires, since, clear = level <= _fires(before), before.since[level - 1], before.clear[level - 1]
    if (since and not clear) if up == AS_BEFORE else level <= now:
        since = since or at
        return _Level(fires or at - since >= rule.hold, since, 0)
    clear = clear or at
    if fires and at - clear < rule.keep:
        return _Level(True, since, clear)
    return _Level(False, 0, 0)


def _with_peak(rule: Rule, before: State, value: float | None, at: int) -> State:
    """The state of one that fires now, or goes on firing, with its value at the beginning and at its worst."""
    if before.status != FIRING:
        return State(fired=at, value=value, peak=value, peak_at=at)
    if value is not None and worse(rule, value, before.peak):
        return replace(before, peak=value, peak_at=at)
    return before


def _edge(before: State, after: State, at: int) -> str | None:
    if before.status != after.status:
        return {FIRING: FIRED, PENDING: BEGAN, INACTIVE: RESOLVED}[after.status]
    if after.status == FIRING and before.level != after.level:
        return CHANGED
    changed = (before.since, before.clear, before.cause) != (after.since, after.clear, after.cause)
    peaked = after.peak_at > after.noted and at - after.noted >= NOTE_EVERY
    return NOTED if changed or peaked else None
