"""The past as a rule would have seen it: which parts of a range by which steps, and what its queries say in each.

Panes are kept the shorter the finer they are, so the past comes in parts: the newest by steps of 5 s, before that by
the minute, the hour, the day. Each part begins where the first window in it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.levels import LEVELS, WIDTHS, ceil, floor, folded_at
from engine.model import Floats, Ints
from engine.rules import windows
from engine.rules.model import ANOMALY, CHANGE, NO_DATA, Group, Rule
from engine.rules.replay import Past

Scores = Callable[[Rule, Floats, int], Floats]
"""(rule, values [groups, steps], ms a step) -> how unusual each value is, as the detector has it."""


class Part(NamedTuple):
    """A part of a range, [start, end) in ms, and ms between two evaluations in it."""

    start: int
    end: int
    step: int

    def reaching_back(self, rule: Rule) -> int:
        """When the first window in it begins, ms."""
        return self.start - _back(rule, self.step) * self.step

    def steps(self, rule: Rule) -> int:
        """How many steps there are from there on."""
        return (ceil(self.end, self.step) - self.reaching_back(rule)) // self.step


class Seen(NamedTuple):
    """What the queries of a part say. columns: of each of the aggregations that `needs` names, [groups, steps], nan for
    unknown; counts: samples in each step."""

    groups: list[Group]
    columns: Mapping[str, Floats]
    counts: Ints


def parts(rule: Rule, begin: int, now: int, horizons: Sequence[int], patient: bool, finest: int = 0) -> list[Part]:
    """The parts of [begin, now), ms, oldest first. horizons: since when each level is kept; patient: see Retention;
    finest: the finest level to look at."""
    found: list[Part] = []
    end = now
    for level in LEVELS[finest:]:
        step = WIDTHS[level] if _is_foldable(rule) else ceil(rule.query.range, WIDTHS[level])
        # What is kept may become less while it is read.
        kept = horizons[level] + folded_at(level, patient) + (_back(rule, step) + 1) * step
        start = floor(begin, step) if level == LEVELS[-1] else max(floor(begin, step), ceil(kept, step))
        last = end if end == now else floor(end, step)
        if start < last and (not found or last - begin >= step):  # a step of an hour for a few seconds tells nothing
            found.insert(0, Part(start, last, step))
            end = start
        if end <= begin:
            break
    return found


def needs(rule: Rule) -> tuple[str, ...]:
    """The aggregations that a rule's values in each step are made of."""
    if rule.kind == NO_DATA:
        return ("count",)
    if rule.each:
        return windows.deciding(rule)
    aggregation = rule.query.aggregation or "count"
    return windows.parts(aggregation) or (aggregation,)


def past(rule: Rule, read: Sequence[tuple[Part, Seen]], scores: Scores | None = None) -> Past:
    """All parts put together, of at most the rule's `max_groups` groups, those that come first by their labels.

    A reading is made of each step when it is over; the newest is as of now.
    """
    found = {group for _, seen in read for group in seen.groups}
    if not rule.query.group_by and not rule.each:
        found = {()}  # it is there even where nothing has ever been heard of it
    groups = sorted(found)[: rule.max_groups]
    row = {group: number for number, group in enumerate(groups)}
    times, columns = [np.empty(0, np.int64)], [np.empty((len(groups), 0))]
    for part, seen in read:
        values = _values(rule, part.step, seen, scores)
        if seen.groups != groups:
            kept = [number for number, group in enumerate(seen.groups) if group in row]
            placed = np.full((len(groups), values.shape[1]), np.nan)
            placed[[row[seen.groups[number]] for number in kept]] = values[kept]
            values = placed
        columns.append(values)
        times.append(np.minimum(part.start + part.step * np.arange(1, values.shape[1] + 1), part.end))
    return Past(groups, np.concatenate(times), np.concatenate(columns, axis=1))


def notes(rule: Rule, read: Sequence[Part]) -> list[str]:
    """Where a replay is not what would have been, for people."""
    found = []
    name, window = rule.query.aggregation or "count", rule.query.range
    if not _is_foldable(rule):
        found.append(f"{name} over a window cannot be put together of steps: it was evaluated once in each window")
    elif any(not _is_whole(rule, part.step) for part in read):
        found.append(
            f"where steps do not divide the window of {window // 1000}s, the nearest one was taken, and scaled"
        )
    if rule.inhibited_by:
        found.append("alerts of other rules are not replayed, so nothing was inhibited")
    return found


def _is_foldable(rule: Rule) -> bool:
    return rule.each or rule.kind == NO_DATA or bool(windows.parts(rule.query.aggregation or "count"))


def _window(rule: Rule) -> int:
    return (rule.silence_after or rule.query.range) if rule.kind == NO_DATA else rule.query.range


def _is_whole(rule: Rule, step: int) -> bool:
    return rule.each or _window(rule) % step == 0


def _size(rule: Rule, step: int) -> int:
    """How many steps a window is."""
    return windows.length(step, _window(rule)) if _is_foldable(rule) and not rule.each else 1


def _shift(rule: Rule, step: int) -> int:
    """How many steps back the value lies that a change is from."""
    return max(1, round(rule.over / step)) if rule.kind == CHANGE else 0


def _back(rule: Rule, step: int) -> int:
    return _size(rule, step) - 1 + _shift(rule, step)


def _values(rule: Rule, step: int, seen: Seen, scores: Scores | None) -> Floats:
    """The rule's value at the end of each step, from the first whole window on: [groups, readings]."""
    if rule.kind == NO_DATA:
        held = windows.slide(np.add, seen.counts, _size(rule, step))
        return np.where(held > 0, held, np.nan)
    if rule.each:
        values, held = windows.worst(rule, seen.columns), seen.counts
    elif _is_foldable(rule):
        values, held = windows.fold(rule.query.aggregation or "count", seen.columns, seen.counts, step, _window(rule))
    else:
        values, held = next(iter(seen.columns.values())), seen.counts
    if rule.each or rule.query.group_by:  # a group without samples is not there; 0 is what a whole is then
        values = np.where(held > 0, values, np.nan)
    if rule.kind == ANOMALY and scores is not None:
        return scores(rule, values, step)
    shift = _shift(rule, step)
    return windows.change(values[:, shift:], values[:, :-shift], rule.relative) if shift else values
