"""Previews: what a rule would have done over the past, from what is stored.

engine.rules.past: parts of the range ─▶ queries by step ─▶ past: windows folded from steps ─▶ replay
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import BadQuery, TooExpensive
from engine.levels import DAY, MINUTE
from engine.model import Floats, Ints
from engine.query.execute import Table
from engine.query.value import Query
from engine.rules import past
from engine.rules.model import ANOMALY, NO_DATA, Episode, Group, Rule, Silence
from engine.rules.past import Part, Scores, Seen
from engine.rules.replay import Pending, replay
from engine.rules.replay_messages import MAX_MESSAGES, Told
from engine.rules.silence import muted
from server import zones
from server.answers import Answers
from server.errors import ApiError
from server.wire.times import format_time

MAX_CELLS = 8_000_000
"""Groups x steps of one part of a preview."""
PIECE = 720
"""Steps asked for at once: the panes of few blocks are added up without being sorted."""
WARM_POINTS = 10_080
"""Of the past, that a detector of anomalies is given first: a week of minutes, with which its ranks are whole."""


@dataclass(slots=True)
class Preview:
    """What a rule would have done; see Replay. evaluated: (start, end, resolution) in ms, oldest first; notes: where
    that is not what would have been, for people."""

    episodes: list[Episode]
    flaps: Counter[Group]
    pending: list[Pending]
    messages: list[Told]
    evaluated: list[tuple[int, int, int]]
    notes: list[str]


class Previews:
    """Makes previews, one at a time. silences: those that have not ended at a moment, ms; scorer: makes, for each
    preview, what scores anomaly rules, which see WARM_POINTS of their windows before the range first."""

    def __init__(
        self, answers: Answers, silences: Callable[[int], Iterable[Silence]],
        scorer: Callable[[], Scores] | None = None,
    ) -> None:  # fmt: skip
        self._answers, self._silences, self._scorer = answers, silences, scorer
        self._turn = asyncio.Lock()

    async def preview(self, rule: Rule, span: int) -> Preview:
        """What a rule would have done over the last `span` ms. Raises EngineError and ApiError as a query does."""
        if rule.kind == ANOMALY and self._scorer is None:
            raise BadQuery("anomalies are not detected here, so there is no telling when this would have fired")
        try:
            async with asyncio.timeout(self._answers.timeout), self._turn:
                return await self._preview(rule, span)
        except TimeoutError:
            message = f"the preview took longer than {self._answers.timeout:g} s; ask for a shorter time_range"
            raise ApiError("query_timeout", message) from None

    async def _preview(self, rule: Rule, span: int) -> Preview:
        now = self._answers.stamp()
        begin = max(0, now - span)
        # Who has been there before is told by a day.
        early = max(0, begin - {NO_DATA: DAY, ANOMALY: WARM_POINTS * rule.query.range}.get(rule.kind, 0))
        try:
            by_minute = rule.kind == ANOMALY and rule.query.range % MINUTE == 0
            read = await self._read(rule, early, now, finest=int(by_minute))
        except TooExpensive:
            read = await self._read(rule, early, now, finest=1)
        return await asyncio.to_thread(self._compute, rule, read, begin, now, list(self._silences(begin)))

    async def _read(self, rule: Rule, begin: int, now: int, finest: int) -> list[tuple[Part, _Pieces]]:
        """What the queries of each part say. finest: the finest level to look at."""
        engine = self._answers.engine
        parts = past.parts(rule, begin, now, engine.horizons, engine.options.retention.patient, finest)
        return [(part, await self._read_part(rule, part, now)) for part in parts]

    async def _read_part(self, rule: Rule, part: Part, now: int) -> _Pieces:
        """What the queries of a part say, asked piece by piece, each as large as is allowed."""
        steps, start = part.steps(rule), part.reaching_back(rule)
        pieces = _Pieces(steps)
        query = self._query(rule)
        if query is None:
            return pieces
        at, width = 0, min(steps, PIECE)
        while at < steps:
            first, end = start + at * part.step, min(start + (at + width) * part.step, part.end)
            try:
                for name in past.needs(rule):
                    piece = replace(query, aggregation=name, start=first, end=end, step=part.step)
                    tabled = await self._answers.tabled(piece, now, once=True)
                    if tabled.bounds.step != part.step:
                        raise ApiError("query_timeout", "what is kept so finely became less meanwhile; try again")
                    pieces.take(name, at, piece, tabled.table)
            except TooExpensive:
                if width == 1:
                    raise
                width = -(-width // 2)
                continue
            pieces.check(part.step)
            at += width
        return pieces

    def _query(self, rule: Rule) -> Query | None:
        """What to ask by step, None for what was never heard of. Where each value counts, each series is a group."""
        query, names = replace(rule.query, period=None, calendar=None), self._answers.engine.catalogue.names
        if query.kind == "metric" and query.name not in names:
            return None
        if rule.each and not query.group_by:
            return replace(query, group_by=tuple(sorted(names[query.name].labels)))
        return query

    def _compute(
        self, rule: Rule, read: Sequence[tuple[Part, _Pieces]], begin: int, now: int, silences: Sequence[Silence]
    ) -> Preview:
        names = past.needs(rule)
        scores = self._scorer() if self._scorer is not None else None
        seen = past.past(rule, [(part, pieces.seen(names)) for part, pieces in read], scores)
        done = replay(rule, seen, begin, now, silences, lambda at: muted(rule.mute, at, zones.offset))
        evaluated = [(max(start, done.begin), end, step) for (start, end, step), _ in read if end > done.begin]
        notes = past.notes(rule, [part for part, _ in read])
        if done.begin > begin:
            notes.append(
                f"its condition changed so often that only what came after {format_time(done.begin)} was replayed"
            )
        if len(done.messages) == MAX_MESSAGES:
            notes.append(f"there would have been more than {MAX_MESSAGES} messages")
        return Preview(done.episodes, done.flaps, done.pending, done.messages, evaluated, notes)


class _Pieces:
    """Tables of consecutive steps, of which each may know other groups, on their way to one."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._groups: dict[Group, int] = {}
        self._taken: list[tuple[str, int, list[int], Floats, Ints]] = []

    def take(self, name: str, at: int, query: Query, table: Table) -> None:
        """What a query says of an aggregation, from a step on."""
        groups = [_group(query, labels) for labels in table.groups]
        rows = [self._groups.setdefault(group, len(self._groups)) for group in groups]
        self._taken.append((name, at, rows, table.values, table.counts))

    def check(self, step: int) -> None:
        """Raises TooExpensive where there are too many groups for so many steps."""
        if len(self._groups) * self._steps > MAX_CELLS:
            fits = MAX_CELLS // len(self._groups) * step // 3_600_000
            raise TooExpensive(
                f"{len(self._groups)} groups x {self._steps} steps are more than the {MAX_CELLS} of a preview; "
                f"a time_range of {fits}h would fit, or fewer groups"
            )

    def seen(self, names: Sequence[str]) -> Seen:
        """All of them as one, by the labels of their groups."""
        groups, shape = sorted(self._groups), (len(self._groups), self._steps)
        place = np.empty(len(groups), np.int64)
        place[[self._groups[group] for group in groups]] = np.arange(len(groups))
        columns, sizes = {name: np.full(shape, np.nan) for name in names}, np.zeros(shape, np.int64)
        while self._taken:  # so that all of it is there only once
            name, at, rows, values, counts = self._taken.pop()
            columns[name][place[rows], at : at + values.shape[1]] = values
            sizes[place[rows], at : at + values.shape[1]] = counts
        return Seen(groups, columns, sizes)


def _group(query: Query, labels: tuple[str, ...]) -> Group:
    return tuple(pair for pair in zip(query.group_by, labels, strict=True) if pair[1])
