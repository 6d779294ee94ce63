"""The ledger balances after whatever comes: accepted rows are open, pending, stored or too old, and nowhere else.

`World` checks the sums after every step; here the script has everything that moves rows, and the store is counted too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import checkpoint, slots
from engine import engine as engine_module
from engine.dedup import Bound
from engine.engine import Engine, Options
from engine.levels import Retention
from engine.model import Entry, KeyedRequest
from tests.engine_support import KEYS, T0, World, entry
from tests.properties.test_recount import LATENESS, SETTINGS, SHORT, leaps, rows, unrolled

ENTRIES = st.tuples(
    leaps,
    rows,
    st.dictionaries(st.integers(0, 20), st.integers(0, 5), max_size=4),  # row -> id
    st.none() | st.tuples(st.integers(0, 3), st.booleans()),  # Idempotency-Key, other body
    st.dictionaries(st.sampled_from(["bad_json", "future"]), st.integers(0, 4), max_size=2),
    st.sampled_from(["once", "once", "once", "twice"]),  # appended
)
STEPS = st.lists(
    st.one_of(ENTRIES, ENTRIES, st.sampled_from(["begin", "end", "flush", "expire", "kill"])), min_size=2, max_size=20
)


@pytest.fixture(autouse=True)
def compact_early() -> Iterator[None]:
    with patch.object(slots, "FOLD_AT", 8), patch.object(slots, "MAX_FOLDED", 2):
        yield


def made(step: Any, stamp: int, sequence: int) -> Entry:
    _, drawn, ids, request, rejected, _ = step
    given = list(unrolled(drawn, stamp))
    hashes = {row: bytes([id]) * 16 for row, id in ids.items() if row < len(given)}
    requests = []
    if request is not None:
        key, other = request
        requests = [KeyedRequest(bytes([key]) * 16, bytes([other]) * 8, (0, len(given) // 2), (0, 0))]
    return entry(stamp, given, epoch=7, sequence=sequence, ids=hashes, requests=requests, rejected=rejected)


def replayed(world: World) -> World:
    """What starts after a kill: the last finished flush, and the log behind it."""
    again = world.restored()
    again.log = [(position, given_entry) for position, given_entry in world.log if position <= again.position]
    for position, given_entry in world.log:
        if position > again.position:
            again.apply(given_entry)
    again.let_go = world.let_go
    again.blocks = {block: data for block, data in again.blocks.items() if block in world.blocks}
    return again


@settings(SETTINGS, max_examples=150)
@given(STEPS, st.booleans(), st.sampled_from([600, 1 << 30]))
def test_the_ledger_balances_after_every_step(script: list[Any], short: bool, memory: int) -> None:
    options = Options(
        lateness=LATENESS, retention=SHORT if short else Retention(), pane_memory=memory, dedup=Bound(30, 10**9)
    )
    with patch.object(engine_module, "CHECK_EVERY", 1):
        world = World(options, recount=False)
        world.flush()
        came = sequence = 0
        stamp = T0
        for step in [*script, "end", "flush"]:
            if step in ("begin", "flush") and world.flushing is None:
                world.begin_flush()
                world.check_balance()
            if step in ("end", "flush") and world.flushing is not None:
                world.end_flush()
                assert world.engine.stored == world.samples_in_store() + world.let_go
            elif step == "expire":
                world.expire()
            elif step == "kill":
                ledger = world.engine.ledger
                world = replayed(world)
                assert world.engine.ledger == ledger
            elif not isinstance(step, str):
                stamp += step[0]
                sequence += 1
                arrived = made(step, stamp, sequence)
                came += arrived.rows
                for _ in range(1 + (step[-1] == "twice")):
                    world.apply(arrived)
        assert world.engine.ledger.received == came
        assert world.engine.open_samples + world.engine.stored + world.engine.ledger.expired == (
            world.engine.ledger.accepted
        )


def test_a_row_that_vanishes_is_noticed() -> None:
    world = World(recount=False)
    world.apply(entry(T0, [(key, T0, 1.0) for key in KEYS]))
    assert world.engine.balanced
    [slot] = world.engine.open.values()
    slot.raw = slots.Samples()
    assert not world.engine.balanced
    world = World(recount=False)
    world.apply(entry(T0, [(key, T0, 1.0) for key in KEYS], rejected={"future": 2}))
    world.engine.ledger.rejected["future"] -= 1
    assert not world.engine.balanced


def test_a_checkpoint_of_before_balances_from_there_on() -> None:
    """Older checkpoints know nothing of what is stored, nor of refused rows."""
    world = World(recount=False)
    for number in range(20):
        world.apply(entry(T0 + number * 9000, [(key, T0 + number * 9000, 1.0) for key in KEYS]))
    world.flush()
    assert world.saved is not None and world.engine.stored > 0
    header, arrays = checkpoint.decode(world.saved.data)
    del header["stored"], header["arrays"], arrays["rejects"]
    world.saved = replace(world.saved, data=checkpoint.encode(header, arrays))
    again = world.restored()
    assert again.engine.stored == world.engine.stored and len(again.engine.rejects) == 0
    again.apply(entry(T0 + 999_000, [(KEYS[0], T0, 1.0)]))
    assert isinstance(again.engine, Engine) and again.engine.balanced
