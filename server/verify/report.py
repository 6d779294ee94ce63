"""What a verification found: the figures, what differs, what is damaged, and what could not be looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MAX_LISTED = 50
"""Differences of one kind that are named; more are counted."""


class Unchecked(Exception):
    """Why nothing could be verified; the message is a sentence for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two counts of the same thing that do not agree. kind: closed list of words for programs; text: a sentence."""

    kind: str
    text: str
    where: dict[str, Any] = field(default_factory=dict)
    found: float | None = None
    expected: float | None = None


@dataclass(slots=True)
class Place:
    """Where accepted rows are kept: a level of panes or another place, the times of its panes, and how many rows."""

    name: str
    rows: int
    start: int | None = None
    end: int | None = None
    blocks: int | None = None


@dataclass(slots=True)
class Report:
    """All of it. Positions are those of the log; ledgers as `GET /api/ledger` has them."""

    log: str = ""
    store: str = ""
    generation: int = 0
    position: int = 0
    """Of the checkpoint."""
    stamp: int = 0
    upto: int = 0
    """Position up to which the log was recounted."""
    last_stamp: int = 0
    entries: int = 0
    places: list[Place] = field(default_factory=list)
    sealed: dict[str, Any] = field(default_factory=dict)
    """The ledger at the checkpoint."""
    recount: dict[str, Any] = field(default_factory=dict)
    """The log after it, recounted."""
    total: dict[str, Any] = field(default_factory=dict)
    """Both together."""
    engine: dict[str, Any] = field(default_factory=dict)
    """The ledger of an engine that replayed the same entries."""
    server: dict[str, Any] | None = None
    """The ledger of the server that runs, at the same place."""
    series: int = 0
    events: dict[str, int] = field(default_factory=dict)
    missing_rows: int = 0
    differences: list[Difference] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    """kind -> differences of it, listed or not."""
    damage: list[str] = field(default_factory=list)
    """What cannot be read, as sentences; the first MAX_LISTED of them."""
    damaged: int = 0
    """How many there are."""
    notes: list[str] = field(default_factory=list)

    def differ(
        self, kind: str, text: str, found: float | None = None, expected: float | None = None, **where: Any
    ) -> None:
        """Adds a difference."""
        self.counted[kind] = self.counted.get(kind, 0) + 1
        if self.counted[kind] <= MAX_LISTED:
            self.differences.append(Difference(kind, text, where, found, expected))

    def cannot_read(self, text: str) -> None:
        """Adds what is damaged."""
        if text in self.damage:
            return
        self.damaged += 1
        if len(self.damage) < MAX_LISTED:
            self.damage.append(text)

    @property
    def code(self) -> int:
        """The exit code: 0 all agrees, 1 something differs, 2 something could not be read."""
        return 2 if self.damaged else 1 if self.differences else 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        status = {0: "agrees", 1: "differs", 2: "damaged"}[self.code]
        return {"status": status, **asdict(self)}
