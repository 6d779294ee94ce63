"""A log that names series by numbers says the same as one that spells every key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import tables
from engine.engine import Engine, Options
from engine.model import GAUGE, Batch, Entry, Table, pack_series_key
from server.numbering import Numbering
from server.wire.entry import pack_entry, unpack_entry
from tests.engine_support import T0, World

ALL_KEYS = [pack_series_key(f"n{number % 3}", GAUGE, 0, "", [("x", str(number))]) for number in range(12)]


class Writer:
    """One life of a writer: a parser that has met the first keys of a shuffled list, and the numbers it may use."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.sequence = epoch, 0
        self.known = list(np.random.default_rng(epoch).permutation(np.array(ALL_KEYS, object)))
        self.numbering = Numbering()

    def batch(self, codes: list[int]) -> Batch:
        n = len(codes)
        return Batch(
            self.known, np.array(codes, np.int32), np.arange(n, dtype=float), np.full(n, T0), whole=True
        )  # fmt: skip

    def entries(self, codes: list[int], engine: Engine) -> tuple[Entry, Entry]:
        """The same rows spelt, and as the pipeline would write them."""
        self.sequence += 1
        whole = self.batch(codes)
        if self.numbering.confirmed and (self.epoch, self.numbering.table) not in engine.tables:
            self.numbering.forget()
        short = self.numbering.shorten(whole)
        used = sorted(set(codes))
        keys, places = [whole.keys[code] for code in used], np.searchsorted(used, codes).astype(np.int32)
        spelt = Batch(keys, places, whole.values, whole.times)
        one, other = (Entry(T0, self.epoch, self.sequence, batch) for batch in (spelt, short))
        return one, unpack_entry(pack_entry(other))


def counts(engine: Engine) -> Any:
    """What came in, by series; which series got which id does not matter."""
    by_key = dict(zip(engine.catalogue.keys, engine.lifetime.counts().tolist(), strict=True))
    sums = dict(zip(engine.catalogue.keys, engine.lifetime.sums().tolist(), strict=True))
    folded = {name.name: name.folded for name in engine.catalogue.by_number if len(name.series)}
    used = {key: (count, sums[key]) for key, count in by_key.items() if count}
    return used, folded, engine.ledger.as_dict()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),  # the writer
        st.lists(st.integers(0, len(ALL_KEYS) - 1), min_size=1, max_size=8),
        st.sampled_from(["applied", "applied", "applied", "lost", "unanswered", "restart"]),
    ),
    max_size=25,
)


@given(STEPS, st.sampled_from([3, 100]), st.sampled_from([1, 2, 64]))
@settings(deadline=None)
def test_numbers_say_what_keys_said(steps: list[Any], budget: int, held: int) -> None:
    """Appends that fail, answers that get lost, restarts, tables that are let go of, series over the budget."""
    with patch.object(tables, "MAX_TABLES", held):
        options = Options(max_series_per_name=budget)
        spelt, numbered = World(options, recount=False), World(options, recount=False)
        writers = [Writer(epoch) for epoch in (1, 2, 3)]
        for number, codes, fate in steps:
            writer = writers[number]
            one, other = writer.entries(codes, numbered.engine)
            if fate == "lost":
                continue
            assert other.batch is not None and other.batch.table is not None
            spelt.apply(one)
            numbered.apply(other)
            if fate == "restart":
                numbered.flush()
                numbered = numbered.restored()
            elif fate == "applied":
                writer.numbering.confirm(other.batch.table)
        assert counts(numbered.engine) == counts(spelt.engine)
        assert "lost_series" not in numbered.engine.ledger.rejected


def test_a_key_is_spelt_until_it_came_back_and_then_no_more() -> None:
    writer, engine = Writer(1), Engine()
    _, first = writer.entries([0, 1, 0], engine)
    _, second = writer.entries([0, 2], engine)
    assert first.batch and second.batch and first.batch.table
    assert first.batch.keys == [writer.known[0], writer.known[1]]
    assert second.batch.keys == [writer.known[0], writer.known[2]], "the first has not come back yet"
    engine.apply(first, 1)
    writer.numbering.confirm(first.batch.table)
    _, third = writer.entries([1, 2], engine)
    assert third.batch is not None and third.batch.keys == [writer.known[2]]


@pytest.fixture
def beheaded() -> Iterator[Engine]:
    """An engine whose log lacks the entry that spelt two keys."""
    writer, engine = Writer(1), Engine()
    _, gone = writer.entries([0, 1], engine)
    assert gone.batch is not None and gone.batch.table is not None
    writer.numbering.confirm(gone.batch.table)
    writer.numbering.forget = lambda: None  # type: ignore[method-assign]
    _, rest = writer.entries([0, 2, 1, 2], engine)
    engine.apply(rest, 2)
    yield engine


def test_rows_whose_number_the_log_does_not_explain_are_counted_as_lost(beheaded: Engine) -> None:
    ledger = beheaded.ledger.as_dict()
    assert ledger["accepted"] == 2 and ledger["rejected"] == {"lost_series": 2} and ledger["received"] == 4
    assert beheaded.lifetime.counts().tolist() == [2]


@pytest.mark.parametrize("number", [-1, 1 << 24, 1 << 30])
def test_a_number_that_is_none_is_refused(number: int) -> None:
    key = ALL_KEYS[0]
    columns = np.array([1.0]), np.array([T0])
    bad_row = Batch([key], np.array([number], np.int32), *columns, table=Table(1, np.array([0], np.int32)))
    bad_key = Batch([key], np.array([0], np.int32), *columns, table=Table(1, np.array([number], np.int32)))
    bad_table = Batch([key], np.array([0], np.int32), *columns, table=Table(0, np.array([0], np.int32)))
    for batch in (bad_row, bad_key, bad_table):
        packed = pack_entry(Entry(T0, 1, 1, batch))
        with pytest.raises(ValueError, match=r"series key|number"):
            unpack_entry(packed)
