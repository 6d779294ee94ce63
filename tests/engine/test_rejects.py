"""The ring of refused rows: the newest stay, within both bounds, across checkpoints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import checkpoint
from engine.engine import Engine, Options
from engine.errors import BadCheckpoint
from engine.model import REJECT_KINDS, Reject
from engine.rejects import Kept, Rejects
from tests.engine_support import T0, World, entry

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
REJECTS = st.builds(
    Reject, st.sampled_from(REJECT_KINDS), st.none() | st.integers(0, 1 << 40), TEXT, TEXT, st.none() | TEXT,
    st.binary(max_size=60), st.booleans(), st.none() | st.binary(min_size=16, max_size=16),
)  # fmt: skip
ADDED = st.lists(st.lists(REJECTS, max_size=4), max_size=12)


@given(ADDED, st.integers(0, 8), st.sampled_from([0, 300, 1 << 20]), st.integers(0, 8))
def test_the_newest_stay_and_come_back(added: list[list[Reject]], most: int, room: int, fewer: int) -> None:
    ring, naive = Rejects(most, room), []
    for position, rejects in enumerate(added, 1):
        ring.add(position, T0 + position, rejects)
        naive += [Kept(position, number, T0 + position, reject) for number, reject in enumerate(rejects)]
        found = list(ring.newest_first())
        assert found == naive[::-1][: len(found)]
        assert len(found) == len(ring) <= most and ring.nbytes <= room
        assert room < 1 << 20 or len(found) == min(most, len(naive))
    again = Rejects(fewer, room)
    again.restore(ring.save())
    assert list(again.newest_first()) == list(ring.newest_first())[:fewer]
    assert again.nbytes <= ring.nbytes


def test_what_no_ring_saved_is_refused() -> None:
    ring = Rejects(10)
    ring.add(1, T0, [Reject("metric", 0, "bad_value", "no", None, b"{}", False)])
    saved = ring.save()
    for bad in (saved[:-1], saved[:10], b"\xff" * 40, saved.replace(b"[", b"{")):
        with pytest.raises(BadCheckpoint):
            Rejects(10).restore(bad)


def test_a_restart_has_the_same_and_a_smaller_setting_the_newest_of_them() -> None:
    world = World(recount=False)
    for number in range(5):
        given = entry(T0, rejected={"bad_json": 1})
        given.rejects = [Reject("body", None, "bad_json", f"no {number}", None, b"{", False)]
        world.apply(given)
        if number == 2:
            world.flush()
    again = world.restored()
    assert len(again.engine.rejects) == 3
    for position, given in world.log[3:]:
        again.engine.apply(given, position)
    kept = list(world.engine.rejects.newest_first())
    assert list(again.engine.rejects.newest_first()) == kept
    assert [(k.position, k.number, k.stamp, k.reject.message) for k in kept] == [
        (number + 1, 0, T0, f"no {number}") for number in (4, 3, 2, 1, 0)
    ]
    world.flush()
    assert world.saved is not None
    for most in (0, 2):
        smaller = Engine(Options(max_rejects=most))
        checkpoint.restore(smaller, world.saved.data, world.saved.series, [])
        assert list(smaller.rejects.newest_first()) == kept[:most]


def test_an_entry_that_came_twice_is_kept_once() -> None:
    world = World(recount=False)
    given = entry(T0, epoch=3, sequence=1, rejected={"future": 1})
    given.rejects = [Reject("event", 4, "future", "no", "timestamp", b"{}", False)]
    world.apply(given)
    world.apply(given)
    assert len(world.engine.rejects) == 1
