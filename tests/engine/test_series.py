"""The catalogue: keys, ids, labels, matchers, and the budget beyond which series fold into one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.engine import Options
from engine.matchers import parse
from engine.model import COUNTER, CUMULATIVE, DELTA, GAUGE, TIMER, SeriesKey, pack_series_key, parse_series_key
from engine.query.value import Query
from engine.series import Catalogue
from tests.engine_support import AGGREGATIONS, T0, World, entry

texts = st.text(max_size=8)


@given(texts, st.integers(0, 4), st.integers(0, 2), texts, st.dictionaries(texts, texts, max_size=4))
def test_a_key_is_read_as_it_was_packed(
    name: str, type: int, temporality: int, unit: str, labels: dict[str, str]
) -> None:
    packed = pack_series_key(name, type, temporality, unit, labels.items())
    assert parse_series_key(packed) == SeriesKey(name, type, temporality, unit, tuple(sorted(labels.items())))
    assert packed == pack_series_key(name, type, temporality, unit, reversed(list(labels.items())))
    assert b"\xfd" not in packed


def test_series_are_told_apart_by_name_type_temporality_and_labels_not_by_unit() -> None:
    keys = [
        pack_series_key("a", GAUGE), pack_series_key("b", GAUGE), pack_series_key("a", TIMER),
        pack_series_key("a", COUNTER), pack_series_key("a", COUNTER, DELTA),
        pack_series_key("a", GAUGE, 0, "", [("x", "1")]),
        pack_series_key("a", GAUGE, 0, "ms"), pack_series_key("a", GAUGE, 0, "s", [("x", "1")]),
    ]  # fmt: skip
    catalogue = Catalogue()
    ids, folded = catalogue.resolve(keys)
    assert folded is None and ids.tolist() == [0, 1, 2, 3, 4, 5, 0, 5]
    assert catalogue.resolve(keys[::-1])[0].tolist() == ids.tolist()[::-1]
    assert catalogue.names["a"].unit == "ms" and catalogue.names["a"].types == {GAUGE, TIMER, COUNTER}
    assert catalogue.totals.tolist() == [False, False, False, True, False, False]
    assert catalogue.deltas.tolist() == [False, False, False, False, True, False]


label_sets = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "1", "2", "x.y"]), max_size=3)


@given(
    st.lists(st.tuples(st.sampled_from("mn"), st.integers(0, 1), label_sets), min_size=1, max_size=15),
    st.sampled_from(
        ['{a="1"}', '{a!="1"}', '{a=~"1|2"}', '{a!~".*"}', '{b=""}', '{a=~".+",c!="2"}', '{zz=""}', '{zz="1"}', "{}"]
    ),
    st.sampled_from([None, 0, 1]),
)
def test_selecting_is_what_the_matchers_say_of_each_series(
    series: list[tuple[str, int, dict[str, str]]], text: str, type: int | None
) -> None:
    catalogue = Catalogue()
    keys = [pack_series_key(name, kind, 0, "", labels.items()) for name, kind, labels in series]
    ids, _ = catalogue.resolve(keys)
    matchers = parse(text)
    wanted = {
        int(number) for number, (name, kind, labels) in zip(ids, series, strict=True)
        if name == "m" and type in (None, kind) and all(m.accepts(labels.get(m.label, "")) for m in matchers)
    }  # fmt: skip
    found, rows = catalogue.select("m", matchers, type)
    assert set(found.tolist()) == wanted and len(found) == len(wanted)
    if "m" in catalogue.names:
        assert catalogue.names["m"].series.view()[rows].tolist() == found.tolist()
    for number, (_, _, labels) in zip(ids.tolist(), series, strict=True):
        assert dict(catalogue.labels(number)) == labels


def keyed(count: int, name: str = "m", type: int = GAUGE, temporality: int = 0) -> list[bytes]:
    return [
        pack_series_key(name, type, temporality, "", [("user", str(n)), ("host", str(n % 2))]) for n in range(count)
    ]


def test_series_beyond_the_budget_of_a_name_fold_into_one_and_stay_exact() -> None:
    world = World(Options(max_series_per_name=5), recount=False)
    free = World()
    for round in range(3):
        rows = [(key, T0 + n * 100, float(n * 7 % 11)) for n, key in enumerate(keyed(50))]
        for into in (world, free):
            into.apply(entry(T0 + round * 20_000, rows))
            into.flush()
    assert len(world.engine.catalogue) == 6
    assert world.engine.ledger.folded == 3 * 45 == world.engine.catalogue.names["m"].folded
    assert world.engine.catalogue.names["m"].widest_label() == "user"
    for aggregation in AGGREGATIONS:
        query = Query("metric", "m", aggregation=aggregation, range=3_600_000)
        if aggregation not in ("rate", "increase", "unique"):
            assert world.value(query) == np.float64(free.value(query))
    other = world.ask(Query("metric", "m", parse('{__other__="true"}'), aggregation="count", range=3_600_000))
    assert other.rows[(), 0][1] == 135
    by_user = world.ask(Query("metric", "m", aggregation="count", group_by=("user",), range=3_600_000)).rows
    assert {group: count for (group, _), (_, count) in by_user.items()} == {(str(n),): 3 for n in range(5)} | {
        ("",): 135
    }


def test_known_series_go_on_beside_the_folded_ones_also_after_a_restore() -> None:
    world = World(Options(max_series_per_name=2), recount=False)
    rows = [(key, T0, 1.0) for key in keyed(4)]
    world.apply(entry(T0, rows))
    world.flush()
    again = world.restored()
    for into in (world, again):
        into.apply(entry(T0, rows))
        assert into.engine.ledger.folded == 4 == into.engine.catalogue.names["m"].folded
    assert again.state() == world.state()


def test_the_budget_in_total_bounds_names_too() -> None:
    world = World(Options(max_series=4), recount=False)
    for number in range(30):
        world.apply(entry(T0, [(pack_series_key(f"name{number}", GAUGE), T0, float(number))]))
    assert len(world.engine.catalogue) == 5 and len(world.engine.catalogue.names) == 5
    assert world.engine.ledger.folded == 26
    assert world.value(Query("metric", "__other__", aggregation="sum", range=60_000)) == sum(range(4, 30))


def test_folded_deltas_have_an_increase_and_folded_totals_none() -> None:
    for temporality, wanted in ((DELTA, 50.0), (CUMULATIVE, 0.0)):
        world = World(Options(max_series_per_name=1), recount=False)
        first, *others = keyed(6, type=COUNTER, temporality=temporality)
        world.apply(entry(T0, [(first, T0, 5.0)]))
        for time, value in ((T0, 2.0), (T0 + 1000, 8.0)):
            world.apply(entry(time, [(key, time, value) for key in others]))
        other = Query("metric", "m", parse('{__other__="true"}'), aggregation="increase", range=60_000)
        assert world.ask(other).rows[(), 0] == (wanted, 10)


def test_a_label_that_comes_late_is_absent_in_the_series_before() -> None:
    catalogue = Catalogue()
    catalogue.resolve(
        [pack_series_key("m", GAUGE), pack_series_key("m", GAUGE, 0, "", [("z", "1")]), pack_series_key("m", TIMER)]
    )
    assert catalogue.names["m"].codes("z").tolist() == [0, 1, 0]
    assert catalogue.names["m"].codes("nowhere").tolist() == [0, 0, 0]
    catalogue.resolve([pack_series_key("m", GAUGE, 0, "", [("z", "")])])
    found, _ = catalogue.select("m", parse('{z=""}'))
    assert found.tolist() == [0, 2, 3]
