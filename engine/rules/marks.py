"""What is decided about alerts as marks in the log: made here, taken by the book of every process."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from engine.model import Mark
from engine.rules.model import Edge, Rule
from engine.rules.saved import read_edge, state_members
from engine.terms import ALONE

ALERT = "alert"
"""The kind of the marks."""


def command(do: str, term: int = ALONE, **members: Any) -> Mark:
    """A mark that makes every book do something; see engine.rules.book. term: for which the rule is held."""
    return Mark(ALERT, fence=term, text=json.dumps({"do": do, **members}, separators=(",", ":")))


def edges(
    rule: str, channels: Iterable[str], changes: Iterable[Edge], term: int = ALONE, why: str = "", **about: str | int
) -> Mark:
    """The mark of what one rule decided at one moment. about: see the function of that name."""
    packed = [[edge.group, edge.kind, edge.at, state_members(edge.state)] for edge in changes]
    return command("edges", term, rule=rule, channels=list(channels), edges=packed, why=why, **about)


def about(rule: Rule) -> dict[str, str | int]:
    """What the book keeps of a rule, for when it is gone: its name, what it watches, and what it asks."""
    return {"name": rule.name, "metric": rule.query.name, "asks": asks(rule)}


def asks(rule: Rule) -> int:
    """A number for what a rule asks: where that is another, its alerts are about something else."""
    query = rule.query
    matchers = [(each.label, each.operator, each.value, sorted(each.values)) for each in query.matchers]
    rest = query.kind, query.name, query.type, query.aggregation, query.group_by, query.range, query.field, query.params
    return zlib.crc32(repr((rule.kind, rule.each, rule.over, rule.relative, matchers, rest)).encode())


def edges_of(mark: Mark) -> Iterator[tuple[str, Edge]]:
    """(rule, edge) of each edge a mark brings."""
    if mark.kind == ALERT and mark.text.startswith('{"do":"edges"'):
        told = json.loads(mark.text)
        yield from ((told["rule"], read_edge(each)) for each in told["edges"])
