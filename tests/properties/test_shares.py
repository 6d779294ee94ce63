"""The shares of a flush, rolled up apart, are the flush."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.engine import Options
from engine.model import GAUGE, UNSPECIFIED, pack_series_key
from engine.rollup import Share, roll
from server.wire.blocks import encode
from tests.engine_support import T0, Flushing, World, entry
from tests.properties.test_recount import LATENESS, PATIENT, SETTINGS, ages, leaps, values

NAMES = ("m", "n", "o", "p")
KEYS = [pack_series_key(name, GAUGE, UNSPECIFIED, "", [("host", host)]) for name in NAMES for host in "ab"]
rows = st.lists(st.tuples(st.sampled_from(KEYS), ages, values), max_size=8)
scripts = st.lists(st.one_of(st.tuples(leaps, rows), st.tuples(leaps, rows), st.just("flush")), min_size=3, max_size=16)


class Sharing(World):
    """A world whose flushes are rolled up by several: who has which name, and whose share has not come in time."""

    def __init__(self, holders: dict[str, int], missing: set[int]) -> None:
        super().__init__(Options(lateness=LATENESS, retention=PATIENT))
        self.holders, self.missing = holders, missing

    def store(self, job: Flushing) -> tuple[int, ...]:
        """Writes a flush; what its shares have must be what it has in one piece."""
        pending, catalogue = job.taken.pending, self.engine.catalogue
        whole, rolled = roll(pending, catalogue, self.read, self.stored)
        came = set(self.holders.values()) - self.missing
        shares = [Share(lambda name, of=of: self.holders[name] == of, singles=False) for of in sorted(came)]  # type: ignore[misc]
        shares.append(Share(lambda name: self.holders[name] not in came, singles=True))
        found: dict[Any, bytes] = {}
        for share in shares:
            blocks, bounds = roll(pending, catalogue, self.read, self.stored, share)
            assert bounds == rolled and not found.keys() & blocks.keys(), "no block is in two shares"
            assert share.singles or all(block.level for block in blocks)
            found |= {block: encode(panes) for block, panes in blocks.items()}
        assert found == {block: encode(panes) for block, panes in whole.items()}
        return super().store(job)


@settings(SETTINGS, max_examples=60)
@given(scripts, st.lists(st.integers(0, 2), min_size=len(NAMES), max_size=len(NAMES)), st.sets(st.integers(0, 2)))
def test_together_they_have_each_block_once(script: list[Any], holders: list[int], missing: set[int]) -> None:
    world, stamp = Sharing(dict(zip(NAMES, holders, strict=True)), missing), T0
    for step in [*script, "flush"]:
        if step == "flush":
            world.flush()
            continue
        stamp += step[0]
        world.apply(entry(stamp, [(key, stamp - age, value) for key, age, value in step[1]]))
