"""Replays by example: episodes, flaps, what only was pending, whom it would have been told, and what is too much."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np

from engine.matchers import parse
from engine.rules import replay as replays
from engine.rules import replay_messages
from engine.rules.model import CONDITION, CRITICAL, SILENT, Group, Rule, Silence
from engine.rules.replay import Past, Pending, replay
from tests.rules_support import NAN, T0, rule

A, B = (("host", "a"),), (("host", "b"),)
MINUTE = 60_000
TELLING = rule(channels=("slack", "email"), hold=MINUTE, query=replace(rule().query, group_by=("host",)))


def past(*rows: list[float], groups: tuple[Group, ...] = (A, B)) -> Past:
    """A reading each minute."""
    return Past(groups[: len(rows)], T0 + MINUTE * np.arange(len(rows[0])), np.array(rows))


def times(of: Past) -> tuple[int, int]:
    return int(of.times[0]), int(of.times[-1])


def test_episodes_with_their_values_and_what_was_only_pending() -> None:
    seen = past([1, 150, 150, 300, 1, 150, 1], [1, 1, 150, 1, 1, 150, 150])
    done = replay(TELLING, seen, *times(seen))
    first, second = done.episodes
    assert (first.group, first.since, first.fired, first.resolved) == (A, T0 + MINUTE, T0 + 2 * MINUTE, T0 + 4 * MINUTE)
    assert (first.value, first.peak, first.peak_at, first.resolved_value) == (150, 300, T0 + 3 * MINUTE, 1)
    assert (second.group, second.fired, second.resolved, second.worst) == (B, T0 + 6 * MINUTE, None, CRITICAL)
    assert done.pending == [
        Pending(B, T0 + 2 * MINUTE, T0 + 3 * MINUTE), Pending(A, T0 + 5 * MINUTE, T0 + 6 * MINUTE),
    ]  # fmt: skip
    assert done.flaps == {A: 1}, "of those that are over"
    assert (done.begin, done.episodes[0].cause) == (T0, CONDITION)


def test_messages_say_who_would_have_been_told_when() -> None:
    seen = past([1, 150, 150, 1, 1], [1, 1, 150, 150, 150])
    done = replay(replace(TELLING, hold=0), seen, times(seen)[0], times(seen)[1] + 5 * 3_600_000)
    slack = [(m.at - T0, m.kind, m.firing, m.groups) for m in done.messages if m.channel == "slack"]
    assert slack == [
        (MINUTE, "firing", 1, 1), (2 * MINUTE, "update", 2, 2), (3 * MINUTE, "update", 1, 2),
        (3 * MINUTE + 4 * 3_600_000, "repeat", 1, 2),
    ]  # fmt: skip
    assert [m.at for m in done.messages if m.channel == "email"] == [T0 + at for at, *_ in slack]


def test_silences_and_mute_times_hold_messages_back() -> None:
    seen = past([150, 150, 150, 1, 1, 1])
    silence = Silence("s", parse('{host="a"}'), T0, T0 + 2 * MINUTE)
    quick = replace(TELLING, hold=0, channels=("slack",))
    done = replay(quick, seen, *times(seen), silences=[silence])
    assert [(m.at - T0, m.kind) for m in done.messages] == [(2 * MINUTE, "firing"), (3 * MINUTE, "resolved")]
    done = replay(quick, seen, *times(seen), muted=lambda at: at < T0 + 5 * MINUTE)
    assert done.messages == [] and len(done.episodes) == 1, "it ended while nobody was to be told"


def test_silence_counts_for_groups_that_have_been_there() -> None:
    watched = replace(TELLING, hold=0, on_no_data="fire", silence_after=7 * MINUTE)  # the window is 5 minutes
    seen = past([NAN, NAN, NAN, NAN, NAN, NAN], [NAN, 1, NAN, NAN, NAN, 1])
    done = replay(watched, seen, *times(seen))
    (episode,) = done.episodes
    assert (episode.group, episode.cause, episode.fired - T0) == (B, SILENT, 3 * MINUTE)
    assert (episode.value, episode.resolved) == (None, T0 + 5 * MINUTE)
    whole = replay(replace(watched, silence_after=None), past([NAN, NAN], groups=((),)), T0, T0 + MINUTE)
    assert [each.fired for each in whole.episodes] == [T0], "a rule without groups has its one from the beginning"


def test_what_lies_before_the_beginning_only_tells_who_is_there() -> None:
    quiet = rule(kind="no_data", query=TELLING.query)
    done = replay(quiet, past([5, NAN, NAN, 7], [NAN, NAN, NAN, NAN]), T0 + 2 * MINUTE, T0 + 3 * MINUTE)
    assert [(each.group, each.fired, each.resolved) for each in done.episodes] == [
        (A, T0 + 2 * MINUTE, T0 + 3 * MINUTE)
    ]


def test_nothing_has_been() -> None:
    for seen in (Past([], np.empty(0, np.int64), np.empty((0, 0))), Past([A], np.empty(0, np.int64), np.empty((1, 0)))):
        done = replay(TELLING, seen, T0, T0 + MINUTE)
        assert (done.begin, done.episodes, done.pending, done.messages, done.flaps) == (T0, [], [], [], {})


def test_of_what_is_too_much_the_newest_part_is_replayed() -> None:
    flapping: Rule = replace(TELLING, hold=0)
    seen = past([1, 150] * 50, [150, 1] * 50)
    with patch.object(replays, "MAX_CHANGES", 41):
        done = replay(flapping, seen, *times(seen))
    assert done.begin == T0 + 80 * MINUTE
    assert len(done.episodes) == 20 and done.episodes[0].fired >= done.begin
    with patch.object(replay_messages, "MAX_MESSAGES", 7):
        assert len(replay(flapping, seen, *times(seen)).messages) == 7
