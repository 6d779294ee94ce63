"""Refused rows reach the log as they came, bounded, and nothing else of the request does."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model import MAX_REJECT_BYTES, Reject
from server.ingest import rejects
from server.limits import RowLimits
from server.wire.json_events import EventParser
from server.wire.json_metrics import MetricParser
from tests.server.ingest_support import NOW, FakeRiver, call, make_app

GOOD = {
    "/api/metrics": {"name": "a", "metric_type": "gauge", "value": 1},
    "/api/events": {"event_type": "a"},
}
KIND = {"/api/metrics": "metric", "/api/events": "event"}
NDJSON = "application/x-ndjson"


def kept(river: FakeRiver) -> list[Reject]:
    return [reject for entry in river.entries for reject in entry.rejects]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x85\u2028\u2029"), max_size=8)
ROWS = st.one_of(
    st.sampled_from([(True, row) for row in GOOD.values()]),
    st.tuples(st.just(False), st.one_of(st.integers(), TEXTS, st.just({}), st.lists(st.integers(), max_size=2))),
    st.builds(lambda name: (False, {"name": name, "event_type": "", "metric_type": "none", "value": "x"}), TEXTS),
    st.just((False, {**GOOD["/api/metrics"], **GOOD["/api/events"], "timestamp": "3000-01-01"})),
)


@pytest.mark.parametrize("path", ["/api/metrics", "/api/events"])
@given(rows=st.lists(ROWS, min_size=1, max_size=12), lines=st.booleans(), blanks=st.integers(0, 5))
@settings(deadline=None)
def test_each_refused_row_comes_with_its_bytes(path: str, rows: list[Any], lines: bool, blanks: int) -> None:
    texts = [json.dumps(row, ensure_ascii=False, indent=None).encode() for _, row in rows]
    places = list(range(len(texts)))
    if lines:
        at = min(blanks, len(texts))
        sent = [*texts[:at], b"", b"  ", *texts[at:]]
        places = [place + 2 * (place >= at) for place in places]
        body = b"\n".join(sent)
    else:
        body = b"[" + b" , ".join(texts) + b"]"
    parser: Any = MetricParser(RowLimits()) if path == "/api/metrics" else EventParser(RowLimits())
    found = rejects.of_rows(KIND[path], parser.many(body, NOW, lines).errors, None)
    # One that is good for both is none of the bad; one that is good for the other alone is.
    wanted = [(place, text) for place, text, (_, row) in zip(places, texts, rows, strict=True) if row != GOOD[path]]
    assert [(reject.row, reject.content) for reject in found] == wanted
    assert {reject.kind for reject in found} <= {KIND[path]} and not any(reject.cut for reject in found)


@pytest.mark.parametrize("path", ["/api/metrics", "/api/events"])
async def test_single_rows_and_bodies(path: str) -> None:
    river = FakeRiver()
    app = make_app(river)
    await call(app, path, b'{"name": 3, "event_type": 3}')
    await call(app, path, b'[{"a":')
    await call(app, path, b"no gzip", content_encoding="gzip")
    await call(app, path, gzip.compress(b"{x"), content_encoding="gzip")
    single, cut_off, no_gzip, packed = kept(river)
    assert (single.kind, single.row, single.content) == (KIND[path], 0, b'{"name": 3, "event_type": 3}')
    assert single.field in ("name", "event_type") and single.reason == "bad_name"
    assert [(r.kind, r.row, r.reason, r.content) for r in (cut_off, no_gzip, packed)] == [
        ("body", None, "bad_json", b'[{"a":'),
        ("body", None, "bad_body", b"no gzip"),
        ("body", None, "bad_json", b"{x"),
    ]


async def test_what_is_long_is_cut_and_what_is_much_is_counted_only() -> None:
    river = FakeRiver()
    app = make_app(river)
    long = {"name": "n" * 3000, "metric_type": "gauge", "value": 1}
    await call(app, "/api/metrics", [long] * 150)
    assert len(kept(river)) == 100 and river.rejected == {"too_long": 150}
    assert all(r.cut and r.content == json.dumps(long).encode()[:MAX_REJECT_BYTES] for r in kept(river))
    exact = b'"' + b"x" * (MAX_REJECT_BYTES - 2) + b'"'
    await call(app, "/api/metrics", b"[" + exact + b"]")
    assert kept(river)[-1].content == exact and not kept(river)[-1].cut
    river.entries.clear()
    await asyncio.gather(*(call(app, "/api/metrics", [long] * 100) for _ in range(20)))
    assert len(river.entries) == 1 and river.rejected == {"too_long": 2000}
    size = sum(len(reject.content) + len(reject.message) for reject in kept(river))
    assert rejects.MAX_ENTRY_BYTES * 0.9 < size <= rejects.MAX_ENTRY_BYTES


async def test_no_header_reaches_the_log_and_good_rows_are_not_kept() -> None:
    river = FakeRiver()
    app = make_app(river, api_keys="ingest:secret-key")
    rows = [GOOD["/api/metrics"], {"bad": 1}]
    await call(app, "/api/metrics", rows, authorization="Bearer secret-key", x_own="header", idempotency_key="once")
    await call(app, "/api/metrics", b"{", x_api_key="secret-key", x_own="header", idempotency_key="twice")
    text = repr(kept(river))
    assert [r.content for r in kept(river)] == [b'{"bad": 1}', b"{"]
    assert not any(word in text for word in ("secret", "header", "once", "twice", '"gauge"'))


async def test_a_repeated_request_refuses_the_same_rows() -> None:
    river = FakeRiver()
    app = make_app(river)
    body = [{"bad": 1}, {"bad": 1}]
    for key in ("one", "one", "other"):
        await call(app, "/api/metrics", body, idempotency_key=key)
    await call(app, "/api/metrics", body)
    first, second, *again, other, one_more, bare, _ = (reject.origin for reject in kept(river))
    assert again == [first, second] and bare is None
    assert len({first, second, other, one_more}) == 4 and first is not None


async def test_the_setting_turns_it_off() -> None:
    river = FakeRiver()
    app = make_app(river, max_rejects=0)
    for body in (b"[{}]", b"{}", b"{"):
        await call(app, "/api/metrics", body)
    assert sum(river.rejected.values()) == 3 and not kept(river)
