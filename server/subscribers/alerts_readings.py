"""What a rule sees at a moment: its query, as of then, or what has arrived since the last time."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

import numpy as np

from engine.engine import Engine
from engine.errors import EngineError
from engine.model import Codes, Floats, Ints, Labels
from engine.query import plan
from engine.query.bounds import Bounds
from engine.query.execute import Table
from engine.query.value import Query
from engine.rules import windows
from engine.rules.model import ANOMALY, CHANGE, CONDITION, NO_DATA, SILENT, Group, Readings, Rule
from server.answers import Answers
from server.errors import ApiError
from server.subscribers.alerts_arrivals import Arrived, fold

logger = logging.getLogger("streamgauge.alerts")

DAY = 86_400_000
FOLDED: Group = (("__other__", "true"),)
"""The group of the series beyond a rule's `max_groups`, where each arriving value counts."""


class Judge(Protocol):
    """Reads anomaly rules."""

    async def read(self, rule: Rule, at: int) -> Readings | None:
        """See Readers.read."""

    def forget(self, rule: str) -> None:
        """See Readers.forget."""


class Readers:
    """Reads for rules. judge: of anomaly rules."""

    def __init__(self, engine: Engine, answers: Answers, judge: Judge) -> None:
        self._engine, self._answers, self._judge = engine, answers, judge
        self._named: dict[tuple[tuple[str, ...], tuple[str, ...]], Group] = {}
        self._arriving: dict[str, _Arriving] = {}
        self._looked: dict[str, tuple[Rule, Bounds]] = {}
        """What the newest readings of a rule were made of."""

    async def read(self, rule: Rule, at: int, arrived: Arrived | None = None, news: bool = True) -> Readings | None:
        """The readings of a rule at `at`, ms, of what lies before it; None where they are what they were the last time.

        arrived: what has come since the last time, of rules that look at each arriving value; None reads the panes of
        the second before `at` instead. news: whether anything of the rule's metric or event has come since. A query
        that fails gives readings with an error.
        """
        if not rule.each and rule.kind != ANOMALY and self._is_as_before(rule, at) and not news:
            return None
        try:
            if rule.each:
                return await self._each_before(rule, at) if arrived is None else self._each(rule, at, arrived)
            if rule.kind == ANOMALY:
                return await self._judge.read(rule, at)
            if rule.kind == NO_DATA:
                return await self._silence(rule, at)
            if rule.kind == CHANGE:
                return await self._change(rule, at)
            groups, values = await self._values(rule.query, at)
            return _readings(rule, at, groups, values)
        except (EngineError, ApiError) as error:
            self._looked.pop(rule.id, None)
            message = str(getattr(error, "message", error))
            return Readings(at, [], np.empty(0), np.empty(0, np.int8), error=message or "the query failed")

    async def known(self, rule: Rule, at: int) -> list[Group] | None:
        """The groups of a rule that have had data within a day, so that their silence says something; None where the
        query fails."""
        query = replace(self._by_group(rule), aggregation="count", range=max(DAY, 2 * _silence_after(rule)))
        try:
            return (await self._values(query, at))[0]
        except (EngineError, ApiError) as error:
            logger.info("whom alert %s has heard of is not known yet: %s", rule.id, error)
            return None

    def forget(self, rule: str) -> None:
        """A rule is not read any more."""
        self._arriving.pop(rule, None)
        self._looked.pop(rule, None)
        self._judge.forget(rule)

    def _is_as_before(self, rule: Rule, at: int) -> bool:
        """Whether the ranges that the rule looks at have not moved since the last time."""
        if rule.query.kind != "metric" or rule.kind == CHANGE:
            return False
        looked = rule, plan.bounds(_query(rule), self._engine, at - 1)
        before, self._looked[rule.id] = self._looked.get(rule.id), looked
        return before is not None and before[0] is rule and before[1] == looked[1]

    async def _values(self, query: Query, at: int) -> tuple[list[Group], Floats]:
        # What lies before `at` is all there; of the second that begins with it only what has come with the first entry.
        table = (await self._answers.tabled(query, at - 1)).table
        values = table.values[:, 0] if len(table.values) else np.empty(0)
        if not query.group_by and query.kind == "metric" and query.name not in self._engine.catalogue.names:
            values = np.full(len(values), np.nan)  # what has never been heard of is unknown, not 0
        return self._groups_of(query, table), values

    def _groups_of(self, query: Query, table: Table) -> list[Group]:
        if not query.group_by:
            return [()] * len(table.groups)
        named, labels = self._named, query.group_by
        if len(named) > 200_000:
            named.clear()
        found = []
        for values in table.groups:
            group = named.get((labels, values))
            if group is None:
                group = named[labels, values] = tuple(pair for pair in zip(labels, values, strict=True) if pair[1])
            found.append(group)
        return found

    async def _silence(self, rule: Rule, at: int) -> Readings:
        groups, counts = await self._values(_query(rule), at)
        counts = np.where(counts > 0, counts, np.nan)
        return _readings(rule, at, groups, counts)

    async def _change(self, rule: Rule, at: int) -> Readings:
        groups, values = await self._values(rule.query, at)
        earlier = dict(zip(*await self._values(rule.query, at - rule.over), strict=True))
        before = np.array([earlier.get(group, np.nan) for group in groups])
        return _readings(rule, at, groups, windows.change(values, before, rule.relative))

    def _each(self, rule: Rule, at: int, arrived: Arrived) -> Readings | None:
        arriving = self._arriving.get(rule.id)
        if arriving is None or arriving.rule is not rule:
            arriving = self._arriving[rule.id] = _Arriving(rule, self._engine)
        return arriving.read(at, arrived)

    async def _each_before(self, rule: Rule, at: int) -> Readings | None:
        """As well as panes tell: the values of the second before."""
        query, columns = replace(self._by_group(rule), range=1000), {}
        for aggregation in windows.deciding(rule):
            groups, columns[aggregation] = await self._values(replace(query, aggregation=aggregation), at)
        values = windows.worst(rule, columns)
        known = np.flatnonzero(~np.isnan(values)).tolist()
        return _readings(rule, at, [groups[row] for row in known], values[known]) if known else None

    def _by_group(self, rule: Rule) -> Query:
        """Its query; where each arriving value counts and no labels are named, every series is a group."""
        name = self._engine.catalogue.names.get(rule.query.name)
        if not rule.each or rule.query.group_by or name is None:
            return rule.query
        return replace(rule.query, group_by=tuple(sorted(name.labels)))


class _Arriving:
    """Which series belong to which group of a rule that looks at each arriving value. Groups beyond the rule's bound
    are one, that of those that are left over."""

    def __init__(self, rule: Rule, engine: Engine) -> None:
        self.rule = rule
        self._engine = engine
        self._known = 0
        self._series: Codes = np.empty(0, np.int32)
        self._numbers: Ints = np.empty(0, np.int64)
        self._groups: dict[Group, int] = {}
        self._beyond: set[Group] = set()

    def read(self, at: int, arrived: Arrived) -> Readings | None:
        """The readings of the groups that something has arrived of."""
        self._look()
        if not len(self._series):
            return None
        places = np.minimum(np.searchsorted(self._series, arrived.series), len(self._series) - 1)
        rows = np.flatnonzero(self._series[places] == arrived.series)
        if not len(rows):
            return None
        folded = fold(self._numbers[places[rows]], *arrived.pick(rows)[1:])
        groups = list(self._groups)
        values = windows.worst(self.rule, folded.columns)
        causes = np.where(np.isnan(values), SILENT, CONDITION).astype(np.int8)
        return Readings(at, [groups[number] for number in folded.series.tolist()], values, causes, len(self._beyond))

    def _look(self) -> None:
        """Takes in the series that are new."""
        query, name = self.rule.query, self._engine.catalogue.names.get(self.rule.query.name)
        if name is None or len(name.series) == self._known:
            return
        self._known = len(name.series)
        series, _ = self._engine.catalogue.select(query.name, query.matchers, query.type)
        new = np.sort(series[series > self._series[-1]] if len(self._series) else series)
        self._series = np.concatenate([self._series, new])
        self._numbers = np.concatenate([self._numbers, np.array([*map(self._number, new.tolist())], np.int64)])

    def _number(self, id: int) -> int:
        group = _picked(self._engine.catalogue.labels(id), self.rule.query.group_by)
        if group not in self._groups and len(self._groups) >= self.rule.max_groups:
            self._beyond.add(group)
            group = FOLDED
        return self._groups.setdefault(group, len(self._groups))


def _readings(rule: Rule, at: int, groups: list[Group], values: Floats) -> Readings:
    """Readings of data. Groups beyond the rule's bound are left out, those that come last by their labels."""
    over = max(0, len(groups) - rule.max_groups)
    if over:
        kept = sorted(range(len(groups)), key=groups.__getitem__)[: rule.max_groups]
        groups, values = [groups[row] for row in kept], values[kept]
    causes = np.where(np.isnan(values), SILENT, CONDITION).astype(np.int8)
    return Readings(at, groups, values, causes, over)


def _picked(labels: Labels, wanted: tuple[str, ...]) -> Group:
    if not wanted:
        return labels
    held = dict(labels)
    return tuple((label, held[label]) for label in wanted if held.get(label))


def _query(rule: Rule) -> Query:
    """What a rule asks: its query, or, about silence, how much has come."""
    if rule.kind != NO_DATA:
        return rule.query
    return replace(rule.query, aggregation="count", range=_silence_after(rule))


def _silence_after(rule: Rule) -> int:
    return rule.silence_after or rule.query.range
