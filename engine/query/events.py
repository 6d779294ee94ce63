"""Queries over events: their rows become columns and are folded like samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from engine import panes
from engine.aggregates import find
from engine.model import Floats
from engine.query.bounds import Bounds, asked, edges_over, steps_over
from engine.query.execute import Table
from engine.query.plan import Limits, check_points, needs
from engine.query.value import Query
from engine.sketches import columns as sketches

OWN_FIELDS = ("user_id", "session_id", "event_type")


def field_path(label: str) -> str:
    """Where a label of an event query lies: a field of the event, a path into it, or one of its properties."""
    if label in OWN_FIELDS or label.startswith(("properties.", "metadata.")):
        return label
    return f"properties.{label}"


def fields(query: Query) -> list[str]:
    """The fields to read of each event: those of the matchers, then of the groups, then the one aggregated."""
    wanted = [field_path(matcher.label) for matcher in query.matchers] + [field_path(label) for label in query.group_by]
    return [*wanted, field_path(query.field)] if query.field else wanted


def bounds(query: Query, at: int) -> Bounds:
    """When an event query looks: to the ms, or to whole steps. Raises BadTimeRange for a range that ends too early."""
    start, last = asked(query, at)
    calendar = query.calendar
    if calendar is not None and query.step is None:
        edges = calendar.edges(*calendar.span(start, last, query.range))
        return Bounds(int(edges[0]), int(edges[-1]), None, 1, 0, calendar, edges, edges_over(edges, at))
    unit = query.step or 1
    end = -(-last // unit) * unit
    start = end - -(-query.range // unit) * unit if start is None else start - start % unit
    over = None if calendar is None else steps_over(start, end, unit, at)
    return Bounds(start, end, query.step, unit, 0, calendar, over=over)


def execute(query: Query, bounds: Bounds, rows: Iterable[Sequence[Any]], limits: Limits) -> Table:
    """The answer. rows: (time, user_id, session_id, *fields(query)) of the events of the type in the range."""
    matchers, labels = len(query.matchers), len(query.group_by)
    numbers: dict[tuple[str, ...], int] = {} if query.group_by else {(): 0}
    times, groups, values = [], [], []
    for row in rows:
        found = row[3:]
        if all(m.accepts(as_text(value)) for m, value in zip(query.matchers, found[:matchers], strict=True)):
            group = tuple(as_text(value) for value in found[matchers : matchers + labels])
            value = found[-1] if query.field else 1
            if value is None:
                continue
            times.append(row[0])
            groups.append(numbers.setdefault(group, len(numbers)))
            values.append(value)
    check_points(query, bounds, len(numbers), limits)
    keys = np.array(groups, np.int64)
    moments = np.array(times, np.int64)
    if bounds.stepped:
        keys = keys * bounds.steps + bounds.number(moments)
    return _table(query, bounds, list(numbers), keys, moments, values)


def as_text(value: Any) -> str:
    """A field as text, "" for none."""
    return "" if value is None else str(value)


def _table(
    query: Query, bounds: Bounds, labels: list[tuple[str, ...]], keys: Any, moments: Any, values: list[Any]
) -> Table:
    aggregate = find(query.aggregation or "count")
    size = len(labels) * bounds.steps
    out = np.full(size, np.nan if aggregate.empty is None else float(aggregate.empty))
    counts = np.zeros(size, np.int64)
    error = 0.0
    if aggregate.name == "unique":
        codes = np.unique(np.array([as_text(value) for value in values]), return_inverse=True)[1] if values else keys
        pairs = np.unique(keys * (len(values) + 1) + codes)
        out = np.bincount(pairs // (len(values) + 1), minlength=size).astype(np.float64)
        counts = np.bincount(keys, minlength=size)
    else:
        numeric = np.array([_number(value) for value in values], np.float64)
        known = np.flatnonzero(~np.isnan(numeric))
        if len(known):
            chosen: Floats = numeric[known]
            order = np.arange(len(known))
            part = panes.of_samples(
                np.zeros(len(known), np.int32), moments[known], moments[known], order, chosen, chosen
            )
            at, folded = panes.fold(part, keys[known], needs(aggregate))
            out[at] = aggregate.finish(folded, bounds.seconds(at))
            counts[at] = folded.state["count"]
            error = sketches.error_bound(folded.sketches) if folded.sketches is not None else 0.0
    return Table(labels, bounds.times, out.reshape(-1, bounds.steps), counts.reshape(-1, bounds.steps), error)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
