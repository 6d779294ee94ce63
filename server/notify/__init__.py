"""Telling people: messages of incidents, and the channels they go by. This page is the contract.

    outbox ── Message, ids of what was sent before ──▶ Channel.send ──▶ ids of what is there now

A channel is called for one message of an incident at a time, in order; it does not retry, the outbox does. What fails
raises NotSent, which says whether trying again can help and when. A message has an id that stays the same through all
tries, and travels with it, so that a far side that did not answer can tell a repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

FIRING, UPDATE, REPEAT, RESOLVED, TEST = "firing", "update", "repeat", "resolved", "test"


class NotSent(Exception):
    """A message that was not taken, or of which that is not known.

    reason: for people. again: whether another try can help; after: seconds until it may, where the far side said so.
    unknown: the far side may have taken it (no answer came).
    """

    def __init__(self, reason: str, *, again: bool = True, after: float | None = None, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.again, self.after, self.unknown = reason, again, after, unknown


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One alert of an incident. labels: of its group; level: warning or critical, ok once resolved; values are None
    where unknown; times in ms, `until` None while it goes on."""

    labels: Mapping[str, str]
    level: str
    cause: str
    value: float | None
    peak: float | None
    since: int
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What is told of an incident, as it stands at `at` (ms).

    id: the same through all tries of this message. kind: firing (the first), update, repeat, resolved (the last), test.
    title: one line; text: the rule's template filled in; condition: in words, such as "average over 5m > 100".
    value: now, or at the end where resolved; fired_value, peak: at the beginning and at its worst. lines: those shown,
    the worst first; firing, groups: how many fire, of how many there are. changes: a line each since the message
    before. points: (ms, value) for a small chart, None for unknown. link: the exact view, "" where it has no address.
    """

    id: str
    kind: str
    incident: str
    rule_id: str
    rule: str
    severity: str
    level: str
    title: str
    text: str
    condition: str
    threshold: float | None
    unit: str
    value: float | None
    fired_value: float | None
    peak: float | None
    opened: int
    at: int
    closed: int | None = None
    labels: Mapping[str, str] | None = None
    lines: tuple[GroupLine, ...] = ()
    firing: int = 0
    groups: int = 0
    changes: tuple[str, ...] = ()
    points: tuple[tuple[int, float | None], ...] = ()
    link: str = ""
    acknowledged: str = ""


class Channel(Protocol):
    """One way to tell people."""

    name: str
    """As rules write it: slack, slack:#ops, email, email:a@example.com, webhook."""
    kind: str
    """slack, email, webhook."""

    async def send(self, message: Message, ids: Mapping[str, str]) -> dict[str, str]:
        """Sends a message; ids: what `send` gave for the message before of the same incident, empty at first. Gives
        the ids to hand in with the next. Raises NotSent."""

    async def close(self) -> None:
        """Lets go of connections."""
