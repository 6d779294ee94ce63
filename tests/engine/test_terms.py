"""Partitions: dealt out evenly, with few changes, for terms that are never given twice."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import checkpoint
from engine.engine import Engine, Options
from engine.flushes import OWNER
from engine.model import Entry, Mark
from engine.terms import ASSIGN, PARTITIONS, Terms, deal_out, partition_of

names = st.sampled_from(["", "a", "b", "c", "d", "e", "gone"])
engines = st.sets(st.sampled_from(["a", "b", "c", "d", "e", "new"]), min_size=1)


@given(st.lists(names, min_size=1, max_size=70), engines)
def test_all_have_their_part_and_nobody_gives_up_more_than_has_to_be(held: list[str], there: set[str]) -> None:
    dealt = deal_out(held, there)
    counts = Counter(dealt)
    parts = [counts[engine] for engine in there]
    assert counts.keys() <= there and max(parts) - min(parts) <= 1
    # As few changes as any even dealing can do with: each keeps what it has up to its part, the largest ones first.
    least, more = divmod(len(held), len(there))
    before = sorted((held.count(engine) for engine in there), reverse=True)
    kept = sum(min(count, least + (at < more)) for at, count in enumerate(before))
    assert sum(one == other for one, other in zip(held, dealt, strict=True)) == kept
    assert deal_out(dealt, there) == dealt


@given(st.lists(st.tuples(engines, st.integers(0, 3)), min_size=1, max_size=8))
def test_terms_are_never_given_twice_and_begin_at_one_place(steps: list[tuple[set[str], int]]) -> None:
    terms, seen = Terms(), set[int]()
    for there, far in steps:
        alike = [(partition % (far + 1), far) for partition in range(PARTITIONS)]
        before, mark = list(terms.holding), terms.deal(there, alike, fence=7)
        if mark is not None:
            given_out = [term for term, _, _ in json.loads(mark.text)]
            assert not seen & set(given_out) and mark.fence == 7
            seen.update(given_out)
            terms.take(mark)
            for term in given_out:
                assert len({(before[at], alike[at]) for at in terms.partitions(term)}) == 1
        assert terms.deal(there, alike, fence=7) is None
        assert {terms.engines[term] for term in terms.holding} <= there
        assert sorted(at for term in set(terms.holding) for at in terms.partitions(term)) == list(range(PARTITIONS))
        again = Terms()
        again.restore(json.loads(json.dumps(terms.state())))
        assert again.state() == terms.state()


def test_keys_are_spread_and_stay_where_they_are() -> None:
    counts = Counter(partition_of(f"alert_{number}") for number in range(6400))
    assert len(counts) == PARTITIONS and max(counts.values()) < 200
    assert partition_of("latency") == 56  # part of the format


def assign(term: int, engine: str, fence: int) -> Mark:
    return Mark(ASSIGN, fence=fence, text=json.dumps([(term, engine, list(range(PARTITIONS)))]))


@pytest.mark.parametrize("shared", [True, False])
def test_the_log_s_owner_says_it_and_a_checkpoint_keeps_it(shared: bool) -> None:
    engine = Engine(Options(shared=shared))
    for position, mark in enumerate([
        Mark(OWNER, 0, 5, (0, 0, 0, 0)), assign(1, "a", 5), Mark(OWNER, 0, 6, (0, 0, 0, 0)),
        assign(2, "b", 5), assign(3, "c", 6),
    ]):  # fmt: skip
        engine.apply(Entry(1_700_000_000_000, marks=[mark]), position + 1)
    assert engine.terms.engines == ({3: "c"} if shared else {})
    for again_shared in (True, False):
        again = Engine(Options(shared=again_shared))
        checkpoint.restore(again, checkpoint.encode(*checkpoint.capture(engine)), [], [])
        # Who is alone on its log holds everything, whoever had what before.
        assert again.terms.engines == ({3: "c"} if shared and again_shared else {})
