"""Anomaly rules: the past is learnt from what is stored, and what comes is judged once a window."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest

from engine.aggregates import Registry
from engine.rules.model import ANOMALY, Rule
from engine.rules.scores import Scorer
from server.subscribers.alerts_anomalies import Anomalies
from tests.alerting_support import SECOND, answers_of, gauge, window
from tests.engine_support import World, entry
from tests.rules_support import T0, rule

STEP = 5 * SECOND
HOSTS = {host: gauge(host=host) for host in "ab"}
PAST = 2000
"""Windows of history."""


def usual(number: int, host: str) -> float:
    """A value of one that does nothing new."""
    noise = random.Random(f"{number} {host}").gauss(0, 1)
    return 50 + 10 * math.sin(number / 40) + noise


def odd(**members: object) -> Rule:
    """A rule whose score is reached with so short a past."""
    query = window("average", 5, "host")
    return rule(kind=ANOMALY, query=query, op=">=", critical=2.5, **members)


class Watched:
    """A world with a past, and what judges it."""

    def __init__(self) -> None:
        self.world = World(recount=False)
        self.number = 0
        for _ in range(PAST):
            self.feed()
        self.world.flush()
        self.anomalies = Anomalies(answers_of(self.world, Registry()), 100)

    def feed(self, **values: float) -> int:
        """A value of each host, its usual one where none is given; the end of its window, ms."""
        at = T0 // STEP * STEP + self.number * STEP
        rows = [(key, at, values.get(host, usual(self.number, host))) for host, key in HOSTS.items()]
        self.world.apply(entry(at + STEP, rows))
        self.number += 1
        return at + STEP


async def learnt(anomalies: Anomalies) -> None:
    """Returns when they know the past."""
    for _ in range(6000):
        if anomalies.ranking(1):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the past is not known after a minute")


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    task = asyncio.create_task(made.anomalies.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_it_knows_the_past_and_judges_each_window_once(watched: Watched) -> None:
    of, anomalies = odd(), watched.anomalies
    at = watched.feed()
    assert await anomalies.read(of, at) is None, "it learns first"
    await learnt(anomalies)
    for _ in range(20):
        at = watched.feed()
        readings = await anomalies.read(of, at)
        assert readings is not None and readings.at == at and (readings.values < 2.5).all()
        assert await anomalies.read(of, at + 1000) is None, "not twice"
    begun, found = at + STEP, {}
    for _ in range(10):
        readings = await anomalies.read(of, watched.feed(a=400.0))
        assert readings is not None
        found = dict(zip(readings.groups, readings.values.tolist(), strict=True))
    assert found[(("host", "a"),)] >= 2.5 > found[(("host", "b"),)]
    worst, calm = anomalies.ranking(10)
    assert worst[1] == (("host", "a"),) and worst[2].anomalous and not calm[2].anomalous
    assert worst[2].since is not None and begun <= worst[2].since <= begun + 3 * STEP
    assert worst[3][0].begin == worst[2].since and worst[3][0].end is None
    anomalies.forget(of.id)
    assert anomalies.ranking(10) == []


async def test_one_that_begins_later_has_learnt_the_same(watched: Watched) -> None:
    of = odd()
    await watched.anomalies.read(of, watched.feed())
    await learnt(watched.anomalies)
    for number in range(50):
        at = watched.feed(**({"a": 300.0} if number > 40 else {}))
        last = await watched.anomalies.read(of, at)
    later = Anomalies(answers_of(watched.world, Registry()), 100)
    task = asyncio.create_task(later.run())
    await later.read(of, at)
    await learnt(later)
    assert last is not None and last.values.max() >= 2.5
    assert later.ranking(2) == watched.anomalies.ranking(2)
    task.cancel()


def test_a_scorer_has_a_point_in_each_window_and_none_of_what_is_too_coarse() -> None:
    of = odd()
    values = np.array([[usual(number, "a") for number in range(1500)]])
    values[0, 1490:] = 500.0
    scores = Scorer()(of, values, STEP)
    assert scores.shape == values.shape and scores[0, 1490:].max() >= 2.5 > scores[0, 1300:1490].max()
    assert np.isnan(Scorer()(of, values, 60 * SECOND)).all()
