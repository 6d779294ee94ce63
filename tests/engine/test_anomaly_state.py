"""The anomaly detector's state: batches, snapshots, and what it says of its series."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.anomaly import ROW_BYTES, Detector
from engine.anomaly.episodes import THRESHOLD
from engine.anomaly.history import REACH
from engine.anomaly.snapshot import _HEAD, _RECORD, VERSION
from engine.errors import BadCheckpoint
from engine.model import Floats
from tests.engine.anomaly_support import alarms, broken, quiet

KINDS = ("daily", "counts", "flat", "jobs")


def table(points: int) -> Floats:
    """A few series with faults."""
    rows = [broken(quiet(kind, points, seed), "higher", points * 2 // 3) for seed, kind in enumerate(KINDS)]
    return np.array(rows)


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_scores_do_not_depend_on_batches_snapshots_or_order(data: st.DataObject) -> None:
    points = 260
    values = table(points)
    absent = np.random.default_rng(data.draw(st.integers(0, 1 << 20))).random(values.shape) < 0.05
    values[absent] = np.nan
    alone = np.array([alarms(row[None])[0][0] for row in values])
    saved = set(data.draw(st.lists(st.integers(0, points - 1), max_size=4)))
    order = np.array(data.draw(st.permutations(range(len(values)))))
    split = data.draw(st.integers(0, len(values)))
    detector = Detector(len(values))
    for at in range(points):
        if at in saved:
            detector = Detector.restore(detector.save(), len(values))
        for part in (order[:split], order[split:]):
            scores = detector.observe(part, values[part, at], at).scores
            np.testing.assert_array_equal(scores, alone[part, at])


def test_series_that_come_later_change_nothing_for_the_others() -> None:
    values = table(240)
    detector, few, many = Detector(50), np.arange(3), np.arange(17)
    scores = [detector.observe(few, column[:3], at).scores for at, column in enumerate(values[:, :150].T)]
    scores += [
        detector.observe(many, np.resize(column, 17), at).scores[:3] for at, column in enumerate(values[:, 150:].T)
    ]
    np.testing.assert_array_equal(np.array(scores).T, alarms(values[:3])[0])


def test_a_snapshot_goes_on_exactly_where_memory_is_full() -> None:
    values = table(4700)
    straight = Detector(4)
    before = alarms(values[:, :4400], straight)
    other = Detector.restore(straight.save(), 7)
    assert other.save() == straight.save()
    for one, two in zip(alarms(values[:, 4400:], straight, 4400), alarms(values[:, 4400:], other, 4400), strict=True):
        np.testing.assert_array_equal(one, two)
    assert other.save() == straight.save()
    assert other.ranking() == straight.ranking()
    assert [other.past(number) for number in range(4)] == [straight.past(number) for number in range(4)]
    assert before[1].any(), "there were episodes to keep"
    assert straight.nbytes == 4 * ROW_BYTES <= 4 * 65_536
    assert len(straight.save()) < straight.nbytes


def test_a_snapshot_of_more_series_than_there_is_room_for() -> None:
    detector = Detector(4)
    alarms(table(50), detector)
    fewer = Detector.restore(detector.save(), 2)
    assert sorted(fewer.rows) == [0, 1]
    assert Detector.restore(Detector(3).save()).ranking() == []


@pytest.fixture(scope="module")
def short() -> bytes:
    """What is saved of two series with 120 points."""
    detector = Detector(2)
    alarms(table(120)[:2], detector)
    return detector.save()


@settings(deadline=None)
@given(st.data())
def test_what_save_cannot_have_written_is_refused(short: bytes, data: st.DataObject) -> None:
    saved = bytearray(short)
    if data.draw(st.booleans()):
        saved[data.draw(st.integers(0, len(saved) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        saved = saved[: data.draw(st.integers(0, len(saved) - 1))]
    with pytest.raises(BadCheckpoint):
        Detector.restore(bytes(saved), 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("points", 0), ("points", 1 << 40), ("points", -1), ("distances", 1 << 40), ("distances", -5)),
        *(("began", 500), ("loud", -1), ("alive", 1 << 50), ("episodes", -1), ("episodes", 3), ("series", 1)),
        *(("largest", np.nan), ("largest", -1.0), ("score", np.nan), ("steepness", 1e9), ("points", 119)),
    ],
)
def test_numbers_that_do_not_fit_are_refused(short: bytes, name: str, value: float) -> None:
    saved = bytearray(short)
    records = np.frombuffer(saved, _RECORD, 2, _HEAD.size)
    records[name][0] = value
    magic, _, number, _ = _HEAD.unpack_from(saved)
    _HEAD.pack_into(saved, 0, magic, VERSION, number, zlib.crc32(saved[_HEAD.size :]))
    with pytest.raises(BadCheckpoint):
        Detector.restore(bytes(saved), 2)


@pytest.mark.parametrize("data", [b"", b"SGAN", struct.pack("<4sHII", b"SGAN", VERSION + 1, 0, 0), b"x" * 100])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadCheckpoint):
        Detector.restore(data)


def test_a_forgotten_series_begins_anew() -> None:
    values = table(500)
    fresh, _ = alarms(values[:1])
    detector = Detector(1)
    alarms(values[3:], detector)
    detector.forget(0)
    detector.forget(99)
    assert (len(detector), detector.nbytes, detector.past(0), detector.ranking()) == (0, 0, [], [])
    np.testing.assert_array_equal(alarms(values[:1], detector)[0], fresh)


def test_series_beyond_the_limit_are_counted_and_not_watched() -> None:
    detector = Detector(2)
    names = np.array([7, -3, 9])
    verdicts = detector.observe(names, np.array([1.0, 2.0, 3.0]), 0)
    assert np.isnan(verdicts.scores).tolist() == [False, False, True]
    assert detector.unwatched == 1
    detector.observe(names, np.array([1.0, 2.0, np.nan]), 1)
    assert detector.unwatched == 1, "no point, nothing missed"
    detector.forget(7)
    assert not np.isnan(detector.observe(names[2:], np.array([3.0]), 2).scores[0])
    with pytest.raises(ValueError, match="twice"):
        detector.observe(np.array([9, 9]), np.zeros(2), 3)


def test_a_series_without_points_takes_no_room() -> None:
    detector = Detector(1)
    verdicts = detector.observe(np.array([1]), np.array([np.nan]), 0)
    assert (len(detector), verdicts.anomalous.tolist(), verdicts.peaks.tolist()) == (0, [False], [0.0])
    assert len(detector.observe(np.array([], np.int64), np.array([]), 0).scores) == 0


def test_the_ranking_says_what_is_unusual_and_what_would_be_usual() -> None:
    points = 2000
    values = np.array([quiet("daily", points, 1), quiet("noise", points, 2), quiet("counts", points, 3)])
    values[1, -20:] += 30
    detector = Detector(8)
    verdicts = [detector.observe(np.arange(3), column, 60_000 * at) for at, column in enumerate(values.T)]
    first, second, third = detector.ranking()
    assert first.series == 1
    assert first.anomalous
    assert not second.anomalous
    assert second.score >= third.score
    assert first.since is not None
    assert 0 <= first.since // 60_000 - (points - 20) <= 5
    assert (first.value, first.at) == (values[1, -1], 60_000 * (points - 1))
    assert first.peak == verdicts[-1].peaks[1] >= THRESHOLD
    assert verdicts[-1].anomalous.tolist() == [False, True, False]
    assert first.low == pytest.approx(10 - 1.645, abs=0.3)
    assert first.middle == pytest.approx(10, abs=0.2)
    assert first.high == pytest.approx(10 + 1.645, abs=0.3), "the fault itself is no part of what is typical"
    assert first.likely is not None
    assert first.likely[1] < 20
    daily = next(one for one in (second, third) if one.series == 0)
    assert daily.likely is not None
    assert daily.likely[0] - 4 < daily.value < daily.likely[1] + 4
    assert daily.likely[1] - daily.likely[0] < (daily.high - daily.low) / 2, "it knows the time of day"
    assert [one.series for one in detector.ranking(1)] == [1]
    begin, end, peak = detector.past(1)[0]
    assert (begin, end, peak) == (first.since, None, first.peak)
    later = quiet("noise", 200, 4)
    for at, value in enumerate(later.tolist()):
        detector.observe(np.array([1]), np.array([value]), 60_000 * (points + at))
    assert detector.past(1)[0].begin == begin
    assert detector.past(1)[0].end is not None
    assert len(detector.histories.newest(detector.rows[1])) == points + 200 < REACH
