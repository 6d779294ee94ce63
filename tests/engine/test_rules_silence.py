"""Silences and mute times, on days of 23 and 25 hours too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from engine.matchers import parse
from engine.rules.model import MuteTime, Silence
from engine.rules.silence import labels_of, matches, muted, silence_of
from tests.rules_support import T0, rule

GROUP = (("host", "web1"), ("severity", "of a group"))
MINUTE = 60_000
EVERY_DAY = tuple(range(7))


def offset(tz: str, moment: int) -> int:
    ahead = datetime.fromtimestamp(moment / 1000, ZoneInfo(tz)).utcoffset()
    assert ahead is not None
    return ahead // timedelta(milliseconds=1)


def silence(name: str, matchers: str, start: int = T0, end: int = T0 + 1000) -> Silence:
    return Silence(name, parse(matchers), start, end)


def test_labels_name_the_rule_and_the_group() -> None:
    paging = rule(severity="page", labels=(("team", "db"), ("host", "of the rule")))
    assert labels_of(paging, GROUP) == {
        "host": "of the rule", "severity": "page", "team": "db", "alert": "Slow", "alert_id": "alert_1",
    }  # fmt: skip
    assert labels_of(rule(), GROUP)["severity"] == "of a group"


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ('{host="web1"}', True), ('{host=~"web.*",alert="Slow"}', True), ('{host=~"web"}', False),
        ('{team=""}', True), ('{team!="db"}', True), ('{team="db"}', False), ("{}", True),
    ],
)  # fmt: skip
def test_all_matchers_have_to_hold(matchers: str, expected: bool) -> None:
    assert matches(parse(matchers), labels_of(rule(), GROUP)) == expected


def test_a_silence_covers_from_its_start_to_before_its_end() -> None:
    labels = labels_of(rule(), GROUP)
    short, long = silence("short", '{host="web1"}'), silence("long", "{}", end=T0 + 9000)
    other = silence("other", '{host="web2"}', end=T0 + 99_000)
    for at, expected in ((T0 - 1, None), (T0, long), (T0 + 8999, long), (T0 + 9000, None)):
        assert silence_of([short, long, other], labels, at) == expected
    assert silence_of([short], labels, T0 + 999) == short and silence_of([short], labels, T0 + 1000) is None


def minutes_muted(time: MuteTime, day: str) -> list[str]:
    """The clock's times, of each minute of a local day, at which a rule is mute."""
    zone = ZoneInfo(time.tz)
    moment = datetime.fromisoformat(day).replace(tzinfo=zone).astimezone(UTC)
    found = []
    while (local := moment.astimezone(zone)).date().isoformat() == day:
        if muted([time], int(moment.timestamp() * 1000), offset):
            found.append(f"{local:%H:%M}")
        moment += timedelta(minutes=1)
    return found


def test_a_mute_time_within_a_day() -> None:
    found = minutes_muted(MuteTime((0,), 9 * 60, 17 * 60 + 30, "Europe/Berlin"), "2026-01-05")  # a Monday
    assert (found[0], found[-1], len(found)) == ("09:00", "17:29", 510)
    assert not minutes_muted(MuteTime((0,), 0, 1440), "2026-01-06")
    assert len(minutes_muted(MuteTime((6,), 0, 0, "Asia/Kathmandu"), "2026-01-04")) == 1440, "equal ends: a whole day"


def test_a_mute_time_over_midnight_belongs_to_the_day_it_begins() -> None:
    night = MuteTime((4,), 22 * 60, 6 * 60)  # Friday's
    friday, saturday = minutes_muted(night, "2026-01-02"), minutes_muted(night, "2026-01-03")
    assert (friday[0], friday[-1], len(friday)) == ("22:00", "23:59", 120)
    assert (saturday[0], saturday[-1], len(saturday)) == ("00:00", "05:59", 360)
    sunday = MuteTime((6,), 22 * 60, 6 * 60)
    assert len(minutes_muted(sunday, "2026-01-05")) == 360, "the day before Monday is Sunday"


def test_days_of_23_and_25_hours() -> None:
    early = MuteTime(EVERY_DAY, 60, 4 * 60, "Europe/Berlin")  # 01:00 to 04:00
    assert len(minutes_muted(early, "2026-03-29")) == 120, "02:00 to 03:00 is skipped"
    twice = minutes_muted(early, "2026-10-25")
    assert len(twice) == 240 and twice.count("02:30") == 2
    skipped = MuteTime(EVERY_DAY, 120, 180, "Europe/Berlin")
    assert minutes_muted(skipped, "2026-03-29") == []
