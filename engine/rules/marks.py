"""What is decided about alerts as marks in the log: made here, taken by the book of every process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from engine.model import Mark
from engine.rules.model import Edge
from engine.rules.saved import read_edge, state_members

ALERT = "alert"
"""The kind of the marks."""


def command(do: str, fence: int = 0, **members: Any) -> Mark:
    """A mark that makes every book do something; see engine.rules.book."""
    return Mark(ALERT, fence=fence, text=json.dumps({"do": do, **members}, separators=(",", ":")))


def edges(rule: str, channels: Iterable[str], changes: Iterable[Edge], fence: int = 0, why: str = "") -> Mark:
    """The mark of what one rule decided at one moment."""
    packed = [[edge.group, edge.kind, edge.at, state_members(edge.state)] for edge in changes]
    return command("edges", fence, rule=rule, channels=list(channels), edges=packed, why=why)


def edges_of(mark: Mark) -> Iterator[tuple[str, Edge]]:
    """(rule, edge) of each edge a mark brings."""
    if mark.kind == ALERT and mark.text.startswith('{"do":"edges"'):
        told = json.loads(mark.text)
        yield from ((told["rule"], read_edge(each)) for each in told["edges"])
