"""Anomaly rules: a point of each group per window, through a detector that has seen what the store still knows.

What a detector has learnt is a function of the points it was given, and those are panes that are stored. So nothing of
it is kept: a rule that is new, and every rule after a start, is given the points of the past first, on a thread, and
knows them from its first second on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.anomaly import Detector, Episode, Standing, Verdicts
from engine.errors import EngineError
from engine.model import Floats, Ints
from engine.rules.model import CONDITION, SILENT, Group, Readings, Rule
from engine.rules.scores import scores_of
from server.answers import Answers
from server.errors import ApiError
from server.preview import WARM_POINTS

logger = logging.getLogger("streamgauge.anomalies")

PIECE = 720
"""Steps that are asked for at once."""
MAX_BEHIND = 60
"""Windows that are made up for, where a rule could not be looked at; of more, the newest."""
RETRY_SECONDS = 30.0


@dataclass(slots=True)
class _Watch:
    """One rule. done: up to when (ms) its detector has been given points; ready: whether it knows the past."""

    rule: Rule
    detector: Detector
    done: int = 0
    ready: bool = False
    number: dict[Group, int] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def give(self, found: Sequence[Group], values: Floats, at: int) -> tuple[Ints, Verdicts]:
        """A point of each group, as of `at`; (the number of each group, what the detector says)."""
        for group in found:
            if group not in self.number:
                self.number[group] = len(self.groups)
                self.groups.append(group)
        numbers = np.fromiter((self.number[group] for group in found), np.int64, len(found))
        self.done = at
        return numbers, self.detector.observe(numbers, values, at)


class Anomalies:
    """All anomaly rules of a process. most: series watched together."""

    def __init__(self, answers: Answers, most: int) -> None:
        self._answers, self._most = answers, most
        self._watched: dict[str, _Watch] = {}
        self._new = asyncio.Event()

    async def read(self, rule: Rule, at: int) -> Readings | None:
        """The readings of a rule, once in each of its windows; None in between, and while it learns."""
        watch = self._watched.get(rule.id)
        if watch is None or watch.rule is not rule:
            taken = sum(len(each.detector) for id, each in self._watched.items() if id != rule.id)
            self._watched[rule.id] = _Watch(rule, Detector(max(1, self._most - taken)))
            self._new.set()
            return None
        width = rule.query.range
        end = at // width * width
        if not watch.ready or end <= watch.done:
            return None
        begin = max(watch.done, end - MAX_BEHIND * width)
        readings = None
        for groups, values, moment in await self._points(watch, begin, end):
            numbers, verdicts = watch.give(groups, values, moment)
            readings = _readings(rule, moment, [watch.groups[number] for number in numbers.tolist()], verdicts)
        watch.done = end
        return readings

    def forget(self, rule: str) -> None:
        """A rule is not watched any more."""
        self._watched.pop(rule, None)

    def ranking(self, most: int) -> list[tuple[Rule, Group, Standing, list[Episode]]]:
        """The watched series, the most unusual first: (rule, group, how it stands, when it was unusual)."""
        found = [
            (standing, watch)
            for watch in self._watched.values() if watch.ready
            for standing in watch.detector.ranking(most)
        ]  # fmt: skip
        found.sort(key=lambda each: (not each[0].anomalous, -each[0].score))
        return [
            (watch.rule, watch.groups[standing.series], standing, watch.detector.past(standing.series))
            for standing, watch in found[:most]
        ]

    async def run(self) -> None:
        """Gives new rules the past; for ever."""
        while True:
            await self._new.wait()
            self._new.clear()
            for watch in [each for each in self._watched.values() if not each.ready]:
                try:
                    await self._learn(watch)
                except (EngineError, ApiError) as error:
                    reason = getattr(error, "message", error)
                    logger.warning("%s cannot be given the past, trying again: %s", watch.rule.id, reason)
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self._new.set)

    async def _learn(self, watch: _Watch) -> None:
        width = watch.rule.query.range
        end = self._answers.stamp() // width * width
        watch.done = max(0, end - WARM_POINTS * width)
        while watch.done < end:
            upto = min(watch.done + PIECE * width, end)
            points = await self._points(watch, watch.done, upto)
            await asyncio.to_thread(_give_all, watch, points)
            watch.done = upto
        watch.ready = True

    async def _points(self, watch: _Watch, begin: int, end: int) -> list[tuple[list[Group], Floats, int]]:
        """(groups, their values, ms at the end) of each window in [begin, end)."""
        query, width = watch.rule.query, watch.rule.query.range
        if query.kind == "metric" and query.name not in self._answers.engine.catalogue.names:
            return []
        asked = replace(query, start=begin, end=end, step=width)
        bounds, table = (await self._answers.tabled(asked, self._answers.stamp(), once=True))[1:]
        if bounds.step != width:  # older than what is kept so finely
            return []
        named = (zip(query.group_by, labels, strict=True) for labels in table.groups)
        groups = [tuple(pair for pair in pairs if pair[1]) for pairs in named]
        known = np.where(table.counts > 0, table.values, np.nan)
        return [
            (groups, known[:, step], int(time) + width)
            for step, time in enumerate(table.times.tolist())
            if begin <= time < end
        ]


def _give_all(watch: _Watch, points: Sequence[tuple[list[Group], Floats, int]]) -> None:
    for groups, values, at in points:
        watch.give(groups, values, at)


def _readings(rule: Rule, at: int, groups: list[Group], verdicts: Verdicts) -> Readings:
    scores = scores_of(verdicts)
    kept = groups[: rule.max_groups]
    causes = np.where(np.isnan(scores), SILENT, CONDITION).astype(np.int8)
    return Readings(at, kept, scores[: len(kept)], causes[: len(kept)], max(0, len(groups) - len(kept)))
