"""Answers as JSON values: S4 rows, or columns for charts. An unknown is null."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from engine.model import TYPES, Floats, parse_series_key
from engine.query.bounds import Bounds
from engine.query.execute import MISSING_GROUP, RawRows, Table
from engine.query.plan import Groups
from engine.query.value import Query
from engine.series import Catalogue
from server.wire.times import format_time

_EXACT = 2.0**53


def number(value: float) -> int | float | None:
    """A value as JSON: whole numbers without a fraction, an unknown as None."""
    if value != value or value in (np.inf, -np.inf):
        return None
    return int(value) if value == int(value) and abs(value) < _EXACT else float(value)


def numbers(values: Floats) -> list[Any]:
    """Values as JSON, each as `number` has it; nested as the array is."""
    whole = (values == np.trunc(values)) & (np.abs(values) < _EXACT)
    known = np.isfinite(values)
    if known.all() and not whole.any():
        return list(values.tolist())
    found = values.astype(object)
    found[whole] = values[whole].astype(np.int64)
    found[~known] = None
    return list(found.tolist())


def group_name(values: tuple[str, ...]) -> str:
    """The label values of a group, joined as S4 has them."""
    return "_".join(value or MISSING_GROUP for value in values)


def _labels(query: Query, values: tuple[str, ...]) -> dict[str, str | None]:
    return {label: value or None for label, value in zip(query.group_by, values, strict=True)}


def as_rows(query: Query, bounds: Bounds, table: Table) -> list[dict[str, Any]]:
    """One row per group, or per group and step. Steps of a calendar that are not over are marked as partial."""
    times = [format_time(int(time)) for time in table.times] if bounds.stepped else [None]
    over = len(times) if bounds.over is None else bounds.over
    rows = []
    for values, of_group, counts in zip(table.groups, table.values.tolist(), table.counts.tolist(), strict=True):
        head: dict[str, Any] = {}
        if query.group_by:
            head = {"group": group_name(values), "labels": _labels(query, values)}
        for step, (time, value, count) in enumerate(zip(times, of_group, counts, strict=True)):
            row = {**head, "value": number(value), "count": count}
            if time is not None:
                row["time"] = time
            if step >= over:
                row["partial"] = True
            rows.append(row)
    return rows


def as_columns(query: Query, bounds: Bounds, table: Table) -> dict[str, Any]:
    """Times in ms and, per group, values and counts of the same length; of a calendar, which steps are not over."""
    series = [
        {
            "group": group_name(values) if query.group_by else "",
            "labels": _labels(query, values),
            "values": of_group,
            "counts": counts,
        }
        for values, of_group, counts in zip(table.groups, numbers(table.values), table.counts.tolist(), strict=True)
    ]
    times = table.times.tolist()
    partial = {} if bounds.over is None else {"partial": times[bounds.over :]}
    return {"times": times, **partial, "series": series}


def as_raw(json: bytes) -> msgspec.Raw:
    """JSON that is written into a larger answer as it is."""
    return msgspec.Raw(json)


def metric_row(catalogue: Catalogue, series: int, time: int, value: float, id: str) -> dict[str, Any]:
    """A raw sample as S4 shows a metric."""
    key = parse_series_key(catalogue.keys[series])
    tags = dict(key.labels)
    source = tags.pop("source", None)
    return {
        "id": id, "name": key.name, "metric_type": TYPES[key.type], "value": number(value),
        "timestamp": format_time(time), "tags": tags, "unit": catalogue.names[key.name].unit or None, "source": source,
    }  # fmt: skip


def raw_rows(query: Query, rows: RawRows, groups: Groups, catalogue: Catalogue) -> list[dict[str, Any]]:
    """S4's answer without aggregation: raw rows, newest first, or the values of each group."""
    if query.group_by:
        of_group: dict[int, list[Any]] = {}
        for series, value in zip(rows.series.tolist(), rows.values.tolist(), strict=True):
            of_group.setdefault(int(groups.of_series[series]), []).append(number(value))
        return [
            {
                "group": group_name(groups.labels[group]), "labels": _labels(query, groups.labels[group]),
                "values": values, "count": len(values),
            }
            for group, values in sorted(of_group.items())
        ]  # fmt: skip
    columns = (rows.series.tolist(), rows.times.tolist(), rows.values.tolist())
    tags = {series: dict(catalogue.labels(series)) for series in set(columns[0])}
    return [
        {"name": query.name, "value": number(value), "timestamp": format_time(time), "tags": tags[series]}
        for series, time, value in zip(*columns, strict=True)
    ]
