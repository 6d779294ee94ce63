"""What a rule sees at a moment: its query, as of then, or what has arrived since the last time."""

from __future__ import annotations

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
from engine.rules.model import ANOMALY, CHANGE, CONDITION, NO_DATA, SILENT, Group, Readings, Rule
from engine.rules.windows import change, deciding, worst
from server.answers import Answers
from server.errors import ApiError
from server.subscribers.alerts_arrivals import Arrived, fold

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
        """The readings of a rule as of `at`, ms; None where they are what they were the last time.

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

    async def known(self, rule: Rule, at: int) -> list[Group]:
        """The groups of a rule about silence that have had data within a day."""
        query = replace(rule.query, aggregation="count", range=max(DAY, 2 * _silence_after(rule)))
        return (await self._values(query, at))[0]

    def forget(self, rule: str) -> None:
        """A rule is not read any more."""
        self._arriving.pop(rule, None)
        self._looked.pop(rule, None)
        self._judge.forget(rule)

    def _is_as_before(self, rule: Rule, at: int) -> bool:
        """Whether the ranges that the rule looks at have not moved since the last time."""
        if rule.query.kind != "metric" or rule.kind == CHANGE:
            return False
        looked = rule, plan.bounds(_query(rule), self._engine, at)
        before, self._looked[rule.id] = self._looked.get(rule.id), looked
        return before is not None and before[0] is rule and before[1] == looked[1]

    async def _values(self, query: Query, at: int) -> tuple[list[Group], Floats]:
        table = (await self._answers.tabled(query, at)).table
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
        return _readings(rule, at, groups, change(values, before, rule.relative))

    def _each(self, rule: Rule, at: int, arrived: Arrived) -> Readings | None:
        arriving = self._arriving.get(rule.id)
        if arriving is None or arriving.rule is not rule:
            arriving = self._arriving[rule.id] = _Arriving(rule, self._engine)
        return arriving.read(at, arrived)

    async def _each_before(self, rule: Rule, at: int) -> Readings | None:
        """As well as panes tell: the values of the second before."""
        name = self._engine.catalogue.names.get(rule.query.name)
        if name is None:
            return None
        labels = rule.query.group_by or tuple(sorted(name.labels))
        query = replace(rule.query, range=1000, group_by=labels)
        columns = {}
        for aggregation in deciding(rule):
            groups, columns[aggregation] = await self._values(replace(query, aggregation=aggregation), at - 1)
        values = worst(rule, columns)
        known = np.flatnonzero(~np.isnan(values)).tolist()
        return _readings(rule, at, [groups[row] for row in known], values[known]) if known else None


class _Arriving:
    """Which series belong to which group of a rule that looks at each arriving value."""

    def __init__(self, rule: Rule, engine: Engine) -> None:
        self.rule = rule
        self._engine = engine
        self._known = -1
        self._series: Codes = np.empty(0, np.int32)
        self._numbers: Ints = np.empty(0, np.int64)
        self._groups: list[Group] = []

    def read(self, at: int, arrived: Arrived) -> Readings | None:
        """The readings of the groups that something has arrived of."""
        self._look()
        if not len(self._series):
            return None
        places = np.minimum(np.searchsorted(self._series, arrived.series), len(self._series) - 1)
        rows = np.flatnonzero(self._series[places] == arrived.series)
        if not len(rows):
            return None
        mine = arrived.pick(rows)
        folded = fold(self._numbers[places[rows]], *mine[1:])
        groups = [self._groups[number] for number in folded.series.tolist()]
        return _readings(self.rule, at, groups, worst(self.rule, _named(folded)))

    def _look(self) -> None:
        query, name = self.rule.query, self._engine.catalogue.names.get(self.rule.query.name)
        if name is None or len(name.series) == self._known:
            return
        self._known = len(name.series)
        series, _ = self._engine.catalogue.select(query.name, query.matchers, query.type)
        self._series = np.sort(series)
        numbered: dict[Group, int] = {}
        numbers = []
        for id in self._series.tolist():
            group = _picked(self._engine.catalogue.labels(id), query.group_by)
            if group not in numbered and len(numbered) >= self.rule.max_groups:
                group = FOLDED
            numbers.append(numbered.setdefault(group, len(numbered)))
        self._numbers, self._groups = np.array(numbers, np.int64), list(numbered)


def _named(arrived: Arrived) -> dict[str, Floats]:
    """The columns by aggregation."""
    return {"min": arrived.least, "max": arrived.greatest, "first": arrived.first, "last": arrived.last}


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
