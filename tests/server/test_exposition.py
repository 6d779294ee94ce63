"""The exposition as a Prometheus client library reads it, in both formats."""

from __future__ import annotations

import math
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from engine.model import AVERAGE, COUNTER, CUMULATIVE, DELTA, GAUGE, HISTOGRAM, TIMER, pack_series_key
from server.wire.exposition import Exposition, metric_name, number_text, wants_openmetrics
from tests.engine_support import T0, World, entry

HOSTILE = 'a"b\\c\nd é'


def world(*rows: tuple[bytes, float]) -> World:
    made = World(recount=False)
    made.apply(entry(T0, [(key, T0 + at, value) for at, (key, value) in enumerate(rows)]))
    return made


def key(name: str, type: int = COUNTER, temporality: int = 0, unit: str = "", **labels: str) -> bytes:
    return pack_series_key(name, type, temporality, unit, labels.items())


def shown(exposition: Exposition, openmetrics: bool = False) -> dict[str, Any]:
    """Samples by name and labels, as the client library reads them; TYPE and HELP by family."""
    text = "".join(exposition.chunks(openmetrics))
    found: dict[str, Any] = {}
    for family in (read_openmetrics if openmetrics else read_text)(text):
        found[f"TYPE {family.name}"] = family.type
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            assert sample.timestamp is None
            place = f"{sample.name}{{{labels}}}"
            assert place not in found, f"{place} stands there twice"
            found[place] = sample.value
    return found


EVERYTHING = (
    (key("api_request_count", path="/a", method="GET"), 100.0), (key("done_total"), 2.0), (key("done_total"), 3.5),
    (key("delta", temporality=DELTA), 4.0), (key("delta", temporality=DELTA), 4.0),
    (key("total", temporality=CUMULATIVE), 10.0), (key("total", temporality=CUMULATIVE), 25.0),
    (key("level", GAUGE, host=HOSTILE), 3.25), (key("level", GAUGE, host=HOSTILE), -1.0),
    (key("spread", AVERAGE), 2.0), (key("spread", AVERAGE), 3.0),
    (key("took", TIMER, unit="ms", route="/"), 2.5), (key("took", TIMER, unit="ms", route="/"), 1e9),
    (key("cold", HISTOGRAM), -5.0),
)  # fmt: skip


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_each_type_is_what_prometheus_calls_it(openmetrics: bool) -> None:
    found = shown(Exposition(world(*EVERYTHING).engine), openmetrics)
    # The library adds _total to the samples of counters in the text format, where they may be without.
    assert found["api_request_count_total{method=GET,path=/a}"] == 100
    assert found["done_total{}"] == 5.5
    assert found["delta_total{}"] == 8
    assert found["total_total{}"] == 25
    assert found[f"level{{host={HOSTILE}}}"] == -1
    assert (found["spread_sum{}"], found["spread_count{}"], found["TYPE spread"]) == (5, 2, "summary")
    assert found["TYPE took"] == found["TYPE cold"] == "histogram"
    assert found["took_sum{route=/}"] == 1e9 + 2.5 and found["took_count{route=/}"] == 2
    assert found["took_bucket{le=1.0,route=/}"] == 0
    assert found["took_bucket{le=2.5,route=/}"] == found["took_bucket{le=10000.0,route=/}"] == 1
    assert found["took_bucket{le=+Inf,route=/}"] == 2
    assert ("cold_sum{}" in found) is not openmetrics, "OpenMetrics allows no negative sum"


def test_the_text_is_as_the_format_has_it() -> None:
    text = "".join(Exposition(world(*EVERYTHING).engine, {"done_total": "a\\b\nc"}).chunks())
    assert text.startswith(
        "# HELP api_request_count api_request_count\n# TYPE api_request_count counter\n"
        'api_request_count{method="GET",path="/a"} 100\n'
    )
    assert 'level{host="a\\"b\\\\c\\nd é"} -1\n' in text
    assert "# HELP done_total a\\\\b\\nc\n" in text
    assert not text.rstrip().endswith("EOF") and "\n\n" not in text


def test_openmetrics_ends_and_names_counters_as_it_must() -> None:
    text = "".join(Exposition(world(*EVERYTHING).engine).chunks(openmetrics=True))
    assert text.endswith("\n# EOF\n")
    assert "# TYPE api_request_count counter\napi_request_count_total{" in text
    assert "# TYPE done counter\ndone_total 5.5\n" in text
    assert "".join(Exposition(World().engine).chunks(openmetrics=True)) == "# EOF\n"


CLASHES = [
    ("a.b", "a_b"), ("x", "x_total"), ("x_total", "x"), ("y", "y_sum"), ("y", "y_count"), ("y_bucket", "y"),
    ("9", "_9"), ("é", "_"),
]  # fmt: skip


@pytest.mark.parametrize("names", CLASHES)
@pytest.mark.parametrize("types", [(HISTOGRAM, COUNTER), (COUNTER, COUNTER), (COUNTER, GAUGE), (AVERAGE, TIMER)])
def test_no_two_families_clash(names: tuple[str, str], types: tuple[int, int]) -> None:
    rows = [(key(name, type), 1.0) for name in names for type in types]
    exposition = Exposition(world(*rows).engine)
    for openmetrics in (False, True):
        families = [line for line in "".join(exposition.chunks(openmetrics)).split("\n") if line.startswith("# TYPE")]
        assert len(families) == len(set(families)) == len(set(rows))
        shown(exposition, openmetrics)  # the library refuses clashing names, at least in OpenMetrics


def test_labels_stay_apart_and_series_alike_are_added() -> None:
    rows = [
        (pack_series_key("n", HISTOGRAM, 0, "", [("le", "1"), ("a.b", "1"), ("a_b", "2"), ("0", "3")]), 1.0),
        (key("c", temporality=0), 1.0), (key("c", temporality=DELTA), 2.0), (key("c", temporality=CUMULATIVE), 4.0),
    ]  # fmt: skip
    found = shown(Exposition(world(*rows).engine))
    assert found["n_count{_0=3,a_b=1,a_b_=2,le_=1}"] == 1
    assert found["c_total{}"] == 7


def test_a_counter_never_goes_down() -> None:
    made = world((key("c"), 5.0), (key("t", temporality=CUMULATIVE), 5.0))
    exposition = Exposition(made.engine)
    assert shown(exposition)["c_total{}"] == 5
    made.apply(entry(T0 + 9, [(key("c"), T0 + 9, -3.0), (key("t", temporality=CUMULATIVE), T0 + 9, 2.0)]))
    assert shown(exposition)["c_total{}"] == 5, "a negative increment does not show"
    assert shown(exposition)["t_total{}"] == 7, "a drop of a running total is a reset"


def test_many_series_come_in_pieces() -> None:
    made = world(*((key("many", GAUGE, n=str(number)), float(number)) for number in range(1200)))
    pieces = list(Exposition(made.engine).chunks())
    assert max(piece.count("\n") for piece in pieces) <= 252
    assert "".join(pieces).count("\nmany{") == 1200


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False), ("*/*", False), ("text/plain", False), ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
         "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", False),
        ("application/openmetrics-text;version=9.0.0,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=nonsense", False),
    ],
)  # fmt: skip
def test_the_accept_header_decides(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


def test_names_and_numbers() -> None:
    assert [metric_name(name) for name in ("a-b.c", "0x", "a:b", "", "日")] == ["a_b_c", "_0x", "a:b", "_", "_"]
    numbers = [number_text(value) for value in (1250.0, 0.1, 2.0**60, math.inf, -math.inf, math.nan)]
    assert numbers == ["1250", "0.1", "1.152921504606847e+18", "+Inf", "-Inf", "NaN"]
