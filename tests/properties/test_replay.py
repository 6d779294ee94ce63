"""A rule replayed as columns beside the same rule evaluated live, moment by moment, and told twice a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.matchers import parse
from engine.rules.book import Book
from engine.rules.marks import command, edges
from engine.rules.model import (
    BEGAN,
    CANCELLED,
    CONDITION,
    NO_DATA,
    RESOLVED,
    Edge,
    Group,
    Readings,
    Rule,
    Silence,
)
from engine.rules.replay import Past, replay
from engine.rules.routing import Done, Hold, Send, decide
from engine.rules.watched import Watched
from tests.rules_support import NAN, T0, VALUES, rules

START = T0 // 60_000 * 60_000
GROUPS: list[Group] = [(("host", "a"),), (("host", "b"),)]
CHANNELS = ("slack", "email")
Rows = list[list[float]]


class World(NamedTuple):
    """A rule, what it sees, and what keeps it from telling."""

    rule: Rule
    past: Past
    begin: int
    end: int
    silences: list[Silence]
    muted: Callable[[int], bool]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    given = draw(rules())
    grouped, each = draw(st.booleans()), given.kind != NO_DATA and draw(st.booleans())
    silence_after = draw(st.sampled_from([None, 4000 if each else given.query.range + 4000]))
    rule = replace(
        given, each=each, silence_after=silence_after, channels=CHANNELS[: draw(st.integers(0, 2))],
        query=replace(given.query, group_by=("host",) if grouped else ()),
        interval=draw(st.sampled_from([0, 30_000])), repeat=draw(st.sampled_from([0, 20_000, 600_000])),
    )  # fmt: skip
    moments = draw(st.lists(st.sampled_from([1000, 1000, 5000, 60_000]), min_size=1, max_size=25))
    times = START + np.cumsum(moments)
    row = st.lists(VALUES | st.just(NAN), min_size=len(times), max_size=len(times))
    rows = draw(st.lists(row, min_size=2, max_size=2)) if grouped else [draw(row)]
    silenced = draw(st.sampled_from(["", "{}", '{host="a"}']))
    start = draw(st.integers(0, 60)) * 1000
    silences = [Silence("s", parse(silenced), START + start, START + start + 30_000)] if silenced else []
    mute = draw(st.sampled_from([None, (0, 60_000), (60_000, 180_000)]))
    begin = int(times[0]) if given.kind != NO_DATA else int(times[draw(st.integers(0, len(times) - 1))])
    return World(
        rule, Past(GROUPS if grouped else [()], times, np.array(rows)), begin, int(times[-1]) + 700_000, silences,
        lambda at: mute is not None and mute[0] <= at - START < mute[1],
    )  # fmt: skip


def live(world: World) -> list[Edge]:
    """The edges of the evaluator, which looks at each moment."""
    rule, past, begin = world.rule, world.past, world.begin
    early = past.times < begin
    watched = Watched(rule, {}, int(past.times[0]))
    watched.know([g for g, row in zip(past.groups, past.values, strict=True) if not np.isnan(row[early]).all()])
    watched._seen["with_data"] = 0  # a replay knows that they have been silent for long
    found = []
    for at, column in zip(past.times[~early].tolist(), past.values.T[~early], strict=True):
        there = [
            number
            for number, value in enumerate(column)
            if value == value or (not rule.each and not rule.query.group_by)
        ]
        groups, values = [past.groups[number] for number in there], column[there]
        readings = Readings(at, groups, values, np.full(len(there), CONDITION, np.int8))
        found += watched.take(readings, partly=rule.each)
    return found


Message = tuple[int, str, str, int]


def told(world: World, changes: list[Edge]) -> list[Message]:
    """What a channel that takes everything would have had, looked at each second."""
    book, found = Book(), []
    left = sorted(changes, key=lambda edge: edge.at)
    for now in range(int(world.past.times[0]), world.end + 1, 1000):
        due = [edge for edge in left if edge.at == now]
        book.take(edges(world.rule.id, world.rule.channels, due))
        for incident in list(book.incidents.values()):
            for channel in world.rule.channels:
                for _ in range(3):
                    decision = decide(world.rule, incident, channel, now, world.silences, world.muted, ())
                    about = {"incident": incident.id, "channel": channel, "at": now}
                    if isinstance(decision, Send):
                        found.append((now, decision.kind, channel, len(incident.firing)))
                        more = {"revision": decision.revision, "ids": {}, "tries": 1, "message": "m"}
                        book.take(command("sent", kind=decision.kind, last=decision.kind == RESOLVED, **more, **about))  # type: ignore[arg-type]
                    elif isinstance(decision, Hold | Done):
                        ended = isinstance(decision, Done)
                        book.take(command("held", why=decision.why, ended=ended, **about))  # type: ignore[arg-type]
    return found


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_a_replay_is_what_would_have_been(world: World) -> None:
    done = replay(world.rule, world.past, world.begin, world.end, world.silences, world.muted)
    changes = live(world)
    fired = [edge for edge in changes if edge.kind == "firing"]
    ended = {(edge.group, edge.state.fired): edge for edge in changes if edge.kind == RESOLVED}
    assert done.begin == world.begin
    expected = []
    for edge in sorted(fired, key=lambda edge: edge.at):
        end = ended.get((edge.group, edge.at))
        state = end.state if end is not None else None
        expected.append((edge.group, edge.at, edge.state.value, edge.state.cause, end and end.at, state and state.last))
    found = [(e.group, e.fired, e.value, e.cause, e.resolved, e.resolved_value) for e in done.episodes]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    peaks = {(e.group, e.fired): (e.peak, e.peak_at) for e in done.episodes if e.resolved is not None}
    assert peaks == {key: (edge.state.peak, edge.state.peak_at) for key, edge in ended.items()}
    waits = [edge for edge in sorted(changes, key=lambda edge: edge.group) if edge.kind in (BEGAN, CANCELLED)]
    assert len(done.pending) == sum(edge.kind == CANCELLED for edge in waits)
    assert {(p.group, p.until) for p in done.pending} == {(e.group, e.at) for e in waits if e.kind == CANCELLED}
    messages = [(m.at, m.kind, m.channel, m.firing) for m in done.messages]
    assert sorted(messages) == sorted(told(world, changes))
