"""Processes that follow one log have the same state whatever becomes of its owners, and nothing is counted twice."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from engine import engine as engine_module
from engine.engine import Options
from engine.flushes import OWNER
from engine.model import Mark
from tests.engine_support import World, entry
from tests.properties.test_recount import LATENESS, PATIENT, SETTINGS, leaps, queries, rows, unrolled, verify

scripts = st.lists(
    st.one_of(
        st.tuples(leaps, rows), st.tuples(leaps, rows),
        st.sampled_from(["flush", "begin", "end", "expire", "replaced", "replaced after it was stored", "stale"]),
    ),
    min_size=3, max_size=16,
)  # fmt: skip
OPTIONS = Options(lateness=LATENESS, retention=PATIENT, raw_samples=10, shared=True)


class Owned:
    """A world whose flushes are an owner's, and owners that are replaced."""

    def __init__(self) -> None:
        self.world = World(OPTIONS)
        self.fence = 0
        self.stamp = self.world.engine.stamp
        self.replace(stored=False)

    @property
    def generation(self) -> int:
        return self.world.engine.generation

    @property
    def rolled(self) -> tuple[int, ...]:
        return self.world.engine.rolled

    def replace(self, *, stored: bool) -> None:
        """Another owner comes; the one before has ended in the midst of a flush, or just before it said it was done."""
        world, job = self.world, self.world.flushing
        world.flushing = None
        rolled = world.store(job) if job is not None and stored else world.engine.rolled
        newest = job.taken.generation if job is not None and stored else world.engine.generation
        self.fence += 1
        world.mark(Mark(OWNER, newest, self.fence, rolled))
        world.check_balance()

    def play(self, step: Any, stamp: int) -> None:
        """One step of a script."""
        world = self.world
        if isinstance(step, tuple):
            world.apply(entry(stamp, list(unrolled(step[1], stamp))))
        elif step == "expire":
            world.expire()
        elif step.startswith("replaced"):
            self.replace(stored=step != "replaced")
        elif step == "stale":
            for kind in ("begin", "done", "owner"):
                world.mark(Mark(kind, world.engine.generation + 1, self.fence - 1, world.engine.rolled))
        if step in ("begin", "flush") and world.flushing is None:
            world.begin_flush()
        if step in ("end", "flush") and world.flushing is not None:
            world.end_flush()


@SETTINGS
@given(scripts, queries)
def test_followers_have_the_owner_s_state_and_answers_are_the_recount(script: list[Any], query: Any) -> None:
    with patch.object(engine_module, "CHECK_EVERY", 1):
        owned, follower = Owned(), World(OPTIONS, recount=False)
        world, stamp, seen = owned.world, 1_700_000_000_000, 0
        follower.oracle = world.oracle
        for step in script:
            stamp += step[0] if isinstance(step, tuple) else 0
            owned.play(step, stamp)
            for _, given_entry in world.log[seen:]:
                follower.apply(given_entry)
            seen = len(world.log)
            assert follower.state() == world.state()
            assert (follower.engine.generation, follower.engine.rolled) == (owned.generation, owned.rolled)
            follower.blocks = world.blocks  # it sees the same store
            for each in (world, follower):
                verify(each, query)


@settings(SETTINGS, max_examples=60)
@given(scripts)
def test_who_starts_from_the_newest_checkpoint_catches_up_with_the_others(script: list[Any]) -> None:
    owned = Owned()
    world, stamp = owned.world, 1_700_000_000_000
    for step in script:
        stamp += step[0] if isinstance(step, tuple) else 0
        owned.play(step, stamp)
        if world.saved is None:
            continue
        again = world.restored()
        for position, given_entry in world.log:
            if position > again.engine.position:
                again.apply(given_entry)
        assert again.engine.ledger == world.engine.ledger
        again.check_balance()
        if world.flushing is None:
            assert again.engine.generation == world.engine.generation
            assert again.state() == world.state()
