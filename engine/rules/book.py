"""The book: where every alert stands, and whom it was told to, as the log has it.

Whoever evaluates the rules writes what it decides into the log, as marks; every process that follows the log takes
them here, in order. So the book is a function of the log like all the rest, the same in every process, and survives
whatever ends one. Each mark is a command, JSON with a member `do`:

    edges    alerts of one rule have changed state
    sent     a channel has taken a message of an incident
    failed   it has not: tried again at `retry`, or given up
    held     nothing is sent now, and why
    ack      somebody has seen an incident; it is not repeated
    snooze   nothing is told of it until `until`; 0 ends that
    looked   all rules have been evaluated up to `at`

The last two may come from any process, the others count only under the fence of the log's owner.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from engine.model import Mark
from engine.rules.model import (
    CHANGED,
    FIRED,
    INACTIVE,
    QUIET,
    RESOLVED,
    Delivery,
    Edge,
    Episode,
    Group,
    Incident,
    State,
)
from engine.rules.saved import (
    incident_members,
    read_edge,
    read_episode,
    read_group,
    read_incident,
    read_state,
    state_members,
)

ALERT = "alert"
"""The kind of the marks."""
MAX_EPISODES, MAX_EPISODES_OF_A_RULE = 5_000, 200
MAX_RECORDS = 2_000
MAX_CHANGES = 50
"""Of an incident, the newest are kept."""
MAX_CLOSED = 500
"""Incidents kept after all is said of them."""
MAX_UNTOLD = 20
"""Closed incidents of one rule that still wait to be told; the oldest are given up then."""
_ANYBODY = frozenset({"ack", "snooze"})


class Record(NamedTuple):
    """What became of one try to tell a channel something. outcome: sent, failed, gave_up, held."""

    at: int
    incident: str
    rule: str
    channel: str
    kind: str
    outcome: str
    reason: str
    message: str
    tries: int


class Book:
    """All alerts. Times are ms of the log."""

    def __init__(self) -> None:
        self.alerts: dict[str, dict[Group, State]] = {}
        """Per rule, the states of those that are not inactive."""
        self.incidents: dict[str, Incident] = {}
        """Those that are open, or of which not everything has been told, by id, oldest first."""
        self.closed: deque[Incident] = deque(maxlen=MAX_CLOSED)
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)
        self.triggered: dict[str, int] = {}
        """Per rule, when it last began to fire, or was repeated."""
        self.edged: dict[str, int] = {}
        """Per rule, ms of the newest edge."""
        self.looked = 0
        """Up to when all rules have been evaluated, nearly."""
        self.version = 0
        """Moves with each command that changed something."""
        self._episodes: dict[str, deque[Episode]] = {}
        self._held = 0
        self._open: dict[str, Incident] = {}
        self._saved = (-1, b"")

    # reading

    def states(self, rule: str) -> dict[Group, State]:
        """The alerts of a rule that are pending or firing."""
        return self.alerts.get(rule, {})

    def episodes(self, rule: str) -> list[Episode]:
        """Of a rule, newest first, as far as they are kept."""
        return list(reversed(self._episodes.get(rule, ())))

    def open(self, rule: str) -> Incident | None:
        """The incident of a rule that goes on."""
        return self._open.get(rule)

    def newest(self, rule: str) -> Incident | None:
        """The incident of a rule that goes on, or the last one, as long as it is kept."""
        return self._open.get(rule) or next(
            (each for each in (*reversed(self.incidents.values()), *reversed(self.closed)) if each.rule == rule), None
        )

    def open_incidents(self) -> list[Incident]:
        """Those that go on, of all rules."""
        return list(self._open.values())

    def find(self, incident: str) -> Incident | None:
        """An incident by its id, as long as it is kept."""
        return self.incidents.get(incident) or next((each for each in self.closed if each.id == incident), None)

    # taking

    def take(self, mark: Mark, fence: int = 0) -> None:
        """Does what a mark says; one of another owner than that of `fence` does nothing, nor one of unknown things."""
        command = json.loads(mark.text)
        do = command.pop("do")
        if do in _COMMANDS and (mark.fence == fence or do in _ANYBODY):
            self.version += 1
            _COMMANDS[do](self, **command)

    def _edges(self, rule: str, channels: list[str], edges: list[Any], why: str = "") -> None:
        states = self.alerts.setdefault(rule, {})
        read = [read_edge(each) for each in edges]
        # An incident goes on where one alert ends at the moment at which another begins.
        for edge in sorted(read, key=lambda edge: edge.kind == RESOLVED):
            if (
                states.get(edge.group, QUIET).status == edge.state.status == INACTIVE
                or states.get(edge.group) == edge.state
            ):
                continue  # the mark has been written twice
            if edge.state.status == INACTIVE:
                states.pop(edge.group, None)
            else:
                states[edge.group] = edge.state
            self._tell(rule, channels, edge, why)
            self.edged[rule] = max(edge.at, self.edged.get(rule, 0))
        if not states:
            del self.alerts[rule]

    def _tell(self, rule: str, channels: list[str], edge: Edge, why: str) -> None:
        incident = self._open.get(rule)
        if edge.kind == FIRED:
            if incident is None:
                incident = self._begin(rule, channels, edge.at)
            self._fire(incident, edge)
            self.triggered[rule] = edge.at
        elif incident is None or (episode := incident.episodes.get(edge.group)) is None:
            return
        else:
            _follow(episode, edge, why)
        incident.level = max((each.level for each in incident.firing), default=0)
        incident.worst = max(incident.worst, incident.level)
        if edge.kind in (FIRED, CHANGED, RESOLVED):
            incident.revision += 1
            incident.changes.append((incident.revision, edge.at, edge.group, edge.kind))
            del incident.changes[:-MAX_CHANGES]
        if edge.kind == RESOLVED and not incident.firing:
            incident.closed = edge.at
            del self._open[rule]
            self._let_go(incident)

    def _begin(self, rule: str, channels: list[str], at: int) -> Incident:
        incident = Incident(f"incident_{rule.removeprefix('alert_')}_{at}", rule, at)
        incident.deliveries = {channel: Delivery() for channel in channels}
        self._open[rule] = self.incidents[incident.id] = incident
        untold = [each for each in self.incidents.values() if each.rule == rule and each.closed is not None]
        for each in untold[: max(0, len(untold) - MAX_UNTOLD)]:
            for channel, delivery in each.deliveries.items():
                if not delivery.ended:
                    self._failed(each.id, channel, at, "", "", "newer alerts of the same rule wait as well", None)
        return incident

    def _fire(self, incident: Incident, edge: Edge) -> None:
        state = edge.state
        incident.fired += 1
        episode = incident.episodes[edge.group] = Episode(
            f"{incident.id}_{incident.fired}", incident.rule, edge.group, state.level,
            min((since for since in state.since if since), default=edge.at), edge.at, state.cause, state.level,
            state.value, state.peak, state.peak_at,
        )  # fmt: skip
        kept = self._episodes.setdefault(incident.rule, deque())
        kept.append(episode)
        self._held += 1
        if len(kept) > MAX_EPISODES_OF_A_RULE:
            kept.popleft()
            self._held -= 1
        elif self._held > MAX_EPISODES:
            max(self._episodes.values(), key=len).popleft()
            self._held -= 1

    def _let_go(self, incident: Incident) -> None:
        """Nothing is left to be said of it."""
        over = incident.closed is not None and all(each.ended for each in incident.deliveries.values())
        if over and self.incidents.pop(incident.id, None) is not None:
            self.closed.append(incident)

    def _sent(
        self, incident: str, channel: str, at: int, kind: str, message: str, revision: int, ids: dict[str, str],
        tries: int, last: bool,
    ) -> None:  # fmt: skip
        found = self.incidents.get(incident)
        if found is None:
            return
        found.deliveries[channel] = Delivery(max(revision, 1), at, last, ids)
        if kind == "repeat":
            self.triggered[found.rule] = at
        self.records.append(Record(at, incident, found.rule, channel, kind, "sent", "", message, tries))
        self._let_go(found)

    def _failed(
        self, incident: str, channel: str, at: int, kind: str, message: str, reason: str, retry: int | None,
        tries: int = 0,
    ) -> None:  # fmt: skip
        """retry: None gives up what was to be said; a later change of the incident is told all the same."""
        found = self.incidents.get(incident)
        if found is None:
            return
        delivery = found.deliveries.setdefault(channel, Delivery())
        delivery.tries, delivery.error, delivery.retry = tries, reason, retry or 0
        outcome = "failed"
        if retry is None:
            outcome, delivery.told, delivery.at, delivery.tries = "gave_up", max(found.revision, 1), at, 0
            delivery.ended = found.closed is not None
        self.records.append(Record(at, incident, found.rule, channel, kind, outcome, reason, message, tries))
        self._let_go(found)

    def _hold(self, incident: str, channel: str, at: int, why: str, ended: bool) -> None:
        found = self.incidents.get(incident)
        if found is None:
            return
        delivery = found.deliveries.setdefault(channel, Delivery())
        delivery.held, delivery.ended = why, ended
        if why:
            self.records.append(Record(at, incident, found.rule, channel, "", "held", why, "", 0))
        self._let_go(found)

    def _acknowledge(self, incident: str, who: str) -> None:
        if (found := self.incidents.get(incident)) is not None:
            found.acknowledged = who
            found.revision += 1

    def _snooze(self, incident: str, who: str, until: int) -> None:
        if (found := self.incidents.get(incident)) is not None:
            found.snoozed = until

    def _looked(self, at: int) -> None:
        self.looked = max(self.looked, at)

    # keeping

    def save(self) -> bytes:
        """All of it, as JSON."""
        if self._saved[0] == self.version:
            return self._saved[1]
        told = {
            "alerts": {
                rule: [[group, state_members(state)] for group, state in states.items()]
                for rule, states in self.alerts.items()
            },
            "incidents": [incident_members(each) for each in (*self.closed, *self.incidents.values())],
            "episodes": {rule: [asdict(each) for each in kept] for rule, kept in self._episodes.items()},
            "records": list(self.records), "triggered": self.triggered, "version": self.version, "looked": self.looked,
            "edged": self.edged,
        }  # fmt: skip
        self._saved = self.version, json.dumps(told, separators=(",", ":")).encode()
        return self._saved[1]

    def restore(self, data: bytes) -> None:
        """The inverse of `save`, on a new book."""
        told = json.loads(data)
        self.version, self.triggered, self.looked = told["version"], told["triggered"], told["looked"]
        self.edged = told["edged"]
        self.records.extend(Record(*each) for each in told["records"])
        for rule, states in told["alerts"].items():
            self.alerts[rule] = {read_group(group): read_state(state) for group, state in states}
        by_id: dict[str, Episode] = {}
        for rule, kept in told["episodes"].items():
            self._episodes[rule] = deque(read_episode(each, by_id) for each in kept)
            self._held += len(kept)
        for each in told["incidents"]:
            incident = read_incident(each, by_id)
            if incident.closed is not None and all(delivery.ended for delivery in incident.deliveries.values()):
                self.closed.append(incident)
                continue
            self.incidents[incident.id] = incident
            if incident.closed is None:
                self._open[incident.rule] = incident


_COMMANDS: dict[str, Any] = {
    "edges": Book._edges, "sent": Book._sent, "failed": Book._failed, "held": Book._hold,
    "ack": Book._acknowledge, "snooze": Book._snooze, "looked": Book._looked,
}  # fmt: skip


def command(do: str, fence: int = 0, **members: Any) -> Mark:
    """A mark that makes every book do something; see the module."""
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


def _follow(episode: Episode, edge: Edge, why: str) -> None:
    """What a later edge says of an episode."""
    state = edge.state
    if edge.kind == RESOLVED:
        episode.resolved, episode.resolved_value, episode.why = edge.at, state.last, why
    else:
        episode.level, episode.worst = state.level, max(episode.worst, state.level)
        episode.cause = state.cause
    if state.peak is not None:
        episode.peak, episode.peak_at = state.peak, state.peak_at
