"""The messages that a replay gives rise to: its edges taken by a real book, and what the routing says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from engine.rules.book import Book
from engine.rules.marks import command, edges
from engine.rules.model import CHANGED, FIRED, RESOLVED, Edge, Incident, Rule, Silence
from engine.rules.routing import Done, Hold, Send, decide

MAX_MESSAGES = 10_000


class Told(NamedTuple):
    """A message that would have gone to a channel: when (ms), of what kind, and how many alerts of its incident fired,
    of how many in it."""

    at: int
    kind: str
    channel: str
    incident: str
    level: int
    firing: int
    groups: int


def messages(
    rule: Rule, changes: Sequence[Edge], end: int, silences: Sequence[Silence], muted: Callable[[int], bool]
) -> list[Told]:
    """The messages up to `end` that edges, in order, give rise to."""
    desk = _Desk(rule, silences, muted)
    told = [edge for edge in changes if edge.kind in (FIRED, CHANGED, RESOLVED)]
    at = 0
    while at < len(told) and len(desk.told) < MAX_MESSAGES:
        now = told[at].at
        desk.wait(now - 1)
        together = at
        while together < len(told) and told[together].at == now:
            together += 1
        desk.book.take(edges(rule.id, rule.channels, told[at:together]))
        desk.attend(now)
        at = together
    desk.wait(end)
    return desk.told[:MAX_MESSAGES]


class _Desk:
    """A book, and channels that take everything at once."""

    def __init__(self, rule: Rule, silences: Sequence[Silence], muted: Callable[[int], bool]) -> None:
        self.rule, self.silences, self.muted = rule, silences, muted
        self.book = Book()
        self.told: list[Told] = []
        self._next: int | None = None
        """When there may be something to tell although nothing changes."""

    def wait(self, until: int) -> None:
        """Tells what there is to tell up to a moment."""
        while self._next is not None and self._next <= until and len(self.told) < MAX_MESSAGES:
            self.attend(self._next)

    def attend(self, now: int) -> None:
        """Tells what there is to tell now."""
        incidents = list(self.book.incidents.values())
        moments = [self._attend(each, channel, now) for each in incidents for channel in each.deliveries]
        self._next = min((moment for moment in moments if moment is not None), default=None)

    def _attend(self, incident: Incident, channel: str, now: int) -> int | None:
        while True:
            decision = decide(self.rule, incident, channel, now, self.silences, self.muted, ())
            if not isinstance(decision, Send):
                break
            about = (channel, incident.id, incident.level or incident.worst, len(incident.firing))
            self.told.append(Told(now, decision.kind, *about, len(incident.episodes)))
            taken = {"revision": decision.revision, "ids": {}, "tries": 1, "last": decision.kind == RESOLVED}
            self._do("sent", incident, channel, now, kind=decision.kind, message="", **taken)
        if isinstance(decision, Hold) and incident.deliveries[channel].held != decision.why:
            self._do("held", incident, channel, now, why=decision.why, ended=False)
        if isinstance(decision, Done):
            self._do("held", incident, channel, now, why=decision.why, ended=True)
            return None
        return decision.until

    def _do(self, what: str, incident: Incident, channel: str, at: int, **members: Any) -> None:
        self.book.take(command(what, incident=incident.id, channel=channel, at=at, **members))
