"""Anomalies: faults are found, quiet series stay quiet, and no value does harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.anomaly import THRESHOLD, Detector, alarms_per_day, threshold_for
from engine.anomaly.budget import LOWEST
from engine.anomaly.episodes import CALM, FROM, QUIET, RARER, REST, TO, WARM, Episodes, bar
from engine.anomaly.rarity import HIGHEST, MEMORY, UNKNOWN, Rarities
from tests.engine.anomaly_support import FAULTS, NOISY, REGULAR, alarms, broken, plain_distances, plain_scores, quiet

POINTS, AT = 1700, 1500


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    kinds = (*NOISY, *REGULAR)
    table = np.array([broken(quiet(kind, POINTS, 3), fault, AT) for kind in kinds])
    _, began = alarms(table)
    missed = [kind for kind, row in zip(kinds, began, strict=True) if not row[AT : AT + 60].any()]
    assert not missed


def test_what_is_regular_is_never_an_alarm() -> None:
    table = np.array([quiet(kind, 3000, 1) for kind in ("square", "flat")])
    table = np.concatenate([table, np.arange(3000.0)[None] * 7, 1e9 + np.arange(3000.0)[None] / 3])
    _, began = alarms(table)
    assert not began.any()


def test_false_alarms_keep_within_the_budget() -> None:
    points, each = 2600, 5
    table = np.array([quiet(kind, points, seed) for kind in NOISY for seed in range(each)])
    scores, began = alarms(table)
    watched = points - 600
    assert began[:, 600:].sum() > 20, "thresholds this low are reached: else nothing is tested"
    for threshold in (LOWEST, 2.2, 2.6, 3.0):
        seen = 0
        for row in scores[:, 600:]:
            rest = -1
            for at in np.flatnonzero(row >= threshold).tolist():
                if at >= rest:
                    seen, rest = seen + 1, at + REST
        allowed = alarms_per_day(threshold, watched) * len(table)
        assert seen <= allowed, f"{seen} alarms at {threshold}, at most {allowed:.0f} are allowed"


def test_a_budget_for_paging_is_kept_beyond_what_the_ranks_can_say() -> None:
    random = np.random.default_rng(5)
    points = 24_000
    table = np.array([random.normal(size=points), np.exp(random.normal(size=points)), random.exponential(size=points)])
    distances = np.abs(table) + 0.1
    rarities, rows = Rarities(3), np.arange(3)
    scores = np.array([rarities.scores(rows, column) for column in distances.T])[MEMORY:]
    days = scores.size / 1440
    for budget in (0.2, 0.05):
        level = threshold_for(budget, 1440)
        assert level > np.log10(MEMORY), "the ranks alone end here"
        seen = int((scores >= level).sum())
        assert seen <= budget * days + 3 * np.sqrt(budget * days)
    scored = rarities.scores(rows, np.full(3, 1000.0))
    assert (scored >= 4.5).all(), "and what is far beyond is paged"


def test_what_has_never_happened_is_as_rare_as_it_can_be_told_and_rarer_as_it_goes_on() -> None:
    rarities, row = Rarities(1), np.array([0])
    for _ in range(700):
        assert rarities.scores(row, np.zeros(1))[0] == 0
    first, more, less = (float(rarities.scores(row, np.array([distance]))[0]) for distance in (1.0, 2.0, 1.5))
    assert first == pytest.approx(np.log10(701))
    assert more == pytest.approx(np.log10(702) + UNKNOWN * np.log10(2))
    assert less == pytest.approx(np.log10(703 / 2))


@given(st.floats(1e-4, 50), st.floats(1, 1e5))
def test_a_budget_is_the_inverse_of_the_alarms(budget: float, points: float) -> None:
    level = threshold_for(budget, points)
    assert LOWEST <= level <= HIGHEST
    if LOWEST < level < HIGHEST:
        assert alarms_per_day(level, points) == pytest.approx(budget, rel=1e-6)
    elif level == LOWEST:
        assert alarms_per_day(level, points) <= budget * (1 + 1e-6)


@pytest.mark.parametrize(("budget", "points"), [(0, 1440), (-1, 1440), (0.1, 0), (float("nan"), 1440)])
def test_a_budget_is_positive(budget: float, points: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        threshold_for(budget, points)


HOSTILE = (np.inf, -np.inf, 1.8e308, -1.8e308, 1e200, 5e-324, -5e-324, 1e-310, 0.0, -0.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [*HOSTILE, np.nan])
def test_no_value_does_harm(value: float) -> None:
    table = np.array([broken(quiet(kind, POINTS, 7), "higher", AT) for kind in ("daily", "noise", "flat")])
    table[:, 800:803] = value
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        detector = Detector(3)
        scores, _ = alarms(table, detector)
    given = np.isfinite(table)
    assert np.isfinite(scores[given]).all()
    assert np.isnan(scores[~given]).all()
    assert (scores[given] <= HIGHEST).all()
    late = scores[:, AT : AT + 60].max(axis=1)
    assert (late >= THRESHOLD).all(), f"a fault long after {value} is found: {late}"
    assert all(np.isfinite(one.value) for one in detector.ranking())


@pytest.mark.filterwarnings("error")
def test_a_series_of_hostile_values_alone() -> None:
    random = np.random.default_rng(1)
    table = random.choice(np.array([*HOSTILE, np.nan]), size=(4, 900))
    table[3] = 5e-324 * random.integers(0, 9, size=900)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        detector = Detector(4)
        scores, _ = alarms(table, detector)
        detector.ranking()
    assert np.isfinite(scores[np.isfinite(table)]).all()
    assert (scores[3] == 0).all(), "denormal numbers are nothing"


def test_scores_are_those_of_the_plain_words() -> None:
    random = np.random.default_rng(2)
    values = np.round(quiet("daily", 4600, 2) + (random.random(4600) < 0.01) * random.normal(scale=300, size=4600), 1)
    scores, _ = alarms(values[None])
    expected = np.array(plain_scores(plain_distances(values)))
    beyond = scores[0] > expected
    assert (scores[0][~beyond] == expected[~beyond]).all()
    held = np.minimum(np.cumsum(expected >= 0) - 1, MEMORY)
    largest = expected >= np.log10(np.maximum(held - 200, 1))
    assert largest[beyond].all(), "only what is larger than all before is extrapolated"


def test_episodes_begin_rest_and_end() -> None:
    episodes, row = Episodes(1), np.array([0])
    scores = np.zeros(1000)
    scores[WARM - 10 : WARM] = 9.0  # too early
    scores[300:310] = 2.0
    scores[360] = 1.9  # the first has ended, but not rested: the same matter
    scores[395] = 1.9  # nor been calm
    scores[450:460] = 1.8
    scores[500:510] = 1.8 + RARER  # does not have to wait
    scores[700] = THRESHOLD - 0.01
    began, going = [], []
    for at, score in enumerate(scores.tolist()):
        count = np.array([at + 1])
        if episodes.step(row, count, np.array([score]), at)[0]:
            began.append(at)
        going.append(bool(episodes.going_on(row, count)[0]))
    assert began == [300, 450, 500]
    ends = [at for at in range(1, 1000) if going[at - 1] and not going[at]]
    assert ends == [309 + CALM, 459 + CALM, 509 + CALM]
    past = [(500, 509, 1.8 + RARER), (450, 459, 1.8), (300, 309, 2.0)]
    assert [tuple(one) for one in episodes.of(0, False)] == past
    assert QUIET < THRESHOLD


def test_the_bar_rises_with_experience() -> None:
    levels = bar(np.array([1, FROM, 2 * FROM, TO, 100 * TO]))
    assert levels[0] == levels[1] == THRESHOLD
    assert levels[1] < levels[2] < levels[3] == levels[4] == LOWEST
