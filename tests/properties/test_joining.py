"""A replay that joins entries leaves the engine as it would be had each been applied alone, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import engine as engine_module
from engine import slots, tables
from engine.engine import Options
from engine.joining import apply_all
from engine.levels import Retention
from engine.model import Batch, Entry, Event, Table
from tests.engine_support import KEYS, T0, World, entry
from tests.properties.test_recount import LATENESS, SETTINGS, SHORT, rows, unrolled

# Mostly so near to one another that they can be joined.
gaps = st.sampled_from([0, 0, 0, 0, 1, 1, 40, 400, 5000, 21_000, 7 * 60_000, 30 * 3_600_000])
kinds = st.sampled_from(["rows"] * 12 + ["tick", "numbers", "numbers", "event", "id", "rejected", "sketched"])
scripts = st.lists(st.tuples(gaps, kinds, rows, st.integers(0, 2), st.booleans()), min_size=4, max_size=40)


@pytest.fixture(autouse=True)
def compact_early() -> Iterator[None]:
    """Slots fold their raw samples much earlier than in earnest."""
    with patch.object(slots, "FOLD_AT", 8), patch.object(slots, "MAX_FOLDED", 2):
        yield


def entries(script: list[Any]) -> Iterator[Entry]:
    """What three writers append; some entries twice, some with numbers that nothing explains."""
    stamp, sequences = T0, [0, 0, 0]
    for gap, kind, drawn, writer, twice in script:
        stamp += gap
        sequences[writer] += 0 if twice else 1
        place = {"epoch": writer, "sequence": sequences[writer]}
        given = list(unrolled(drawn, stamp))
        if kind == "tick":
            yield Entry(stamp, writer, sequences[writer])
        elif kind == "numbers" and given:
            codes, n = np.array([len(key) % 4 for key, _, _ in given], np.int32), len(given)
            times, values = np.array([row[1] for row in given]), np.array([row[2] for row in given])
            spelt = [KEYS[number] for number in range(n % 3)]
            table = Table(1, np.arange(len(spelt), dtype=np.int32))
            yield Entry(stamp, writer, sequences[writer], Batch(spelt, codes, values, times, table=table))
        elif kind == "event":
            yield entry(stamp, given, **place, events=[Event(stamp, "e", None, None, b"{}")])
        elif kind == "id" and given:
            yield entry(stamp, given, **place, ids={0: bytes([len(given) % 3]) * 16})
        elif kind == "rejected":
            yield entry(stamp, given, **place, rejected={"bad_value": 2})
        elif kind == "sketched":
            yield entry(stamp, given, **place, sketched=["m"])
        else:
            yield entry(stamp, given, **place)


@settings(SETTINGS, max_examples=200)
@given(
    scripts, st.lists(st.integers(1, 30), min_size=1), st.booleans(), st.sampled_from([1, 20, 65_536]),
    st.sampled_from([2, 64]),
)
def test_joined_is_one_by_one(
    script: list[Any], cuts: list[int], short: bool, check_every: int, most_tables: int
) -> None:
    options = Options(
        lateness=LATENESS, retention=SHORT if short else Retention(), raw_samples=10, pane_memory=3000,
        max_series_per_name=5,
    )  # fmt: skip
    alone, joined = World(options, recount=False), World(options, recount=False)
    given = list(enumerate(entries(script), 1))
    with patch.object(engine_module, "CHECK_EVERY", check_every), patch.object(tables, "MAX_TABLES", most_tables):
        delivered: list[Any] = []
        for _, one in given:
            delivered += told(alone.apply(one)[1])
        again: list[Any] = []
        at = turn = 0
        while at < len(given):
            size = cuts[turn % len(cuts)]
            for delivery in apply_all(joined.engine, given[at : at + size]):
                again += told(delivery)
            at, turn = at + size, turn + 1
    assert joined.state() == alone.state()
    assert joined.engine.ledger == alone.engine.ledger
    assert joined.engine.events == alone.engine.events
    assert list(joined.engine.tables.state()) == list(alone.engine.tables.state()), "the one used last at the end"
    assert {at: [part.start.tolist() for part in slot.parts()] for at, slot in joined.engine.pending.items()} == {
        at: [part.start.tolist() for part in slot.parts()] for at, slot in alone.engine.pending.items()
    }
    assert again == delivered


def told(delivery: Any) -> list[Any]:
    """The samples of a delivery, row by row, and its events."""
    columns = (delivery.series, delivery.rows, delivery.times, delivery.values)
    return [*zip(*(column.tolist() for column in columns), strict=True), *delivery.events]

