"""What channels are told of incidents, and when: stage by stage, and over random days."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.matchers import parse
from engine.rules.book import Book
from engine.rules.marks import command, edges
from engine.rules.model import (
    CRITICAL,
    FIRED,
    FIRING,
    QUIET,
    RESOLVED,
    Edge,
    Group,
    Incident,
    Rule,
    Silence,
    State,
)
from engine.rules.routing import LAST_AFTER, REPEAT, UPDATE, Decision, Done, Hold, Send, Wait, decide
from server import notify
from tests.rules_support import T0, rule

A, B = (("host", "a"),), (("host", "b"),)
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
SLOW = rule(interval=30 * SECOND, repeat=4 * HOUR)


class Desk:
    """A book, what is told from it, and what it has to do with."""

    def __init__(self, of: Rule = SLOW) -> None:
        self.rule, self.book = of, Book()
        self.silences: list[Silence] = []
        self.muted: Callable[[int], bool] = lambda at: False
        self.others: list[dict[str, str]] = []

    def fire(self, at: int, group: Group = A) -> Incident:
        state = State(FIRING, CRITICAL, 0, (at, at), (0, 0), at, 5.0, 5.0, at, at, 5.0)
        return self._edge(at, group, FIRED, state)

    def resolve(self, at: int, group: Group = A) -> Incident:
        return self._edge(at, group, RESOLVED, replace(QUIET, last=1.0))

    def silence(self, matchers: str, start: int, end: int) -> None:
        self.silences.append(Silence("s", parse(matchers), start, end, "maintenance"))

    def say(self, at: int, incident: Incident | None = None) -> Decision:
        found = incident or next(iter(self.book.incidents.values()))
        return decide(self.rule, found, "slack", at, self.silences, self.muted, self.others)

    def tell(self, at: int, incident: Incident | None = None) -> str:
        """Sends what is to be sent; its kind, or what there is instead."""
        found = incident or next(iter(self.book.incidents.values()))
        decision = self.say(at, found)
        if not isinstance(decision, Send):
            return type(decision).__name__.lower()
        members = {"at": at, "message": "m", "ids": {}, "tries": 1, "last": decision.kind == RESOLVED}
        self.do("sent", found, kind=decision.kind, revision=decision.revision, **members)
        return decision.kind

    def do(self, what: str, incident: Incident, **members: Any) -> None:
        given = members if what in ("ack", "snooze") else {"channel": "slack", **members}
        self.book.take(command(what, incident=incident.id, **given))

    def _edge(self, at: int, group: Group, kind: str, state: State) -> Incident:
        before = self.book.open(self.rule.id)
        self.book.take(edges(self.rule.id, ["slack"], [Edge(group, kind, at, state)]))
        found = self.book.open(self.rule.id) or before
        assert found is not None
        return found


def test_the_first_message_goes_at_once_and_the_last_a_second_after() -> None:
    desk = Desk()
    incident = desk.fire(T0)
    assert desk.tell(T0) == FIRING
    assert desk.say(T0) == Wait(T0 + SLOW.repeat)
    desk.resolve(T0 + 400)
    assert desk.say(T0 + 400) == Wait(T0 + LAST_AFTER)
    assert desk.tell(T0 + LAST_AFTER) == RESOLVED
    assert desk.say(T0 + LAST_AFTER, incident) == Done()
    assert decide(SLOW, incident, "email", T0, [], desk.muted, []) == Done(), "a channel it does not go to"


def test_what_ends_before_it_was_told_is_told_all_the_same() -> None:
    desk = Desk()
    desk.fire(T0)
    desk.resolve(T0 + 10)
    assert [desk.tell(at) for at in (T0 + 500, T0 + 600, T0 + 1500)] == [FIRING, "wait", RESOLVED]


def test_changes_are_updates_that_keep_their_distance() -> None:
    desk = Desk()
    desk.fire(T0)
    assert desk.tell(T0) == FIRING
    desk.fire(T0 + 1000, B)
    desk.resolve(T0 + 2000, A)
    assert desk.say(T0 + 2000) == Wait(T0 + SLOW.interval)
    assert desk.say(T0 + SLOW.interval) == Send(UPDATE, 3)
    assert desk.tell(T0 + SLOW.interval) == UPDATE
    assert desk.tell(T0 + SLOW.interval + 1) == "wait", "a revision is told once"


def test_repeats_until_it_is_over_or_acknowledged() -> None:
    desk = Desk()
    incident = desk.fire(T0)
    assert [desk.tell(T0 + hours * HOUR) for hours in (0, 3, 4, 7, 8)] == [FIRING, "wait", REPEAT, "wait", REPEAT]
    desk.do("ack", incident, who="ann")
    assert [desk.tell(T0 + hours * HOUR) for hours in (9, 12, 20)] == [UPDATE, "wait", "wait"]
    assert desk.say(T0 + 21 * HOUR) == Wait(None)
    desk.resolve(T0 + 22 * HOUR)
    assert desk.tell(T0 + 22 * HOUR) == RESOLVED
    never = Desk(replace(SLOW, repeat=0))
    never.fire(T0)
    assert never.tell(T0) == FIRING and never.say(T0 + 1) == Wait(None)


def test_a_silence_holds_until_it_ends() -> None:
    desk = Desk()
    desk.silence('{host="a"}', T0, T0 + MINUTE)
    desk.fire(T0)
    assert desk.say(T0) == Hold("silenced: maintenance", T0 + MINUTE)
    assert desk.tell(T0 + MINUTE) == FIRING


def test_nobody_hears_of_what_ended_while_it_was_held() -> None:
    for hold in ("silence", "mute", "snooze", "inhibit"):
        desk = Desk(replace(SLOW, inhibited_by=parse('{severity="critical"}')))
        incident = desk.fire(T0)
        if hold == "silence":
            desk.silence("{}", T0, T0 + MINUTE)
        elif hold == "mute":
            desk.muted = lambda at: at < T0 + MINUTE
        elif hold == "snooze":
            desk.do("snooze", incident, who="ann", until=T0 + MINUTE)
        else:
            desk.others = [{"alert": "Down", "severity": "critical"}]
        held = desk.say(T0 + 1)
        assert isinstance(held, Hold), hold
        # The book has it held; when it ended the hold had not, whatever has become of it since.
        desk.do("held", incident, at=T0 + 1, why=held.why, ended=False)
        desk.resolve(T0 + 2000)
        desk.others = []
        for later in (T0 + 2000, T0 + 2 * MINUTE):
            assert isinstance(desk.say(later, incident), Done), hold


def test_what_was_held_once_and_then_not_taken_is_told_after_its_end() -> None:
    desk = Desk()
    incident = desk.fire(T0)
    desk.do("held", incident, at=T0, why="snoozed", ended=False)
    desk.do("failed", incident, at=T0 + 1000, kind=FIRING, message="m", reason="503", retry=T0 + 1500, tries=1)
    desk.resolve(T0 + 2000)
    desk.muted = lambda at: T0 + 2000 < at < T0 + 3000
    assert isinstance(desk.say(T0 + 2500), Hold), "it is a mute time now, but was none when it ended"
    assert [desk.tell(T0 + at) for at in (3000, 4000)] == [FIRING, RESOLVED]


def test_what_was_told_is_resolved_whatever_holds_the_rest() -> None:
    desk = Desk(replace(SLOW, inhibited_by=parse('{alert="Down"}')))
    incident = desk.fire(T0)
    assert desk.tell(T0) == FIRING
    desk.silence("{}", T0, T0 + HOUR)
    desk.others = [{"alert": "Down"}]
    desk.do("snooze", incident, who="ann", until=T0 + HOUR)
    desk.resolve(T0 + 2000)
    desk.muted = lambda at: at < T0 + MINUTE
    assert desk.say(T0 + 2000) == Hold("muted", (T0 + 2000) // MINUTE * MINUTE + MINUTE)
    assert desk.tell(T0 + MINUTE) == RESOLVED


def test_a_silenced_alert_causes_no_message_of_an_incident_that_others_share() -> None:
    desk = Desk()
    desk.silence('{host="b"}', T0, T0 + HOUR)
    desk.fire(T0, A)
    assert desk.tell(T0) == FIRING
    desk.fire(T0 + 1000, B)
    assert desk.say(T0 + MINUTE) == Wait(T0 + HOUR), "when the silence ends"
    desk.resolve(T0 + 2000, A)
    assert desk.say(T0 + MINUTE) == Send(UPDATE, 3), "the end of one that is not silenced is news"
    desk.fire(T0 + 2 * MINUTE, A)
    desk.resolve(T0 + 3 * MINUTE, A)
    assert desk.tell(T0 + 4 * MINUTE) == UPDATE
    assert isinstance(desk.say(T0 + 4 * MINUTE), Wait)


def test_the_end_of_a_silence_makes_news_of_what_was_silenced() -> None:
    desk = Desk()
    desk.silence('{host="b"}', T0, T0 + HOUR)
    desk.fire(T0, A)
    assert desk.tell(T0) == FIRING
    desk.fire(T0 + 1000, B)
    assert isinstance(desk.say(T0 + HOUR - 1), Wait)
    assert desk.say(T0 + HOUR) == Send(UPDATE, 2)


def test_an_alert_of_another_rule_inhibits_while_it_fires() -> None:
    desk = Desk(replace(SLOW, inhibited_by=parse('{severity="critical",zone=""}')))
    desk.fire(T0)
    desk.others = [{"alert": "Disk", "severity": "warning"}, {"alert": "Down", "severity": "critical"}]
    assert desk.say(T0) == Hold("inhibited by Down")
    desk.others = [{"alert": "Down", "severity": "critical", "zone": "x"}]
    assert desk.tell(T0 + 1) == FIRING

    def unread() -> Iterable[dict[str, str]]:
        raise AssertionError("nobody asked")
        yield {}

    assert isinstance(decide(SLOW, desk.fire(T0 + 2, B), "slack", T0 + HOUR, [], desk.muted, unread()), Send)


def test_a_silence_that_begins_after_the_end_keeps_back_what_nobody_was_told() -> None:
    desk = Desk()
    desk.do("failed", desk.fire(T0), at=T0, kind=FIRING, message="m", reason="503", retry=T0 + 2000, tries=1)
    desk.resolve(T0 + 1000)
    assert desk.say(T0 + 2000) == Send(FIRING, 2)
    desk.silence("{}", T0 + 1500, T0 + HOUR)
    assert desk.say(T0 + 2000) == Done("silenced: maintenance"), "it would stand in the way of the rule's next one"


def test_retries_come_when_the_channel_says() -> None:
    desk = Desk()
    incident = desk.fire(T0)
    desk.do("failed", incident, at=T0, kind=FIRING, message="m", reason="503", retry=T0 + 2000, tries=1)
    assert desk.say(T0 + 1999) == Wait(T0 + 2000)
    desk.resolve(T0 + 1000)
    assert [desk.tell(T0 + at) for at in (2000, 2500, 3000)] == [FIRING, "wait", RESOLVED]


Step = tuple[int, str, Group]
steps = st.lists(
    st.tuples(
        st.sampled_from([100, 900, 5000, 40_000, 400_000]),
        st.sampled_from(["fire", "fire", "fire", "end", "end", "ack", "fail", "fail", "tick"]), st.sampled_from([A, B]),
    ),
    max_size=40,
)  # fmt: skip
spans = st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(1000, 600_000)), max_size=3)


def day(desk: Desk, events: Sequence[Step], again: int = 7_000) -> dict[str, list[tuple[int, str]]]:
    """What the channel took of each incident, when everything is looked at twice a second for as long as it takes."""
    told: dict[str, list[tuple[int, str]]] = defaultdict(list)
    at, firing, failing = T0, set(), 0

    def look(until: int) -> None:
        nonlocal at, failing
        while at < until:
            for incident in list(desk.book.incidents.values()):
                decision = desk.say(at, incident)
                if isinstance(decision, Send) and failing:
                    failing -= 1
                    members = {"at": at, "kind": decision.kind, "message": "m", "reason": "no", "tries": 1}
                    desk.do("failed", incident, retry=at + again, **members)
                elif isinstance(decision, Hold | Done):
                    desk.do("held", incident, at=at, why=decision.why, ended=isinstance(decision, Done))
                elif isinstance(decision, Send):
                    told[incident.id].append((at, desk.tell(at, incident)))
            at += 500 if until - at < 20_000 else 10_000

    for pause, what, group in events:
        look(at + pause)
        if what == "fire" and group not in firing:
            desk.fire(at, group)
            firing.add(group)
        elif what == "end" and group in firing:
            desk.resolve(at, group)
            firing.discard(group)
        elif what == "fail":
            failing += 1
        elif what == "ack" and (incident := desk.book.open(desk.rule.id)) is not None:
            desk.do("ack", incident, who="ann")
    for group in firing:
        desk.resolve(at, group)
    look(at + 4_000_000)
    return told


def _check(desk: Desk, told: dict[str, list[tuple[int, str]]]) -> None:
    assert not desk.book.incidents, "everything comes to an end"
    apart = {UPDATE: desk.rule.interval, REPEAT: desk.rule.repeat, RESOLVED: LAST_AFTER}
    for messages in told.values():
        kinds = [kind for _, kind in messages]
        assert kinds[0] == FIRING and kinds[-1] == RESOLVED
        assert kinds.count(FIRING) == kinds.count(RESOLVED) == 1
        for (before, _), (at, kind) in itertools.pairwise(messages):
            assert at - before >= apart[kind]


@settings(max_examples=150, deadline=None)
@given(steps)
def test_every_incident_is_told_once_and_resolved_once(events: list[Step]) -> None:
    desk = Desk(replace(SLOW, repeat=300_000))
    told = day(desk, events)
    assert set(told) == {each.id for each in desk.book.closed}
    _check(desk, told)


@settings(max_examples=150, deadline=None)
@given(steps, spans, spans)
@example([(100, "fail", A), (100, "fire", A), (100, "fail", A)], [(15_358, 6_143)], [])
def test_what_is_held_is_told_later_or_never_and_never_in_between(
    events: list[Step], silences: list[tuple[int, int]], mutes: list[tuple[int, int]]
) -> None:
    desk = Desk(replace(SLOW, repeat=300_000))
    for start, length in silences:
        desk.silence('{host="a"}' if start % 2 else "{}", T0 + start, T0 + start + length)
    desk.muted = lambda at: any(start <= at - T0 < start + length for start, length in mutes)
    told = day(desk, events)
    _check(desk, told)
    whole = [each for each in desk.silences if not each.matchers]
    for messages in told.values():
        for at, kind in messages:
            assert not desk.muted(at)
            assert kind in (RESOLVED, UPDATE) or not any(each.start <= at < each.end for each in whole)


def test_the_words_are_those_of_messages() -> None:
    assert (notify.FIRING, notify.UPDATE, notify.REPEAT, notify.RESOLVED) == (FIRING, UPDATE, REPEAT, RESOLVED)
