"""The aggregations a query may ask for: one table from name to what it reads and how it ends.

An aggregation reads columns of folded panes, so it works on any range, resolution and grouping. Custom ones
(`register_aggregation`) see raw values instead and reach only as far back as those are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import BadQuery
from engine.model import Floats
from engine.panes import Panes
from engine.sketches import columns as sketches

Finish = Callable[[Panes, float | Floats], Floats]
Custom = Callable[[list[float], dict[str, Any]], float | None]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """need: the pane columns it reads; finish(panes, seconds): one value per pane, nan where unknown;
    seconds: what they cover, each or all; empty: the value of an empty selection, None where that is unknown."""

    name: str
    need: frozenset[str]
    finish: Finish
    empty: int | None = None
    counters_only: bool = False


def _column(name: str) -> Finish:
    return lambda panes, seconds: panes.state[name].astype(np.float64)


def _average(panes: Panes, seconds: float | Floats) -> Floats:
    return np.asarray(panes.state["sum"] / panes.state["count"])


def _stddev(panes: Panes, seconds: float | Floats) -> Floats:
    """Of the values as a population."""
    return np.sqrt(np.maximum(panes.state["m2"], 0) / panes.state["count"])


def _rate(panes: Panes, seconds: float | Floats) -> Floats:
    return np.asarray(panes.state["increase"] / seconds)


def _unique(panes: Panes, seconds: float | Floats) -> Floats:
    assert panes.sketches is not None
    return sketches.distinct(panes.sketches, panes.state["count"])


def _quantile(q: float) -> Finish:
    def finish(panes: Panes, seconds: float | Floats) -> Floats:
        assert panes.sketches is not None
        state = panes.state
        return sketches.quantiles(panes.sketches, state["count"], state["min"], state["max"], q)

    return finish


_QUANTILE_NEEDS = frozenset({"count", "min", "max", "sketch"})

AGGREGATES = {
    aggregate.name: aggregate
    for aggregate in (
        Aggregate("sum", frozenset({"sum"}), _column("sum"), empty=0),
        Aggregate("count", frozenset({"count"}), _column("count"), empty=0),
        Aggregate("average", frozenset({"sum", "count"}), _average),
        Aggregate("min", frozenset({"min"}), _column("min")),
        Aggregate("max", frozenset({"max"}), _column("max")),
        Aggregate("first", frozenset({"first", "first_time", "first_position"}), _column("first")),
        Aggregate("last", frozenset({"last", "last_time", "last_position"}), _column("last")),
        Aggregate("stddev", frozenset({"m2", "sum", "count"}), _stddev),
        Aggregate("increase", frozenset({"increase"}), _column("increase"), counters_only=True),
        Aggregate("rate", frozenset({"increase"}), _rate, counters_only=True),
        Aggregate("median", _QUANTILE_NEEDS, _quantile(0.5)),
        Aggregate("unique", frozenset({"count", "sketch"}), _unique),
    )
}
ALIASES = {"avg": "average", "mean": "average"}
_PERCENTILE = re.compile(r"(?:percentile_|p)(\d{1,3})(?:[._](\d{1,4}))?")


class Registry:
    """The aggregations a server knows: the table above, percentiles of any rank, and registered ones."""

    def __init__(self) -> None:
        self.custom: dict[str, Custom] = {}

    def register_aggregation(self, name: str, fn: Custom) -> None:
        """Makes fn(values, params) usable in queries. Raises ValueError when the name is taken or no identifier."""
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no identifier; an aggregation is named like percentile_95")
        if name in AGGREGATES or name in ALIASES or name in self.custom or _PERCENTILE.fullmatch(name):
            raise ValueError(f"an aggregation named {name!r} exists already")
        self.custom[name] = fn

    def names(self) -> list[str]:
        """What can be asked for."""
        return [*AGGREGATES, "percentile_95", "percentile_99", "percentile_NN", *self.custom]

    def check(self, name: str) -> str:
        """The canonical name of an aggregation. Raises BadQuery for an unknown one."""
        name = ALIASES.get(name, name)
        if name not in self.custom:
            find(name)
        return name


def find(name: str) -> Aggregate:
    """The aggregation of a name; percentile_NN or pNN for any rank from 0 to 100. Raises BadQuery."""
    known = AGGREGATES.get(ALIASES.get(name, name))
    if known is not None:
        return known
    match = _PERCENTILE.fullmatch(name)
    if match is None:
        listed = ", ".join([*AGGREGATES, "percentile_NN"])
        raise BadQuery(f"there is no aggregation {name!r}; choose one of {listed}, or register it")
    rank = float(f"{match[1]}.{match[2] or 0}")
    if rank > 100:
        raise BadQuery(f"{name!r} asks for a percentile above 100")
    return Aggregate(name, _QUANTILE_NEEDS, _quantile(rank / 100))
