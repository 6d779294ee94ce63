"""What engines tell of the series that they watch for anomalies reaches every process, and is forgotten with them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.anomaly import Episode, Standing
from server import standings
from server.api.alerting import Anomaly
from server.errors import ApiError
from server.log import LogUnavailable, open_members
from server.standings import Standings, pack, unpack
from server.tasks import end

numbers, times = st.floats(allow_nan=False), st.integers(0, 1 << 50)
found = st.builds(
    Anomaly, st.text(), st.tuples(st.sampled_from(["metric", "event"]), st.text()),
    st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
    st.builds(
        Standing, st.integers(0, 99), numbers, st.booleans(), st.none() | times, numbers, numbers, times, numbers,
        numbers, numbers, st.none() | st.tuples(numbers, numbers),
    ),
    st.lists(st.builds(Episode, times, st.none() | times, numbers), max_size=3),
)  # fmt: skip


@given(st.lists(found, max_size=4))
def test_it_comes_back_as_it_was(given: list[Anomaly]) -> None:
    assert unpack(pack(given)) == given


def unusual(alert: str, score: float) -> Anomaly:
    standing = Standing(0, score, score > 3, None, score, 1.0, 5, 0.0, 1.0, 2.0, None)
    return Anomaly(alert, ("metric", "load"), (("host", "a"),), standing, [])


async def test_each_knows_what_the_others_watch(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standings, "EVERY", 0.02)
    here: dict[str, list[Anomaly]] = {"one": [unusual("a", 2.0)], "two": [unusual("b", 4.0)], "gateway": []}
    members = {name: open_members(redis_url, name) for name in here}
    told = {name: Standings(each, lambda most, name=name: here[name][:most]) for name, each in members.items()}  # type: ignore[misc]
    for each in members.values():
        await each.announce({})
    running = [asyncio.create_task(told[name].run()) for name in ("one", "two")]
    try:
        await until(told["gateway"], ["a", "b"])
        await until(told["one"], ["b"])
        here["two"] = []  # it watches nothing any more
        await until(told["gateway"], ["a"])
    finally:
        await end(*running)
        for each in members.values():
            await each.close()


async def until(of: Standings, alerts: list[str]) -> None:
    for _ in range(500):
        if sorted(each.alert for each in await of.of_others()) == alerts:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{alerts} are not told")


async def test_a_redis_that_does_not_answer_is_an_error_of_the_api() -> None:
    class Away:
        async def left(self, topic: str) -> list[bytes]:
            raise LogUnavailable("it is away")

    with pytest.raises(ApiError, match="it is away"):
        await Standings(Away(), lambda most: []).of_others()  # type: ignore[arg-type]
