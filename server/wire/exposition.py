"""The Prometheus exposition formats: text 0.0.4 and OpenMetrics 1.0, from what each series has come to.

    counter    counter    sum of the posted values; a cumulative one: its running total without the resets
    gauge      gauge      newest value
    histogram  histogram  buckets, sum, count
    timer      histogram
    average    summary    sum, count

No timestamps: Prometheus drops samples that look too old. Names are made valid, and two that would become the same
family, or share a sample's name with another, are told apart by their type and a number.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate

import numpy as np

from engine.engine import Engine
from engine.model import AVERAGE, COUNTER, CUMULATIVE, GAUGE, HISTOGRAM, OTHER_LABEL, TIMER, TYPES, Floats, Labels
from engine.series import Name

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
LINES_PER_CHUNK = 250
SERIES_PER_LOOK = 100
"""Series whose labels are read before other work may be done."""

_KINDS = {COUNTER: "counter", GAUGE: "gauge", HISTOGRAM: "histogram", TIMER: "histogram", AVERAGE: "summary"}
_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_sum", "_count", "_created"),
    "summary": ("", "_sum", "_count", "_created"),
}
_RESERVED = {"histogram": "le", "summary": "quantile"}
_INVALID, _INVALID_LABEL = re.compile(r"[^a-zA-Z0-9_:]"), re.compile(r"[^a-zA-Z0-9_]")
_EXACT = 2.0**53
_VALUE_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics to plain text. Where both weigh the same, plain text wins."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        given = dict(p.partition("=")[::2] for p in parameters)
        if media not in weights or given.get("version", "1.0.0") not in ("1.0.0", "0.0.1", "0.0.4"):
            continue
        try:
            weight = float(given.get("q", "1"))
        except ValueError:
            continue
        weights[media] = max(weights[media], weight)
    return weights["application/openmetrics-text"] > weights["text/plain"]


def metric_name(name: str) -> str:
    """A name as Prometheus allows it: [a-zA-Z_:][a-zA-Z0-9_:]*."""
    valid = _INVALID.sub("_", name)
    return f"_{valid}" if valid[:1].isdigit() else valid or "_"


@lru_cache(4096)
def _label_name(label: str) -> str:
    name = "other" if label == OTHER_LABEL else _INVALID_LABEL.sub("_", label) or "_"
    return f"_{name}" if name[0].isdigit() else name


@lru_cache(16)
def _bound_texts(bounds: tuple[float, ...]) -> list[str]:
    return [*(repr(float(bound)) for bound in bounds), "+Inf"]


def label_texts(labels: Labels, reserved: str | None) -> list[str]:
    """Labels as `name="value"`, sorted by name; names are made valid and unlike each other and the reserved one."""
    taken = {reserved}
    texts = []
    for label, value in labels:
        name = _label_name(label)
        while name in taken:
            name = f"{name}_"
        taken.add(name)
        texts.append(f'{name}="{value.translate(_VALUE_ESCAPES)}"')
    return sorted(texts, key=lambda text: text.partition("=")[0])


def number_text(value: float) -> str:
    """A sample's value."""
    if value != value:
        return "NaN"
    if value in (np.inf, -np.inf):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < _EXACT else repr(float(value))


class Exposition:
    """All series of an engine as Prometheus reads them. help: texts for some metrics, by name."""

    def __init__(self, engine: Engine, help: Mapping[str, str] | None = None) -> None:
        self._engine, self._help = engine, dict(help or {})
        self._families: dict[tuple[int, int], str] = {}
        self._taken: set[str] = set()
        self._shown = np.empty(0)
        """The counters as they were shown last: they must not go down, whatever is posted."""

    def chunks(self, openmetrics: bool = False) -> Iterator[str]:
        """The exposition in pieces, some of them empty, so that other work can be done in between."""
        counters = self._counters()
        for number in range(len(self._engine.catalogue.by_number)):
            name = self._engine.catalogue.by_number[number]
            for type in sorted(name.types):
                yield from self._family(name, type, counters, openmetrics)
        if openmetrics:
            yield "# EOF\n"

    def _counters(self) -> Floats:
        """The value of each series as a counter."""
        catalogue = self._engine.catalogue
        values = self._engine.lifetime.sums().copy()
        cumulative = catalogue.temporalities == CUMULATIVE
        if cumulative.any():
            values = np.where(cumulative, self._engine.totals.reached(cumulative), values)
        shown = self._shown
        values[: len(shown)] = np.maximum(values[: len(shown)], shown)
        self._shown = values
        return values

    def _family(self, name: Name, type: int, counters: Floats, openmetrics: bool) -> Iterator[str]:
        catalogue = self._engine.catalogue
        held = name.series.view()
        series = held[(catalogue.types[held] == type) & (held < len(counters))].tolist()
        if not series:
            return
        kind = _KINDS[type]
        family = self._name(name, type)
        sample = family
        if kind == "counter" and openmetrics:
            family = family.removesuffix("_total")
            sample = f"{family}_total"
        help = self._help.get(name.name, family)
        lines = [f"# HELP {family} {help.translate(_HELP_ESCAPES)}\n# TYPE {family} {kind}\n"]
        alike: dict[tuple[str, ...], list[int]] = {}
        for looked, one in enumerate(series, 1):  # those that differ in what Prometheus does not know are one there
            alike.setdefault(tuple(label_texts(catalogue.labels(one), _RESERVED.get(kind))), []).append(one)
            if looked % SERIES_PER_LOOK == 0:
                yield ""
        for labels, same in alike.items():
            if kind == "counter":
                lines.append(_line(sample, labels, sum(float(counters[one]) for one in same)))
            elif kind == "gauge":
                lines.append(_line(sample, labels, float(self._engine.lifetime.newest()[same[-1]])))
            elif kind == "histogram":
                lines += self._histogram(sample, labels, same, openmetrics)
            else:
                lines += self._sum_and_count(sample, labels, same, openmetrics)
            if len(lines) >= LINES_PER_CHUNK:
                yield "".join(lines)
                lines = []
        if lines:
            yield "".join(lines)

    def _histogram(self, name: str, labels: tuple[str, ...], same: list[int], openmetrics: bool) -> list[str]:
        at = bisect([label.partition("=")[0] for label in labels], "le")
        bounds, counts = self._engine.lifetime.buckets(same[0])
        for other in same[1:]:
            counts = [a + b for a, b in zip(counts, self._engine.lifetime.buckets(other)[1], strict=True)]
        before = f"{name}_bucket{{" + "".join(f"{label}," for label in labels[:at]) + 'le="'
        after = '"' + "".join(f",{label}" for label in labels[at:]) + "} "
        lines = [
            f"{before}{bound}{after}{below}\n"
            for bound, below in zip(_bound_texts(bounds), accumulate(counts), strict=True)
        ]
        return lines + self._sum_and_count(name, labels, same, openmetrics)

    def _sum_and_count(self, name: str, labels: tuple[str, ...], same: list[int], openmetrics: bool) -> list[str]:
        total = sum(float(self._engine.lifetime.sums()[one]) for one in same)
        count = sum(int(self._engine.lifetime.counts()[one]) for one in same)
        if openmetrics and total < 0:  # OpenMetrics has no sum of negative values, and no count without a sum
            return []
        return [_line(f"{name}_sum", labels, total), _line(f"{name}_count", labels, count)]

    def _name(self, name: Name, type: int) -> str:
        """The family's name, the same as long as the process lives; the first to come has it as it was sent."""
        known = self._families.get((name.number, type))
        if known is not None:
            return known
        wanted = candidate = metric_name(name.name)
        tries = 1
        while not (samples := _samples(candidate, _KINDS[type])).isdisjoint(self._taken):
            candidate = f"{wanted}_{TYPES[type]}" if tries == 1 else f"{wanted}_{TYPES[type]}_{tries}"
            tries += 1
        self._taken |= samples
        self._families[name.number, type] = candidate
        return candidate


def _samples(family: str, kind: str) -> set[str]:
    """Every name that a family takes, in either format."""
    base = family.removesuffix("_total") if kind == "counter" else family
    return {family, *(base + suffix for suffix in _SUFFIXES[kind])}


def _line(name: str, labels: tuple[str, ...], value: float) -> str:
    return f"{name}{{{','.join(labels)}}} {number_text(value)}\n" if labels else f"{name} {number_text(value)}\n"
