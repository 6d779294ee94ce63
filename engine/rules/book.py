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
    looked   the rules of all partitions held for the mark's term have been evaluated up to `at`; see Look

What people do, `ack` and `snooze`, may come from any process; the rest counts only of whoever holds the rule's
partition (see engine.terms).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from engine.model import Mark
from engine.rules.history import History
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
    Look,
    State,
)
from engine.rules.saved import (
    Texts,
    incident_text,
    read_edge,
    read_group,
    read_incident,
    read_state,
    states_text,
)
from engine.terms import PARTITIONS, Terms

MAX_TRIGGERED = 10_000
"""Rules of which it is known when they fired last."""
MAX_RECORDS = 2_000
RECENT = 50
"""Records among which one that comes twice is looked for."""
MAX_CHANGES = 50
"""Of an incident, the newest are kept."""
MAX_CLOSED = 500
"""Incidents kept after all is said of them."""
MAX_UNTOLD = 20
"""Closed incidents of one rule that still wait to be told; the oldest are given up then."""
REPEATED = "repeat"
LOOKED = "looked"
_ANYBODY = frozenset({"ack", "snooze"})
_STATES, _INCIDENT, _RECORDS = "states", "incident", "records"
"""What is written as one text, the first two with the id of whose it is."""


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


class News(NamedTuple):
    """What all who watch are told. kind: firing, level, resolved or repeat; at: ms."""

    kind: str
    at: int
    incident: Incident
    episode: Episode


class Book:
    """All alerts. Times are ms of the log."""

    def __init__(self) -> None:
        self.alerts: dict[str, dict[Group, State]] = {}
        """Per rule, the states of those that are not inactive."""
        self.asks: dict[str, int] = {}
        """Per rule with such alerts, a number for what it asks; 0 for unknown."""
        self.incidents: dict[str, Incident] = {}
        """Those that are open, or of which not everything has been told, by id, oldest first."""
        self.closed: deque[Incident] = deque(maxlen=MAX_CLOSED)
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)
        self.triggered: dict[str, int] = {}
        """Per rule, when it last began to fire, or was repeated; the newest last."""
        self.looks = [Look()] * PARTITIONS
        """Per partition."""
        self.version = 0
        """Moves with each command but `looked`."""
        self.news: list[News] = []
        """What the newest entry has brought."""
        self._history = History()
        self._open: dict[str, Incident] = {}
        self._texts = Texts()

    # reading

    def states(self, rule: str) -> dict[Group, State]:
        """The alerts of a rule that are pending or firing."""
        return self.alerts.get(rule, {})

    def episodes(self, rule: str) -> list[Episode]:
        """Of a rule, newest first, as far as they are kept."""
        return self._history.of(rule)

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

    def take(self, mark: Mark, terms: Terms | None = None) -> None:
        """Does what a mark says; nothing for one of an engine that does not hold the rule, or of unknown things."""
        command = json.loads(mark.text)
        do = command.pop("do")
        terms = terms or Terms()
        if do == LOOKED:
            for partition in terms.partitions(mark.fence):
                self.looks[partition] = Look(**command)
        elif do in _COMMANDS and (do in _ANYBODY or self._term_of(command, terms) == mark.fence):
            self.version += 1
            _COMMANDS[do](self, **command)

    def _term_of(self, command: dict[str, Any], terms: Terms) -> int | None:
        """For which term the rule is held that a command is about; None for no rule."""
        rule = command.get("rule")
        if rule is None and (incident := self.incidents.get(command["incident"])) is not None:
            rule = incident.rule
        return None if rule is None else terms.of_key(rule)

    def _edges(
        self, rule: str, channels: list[str], edges: list[Any], why: str = "", name: str = "", metric: str = "",
        asks: int = 0,
    ) -> None:  # fmt: skip
        states = self.alerts.setdefault(rule, {})
        fresh = []
        for edge in map(read_edge, edges):
            before = states.get(edge.group, QUIET)
            if before.status == edge.state.status == INACTIVE or before == edge.state:
                continue  # the mark has been written twice
            if edge.state.status == INACTIVE:
                states.pop(edge.group, None)
            else:
                states[edge.group] = edge.state
            fresh.append(edge)
        self.asks[rule] = asks or self.asks.get(rule, 0)
        if not states:
            del self.alerts[rule], self.asks[rule]
        # An incident goes on where one alert ends at the moment at which another begins.
        for edge in sorted(fresh, key=lambda edge: edge.kind == RESOLVED):
            if edge.kind == FIRED and rule not in self._open:
                self._begin(rule, channels, edge.at, name, metric)
            self._tell(rule, edge, why)
        self._texts.changed((_STATES, rule))
        self._history.changed(rule)
        if (incident := self._open.get(rule)) is not None and fresh:
            self._settle(incident, fresh[-1].at)

    def _tell(self, rule: str, edge: Edge, why: str) -> None:
        incident = self._open.get(rule)
        if incident is not None and edge.kind == FIRED:
            self._fire(incident, edge)
            self._trigger(rule, edge.at)
        elif incident is None or (episode := incident.episodes.get(edge.group)) is None or episode.resolved is not None:
            return
        else:
            _follow(episode, edge, why)
        incident.worst = max(incident.worst, edge.state.level)
        if edge.kind in (FIRED, CHANGED, RESOLVED):
            incident.revision += 1
            incident.changes.append((incident.revision, edge.at, edge.group, edge.kind))
            del incident.changes[:-MAX_CHANGES]
            self.news.append(News(edge.kind, edge.at, incident, incident.episodes[edge.group]))

    def _settle(self, incident: Incident, at: int) -> None:
        """What follows of all that happened at one moment."""
        self._texts.changed((_INCIDENT, incident.id))
        firing = incident.firing
        incident.level = max((each.level for each in firing), default=0)
        if not firing:
            incident.closed = at
            del self._open[incident.rule]
            self._let_go(incident)

    def _trigger(self, rule: str, at: int) -> None:
        self.triggered.pop(rule, None)
        self.triggered[rule] = at
        if len(self.triggered) > MAX_TRIGGERED:
            del self.triggered[next(iter(self.triggered))]

    def _begin(self, rule: str, channels: list[str], at: int, name: str, metric: str) -> None:
        incident = Incident(f"incident_{rule.removeprefix('alert_')}_{at}", rule, at, name=name, metric=metric)
        incident.deliveries = {channel: Delivery() for channel in channels}
        self._open[rule] = self.incidents[incident.id] = incident
        untold = [each for each in self.incidents.values() if each.rule == rule and each.closed is not None]
        for each in untold[: max(0, len(untold) - MAX_UNTOLD)]:
            for channel, delivery in each.deliveries.items():
                if not delivery.ended:
                    self._failed(each.id, channel, at, "", "", "newer alerts of the same rule wait as well", None)

    def _fire(self, incident: Incident, edge: Edge) -> None:
        state = edge.state
        incident.fired += 1
        episode = incident.episodes[edge.group] = Episode(
            f"{incident.id}_{incident.fired}", incident.rule, edge.group, state.level,
            min((since for since in state.since if since), default=edge.at), edge.at, state.cause, state.level,
            state.value, state.peak, state.peak_at,
        )  # fmt: skip
        self._history.add(episode)

    def _let_go(self, incident: Incident) -> None:
        """Nothing is left to be said of it."""
        over = incident.closed is not None and all(each.ended for each in incident.deliveries.values())
        if over and self.incidents.pop(incident.id, None) is not None:
            self.closed.append(incident)

    def _sent(
        self, incident: str, channel: str, at: int, kind: str, message: str, revision: int, ids: dict[str, str],
        tries: int, last: bool,
    ) -> None:  # fmt: skip
        found = self._changing(incident)
        if found is None:
            return
        found.deliveries[channel] = Delivery(max(revision, 1), at, last, ids)
        if kind == REPEATED:
            self._trigger(found.rule, at)
            self.news += [News(REPEATED, at, found, each) for each in found.firing[:1]]
        self._record(Record(at, incident, found.rule, channel, kind, "sent", "", message, tries))
        self._let_go(found)

    def _failed(
        self, incident: str, channel: str, at: int, kind: str, message: str, reason: str, retry: int | None,
        tries: int = 0,
    ) -> None:  # fmt: skip
        """retry: None gives up what was to be said; a later change of the incident is told all the same."""
        found = self._changing(incident)
        if found is None:
            return
        delivery = found.deliveries.setdefault(channel, Delivery())
        delivery.tries, delivery.error, delivery.retry = tries, reason, retry or 0
        outcome = "failed"
        if retry is None:
            outcome, delivery.told, delivery.at, delivery.tries = "gave_up", max(found.revision, 1), at, 0
            delivery.ended = found.closed is not None
        self._record(Record(at, incident, found.rule, channel, kind, outcome, reason, message, tries))
        self._let_go(found)

    def _hold(self, incident: str, channel: str, at: int, why: str, ended: bool) -> None:
        found = self._changing(incident)
        if found is None:
            return
        delivery = found.deliveries.setdefault(channel, Delivery())
        delivery.held, delivery.ended = why, ended
        if why:
            self._record(Record(at, incident, found.rule, channel, "", "held", why, "", 0))
        self._let_go(found)

    def _acknowledge(self, incident: str, who: str) -> None:
        if (found := self._changing(incident)) is not None:
            found.acknowledged = who
            found.revision += 1

    def _snooze(self, incident: str, who: str, until: int) -> None:
        if (found := self._changing(incident)) is not None:
            found.snoozed = until

    def _changing(self, incident: str) -> Incident | None:
        """An incident that is about to change."""
        self._texts.changed((_INCIDENT, incident))
        return self.incidents.get(incident)

    def _record(self, record: Record) -> None:
        if record not in islice(reversed(self.records), RECENT):  # the mark may have been written twice
            self.records.append(record)
            self._texts.changed(_RECORDS)

    # keeping

    def save(self) -> bytes:
        """All of it, as JSON."""
        of = self._texts.of
        alerts = {
            rule: of((_STATES, rule), partial(states_text, states)) for rule, states in self.alerts.items()
        }  # fmt: skip
        incidents = [
            of((_INCIDENT, each.id), partial(incident_text, each))
            for each in (*self.closed, *self.incidents.values())
        ]  # fmt: skip
        records = of(_RECORDS, lambda: json.dumps(list(self.records), separators=(",", ":")))
        self._texts.written()
        rest = {
            "triggered": self.triggered, "version": self.version, "looks": self.looks, "asks": self.asks,
        }  # fmt: skip
        parts = {"alerts": _object(alerts), "incidents": f"[{','.join(incidents)}]"}
        parts |= {"episodes": _object(self._history.text()), "records": records}
        parts |= {name: json.dumps(value) for name, value in rest.items()}
        return _object(parts).encode()

    def restore(self, data: bytes) -> None:
        """The inverse of `save`, on a new book."""
        told = json.loads(data)
        self.version, self.triggered, self.asks = told["version"], told["triggered"], told["asks"]
        # Older books know one look at all.
        looks = told.get("looks") or [[told["looked"], told["reached"], told["listening"]]] * PARTITIONS
        self.looks = [Look(*each) for each in looks]
        self.records.extend(Record(*each) for each in told["records"])
        for rule, states in told["alerts"].items():
            self.alerts[rule] = {read_group(group): read_state(state) for group, state in states}
        by_id: dict[str, Episode] = {}
        self._history.restore(told["episodes"], by_id)
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
    "ack": Book._acknowledge, "snooze": Book._snooze,
}  # fmt: skip


def _object(members: Mapping[str, str]) -> str:
    """A JSON object of members that are JSON already."""
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in members.items()) + "}"


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
