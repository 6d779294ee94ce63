"""The book of alerts: incidents, episodes, deliveries, and that it survives a restart at any point."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.engine import Engine
from engine.model import Entry, Mark
from engine.rules import book as books
from engine.rules import history
from engine.rules.book import Book
from engine.rules.marks import command, edges
from engine.rules.model import (
    BEGAN,
    CANCELLED,
    CHANGED,
    CRITICAL,
    FIRED,
    FIRING,
    NOTED,
    PENDING,
    QUIET,
    RESOLVED,
    WARNING,
    Edge,
    State,
)
from engine.terms import ASSIGN, PARTITIONS, Terms, partition_of

A, B = (("host", "a"),), (("host", "b"),)
RULE, CHANNELS = "alert_1", ["email", "slack"]


def firing(at: int, value: float = 5.0, level: int = CRITICAL) -> State:
    return State(FIRING, level, 0, (at, at), (0, 0), at, value, value, at, at, value)


def tell(book: Book, *changes: Edge, why: str = "") -> None:
    book.take(edges(RULE, CHANNELS, changes, why=why))


def sent(book: Book, incident: str, channel: str, at: int, kind: str = "firing", last: bool = False) -> None:
    found = book.find(incident)
    assert found is not None
    more = {"at": at, "kind": kind, "message": f"m{at}", "revision": found.revision, "ids": {"ts": "1"}, "tries": 1}
    book.take(command("sent", incident=incident, channel=channel, last=last, **more))


def test_an_incident_lasts_from_the_first_alert_to_the_last() -> None:
    book = Book()
    tell(book, Edge(A, BEGAN, 5, State(PENDING, CRITICAL, 0, (5, 5))))
    assert not book.incidents and book.states(RULE)[A].status == PENDING
    tell(book, Edge(A, FIRED, 10, firing(10)))
    incident = book.open(RULE)
    assert incident is not None and incident.opened == 10 and incident.revision == 1
    tell(book, Edge(B, FIRED, 20, firing(20, level=WARNING)))
    tell(book, Edge(A, RESOLVED, 30, replace(QUIET, last=1.0, peak=9.0, peak_at=25)), why="recovered")
    assert incident.closed is None and incident.level == WARNING and incident.worst == CRITICAL
    # One ends at the moment at which another begins: the incident goes on.
    tell(book, Edge(B, RESOLVED, 40, replace(QUIET, last=2.0)), Edge(A, FIRED, 40, firing(40)))
    assert book.open(RULE) is incident and incident.fired == 3
    tell(book, Edge(A, RESOLVED, 50, QUIET))
    assert incident.closed == 50 and book.open(RULE) is None and not book.alerts
    newest, second, first = book.episodes(RULE)
    assert (first.group, first.fired, first.resolved, first.peak, first.resolved_value) == (A, 10, 30, 9.0, 1.0)
    assert (second.group, newest.group, newest.resolved_value) == (B, A, None)
    assert [change[0] for change in incident.changes] == [1, 2, 3, 4, 5, 6]


def test_it_is_kept_until_every_channel_has_been_told_of_its_end() -> None:
    book = Book()
    tell(book, Edge(A, FIRED, 10, firing(10)))
    incident = book.open(RULE)
    assert incident is not None
    sent(book, incident.id, "email", 11)
    sent(book, incident.id, "slack", 11)
    tell(book, Edge(A, RESOLVED, 20, QUIET))
    sent(book, incident.id, "email", 21, "resolved", last=True)
    assert incident.id in book.incidents
    more = {"at": 22, "kind": "resolved", "message": "m", "reason": "500", "tries": 1}
    book.take(command("failed", incident=incident.id, channel="slack", retry=25, **more))
    assert incident.deliveries["slack"].retry == 25 and incident.id in book.incidents
    book.take(command("failed", incident=incident.id, channel="slack", retry=None, **more))
    assert not book.incidents and book.find(incident.id) is incident
    assert [record.outcome for record in book.records] == ["sent", "sent", "sent", "failed", "gave_up"]


def test_incidents_that_cannot_be_told_do_not_grow_for_ever() -> None:
    book = Book()
    for round in range(100):
        tell(book, Edge(A, FIRED, round * 10, firing(round * 10)))
        tell(book, Edge(A, RESOLVED, round * 10 + 5, QUIET))
    assert len(book.incidents) == books.MAX_UNTOLD + 1
    assert sum(record.outcome == "gave_up" for record in book.records) == 2 * (100 - books.MAX_UNTOLD - 1)


def test_episodes_are_bounded_by_rule_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_EPISODES", 30)
    monkeypatch.setattr(history, "MAX_OF_A_RULE", 20)
    book = Book()
    for number in range(50):
        for rule in ("alert_1", "alert_2") if number % 5 == 0 else ("alert_1",):
            book.take(edges(rule, [], [Edge(A, FIRED, number * 10, firing(number * 10))]))
            book.take(edges(rule, [], [Edge(A, RESOLVED, number * 10 + 5, QUIET)]))
    assert len(book.episodes("alert_1")) == 20 and len(book.episodes("alert_2")) == 10
    assert book.episodes("alert_1")[0].fired == 490


def test_only_who_holds_a_rule_decides_about_it_but_anybody_may_acknowledge() -> None:
    book, terms = Book(), Terms()
    dealt = [(3, "a", list(range(PARTITIONS))), (4, "b", [partition_of(RULE)])]
    terms.take(Mark(ASSIGN, text=json.dumps(dealt)))
    book.take(edges(RULE, [], [Edge(A, FIRED, 10, firing(10))], term=3), terms)
    assert not book.alerts
    book.take(edges(RULE, ["slack"], [Edge(A, FIRED, 10, firing(10))], term=4), terms)
    incident = book.open(RULE)
    assert incident is not None
    told = {"incident": incident.id, "channel": "slack", "at": 11, "why": "x", "ended": False}
    book.take(command("held", 3, **told), terms)
    assert not incident.deliveries["slack"].held
    book.take(command("held", 4, **told), terms)
    assert incident.deliveries["slack"].held == "x"
    book.take(command("ack", incident=incident.id, who="ann"), terms)
    book.take(command("snooze", incident=incident.id, who="ann", until=99), terms)
    book.take(command("something_new", what=1), terms)
    assert (incident.acknowledged, incident.snoozed) == ("ann", 99)
    book.take(command("looked", 3, at=5, position=6, since=0), terms)
    book.take(command("looked", 2, at=9, position=9, since=9), terms)
    assert {look.at for look in book.looks} == {0, 5} and book.looks[partition_of(RULE)].at == 0
    again = Book()
    again.restore(book.save())
    assert again.looks == book.looks


def test_it_is_part_of_the_engine_and_of_its_checkpoint() -> None:
    engine = Engine()
    engine.apply(Entry(1000, 7, 1, marks=[edges(RULE, CHANNELS, [Edge(A, FIRED, 900, firing(900))])]), 1)
    assert engine.book.open(RULE) is not None
    other = Book()
    other.restore(engine.book.save())
    assert other.save() == engine.book.save()


commands = st.lists(
    st.tuples(
        st.sampled_from([FIRED, RESOLVED, CHANGED, NOTED, BEGAN, CANCELLED, "sent", "last", "failed", "gave_up"]),
        st.sampled_from([A, B]), st.sampled_from(["alert_1", "alert_2"]), st.sampled_from(CHANNELS),
    ),
    max_size=30,
)  # fmt: skip


def _do(book: Book, number: int, what: str, group: object, rule: str, channel: str) -> None:
    at = number * 10
    if what in (FIRED, RESOLVED, CHANGED, NOTED, BEGAN, CANCELLED):
        state = QUIET if what in (RESOLVED, CANCELLED) else firing(at) if what != BEGAN else State(PENDING)
        book.take(edges(rule, CHANNELS, [Edge(group, what, at, state)]))  # type: ignore[arg-type]
        return
    for incident in list(book.incidents.values()):
        if incident.rule == rule:
            more = {"incident": incident.id, "channel": channel, "at": at, "kind": "update", "message": "m", "tries": 1}
            if what in ("sent", "last"):
                last = what == "last" and incident.closed is not None
                book.take(command("sent", revision=incident.revision, ids={"a": "b"}, last=last, **more))
            else:
                book.take(command("failed", reason="no", retry=at + 5 if what == "failed" else None, **more))


@given(commands, st.integers(0, 30))
def test_a_restart_in_between_changes_nothing(done: list[tuple[str, object, str, str]], cut: int) -> None:
    one, other = Book(), Book()
    for number, what in enumerate(done):
        if number == cut:
            again = Book()
            again.restore(other.save())
            assert again.save() == other.save()
            other = again
        _do(one, number, *what)
        _do(other, number, *what)
    assert one.save() == other.save()
    for incident in one.incidents.values():
        assert incident.closed is None or not all(each.ended for each in incident.deliveries.values())
        assert (incident.closed is None) == bool(incident.firing)
