"""GET /api/rejects and POST /api/rejects/resend: what was refused can be seen, mended, and sent again, once."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bad_input_support import check_ledger
from tests.forks import run_process
from tests.support import COMMAND, Streamgauge, lasting

GOOD = {"name": "level", "metric_type": "gauge", "value": 1}
LONG = {"name": "l" * 300, "metric_type": "gauge", "value": 2, "tags": {"a": "<b>"}}
HOSTILE = {"name": "<img src=x onerror=alert(1)>\u0000", "metric_type": "gauge", "value": 3}
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def server(serve: Callable[..., Streamgauge]) -> Iterator[Streamgauge]:
    found = serve()
    yield found
    check_ledger(found.call("GET", "/api/ledger"))
    assert "Traceback" not in found.output, found.output[-4000:]


def ndjson(server: Streamgauge, query: str = "") -> tuple[bytes, str]:
    """The body and the header that says how many rows are not in it."""
    with urllib.request.urlopen(f"{server.url}/api/rejects?format=ndjson{query}", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("application/x-ndjson")
        return answer.read(), answer.headers["Streamgauge-Left-Out"]


def values(server: Streamgauge, name: str) -> list[float]:
    return sorted(row["value"] for row in server.call("GET", f"/api/metrics?name={name}&limit=1000"))


def command(server: Streamgauge, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the command line, told where the server is."""
    return run_process([*COMMAND, *arguments, "--url", server.url], os.environ)


def test_all_kinds_are_listed_and_survive_a_kill(server: Streamgauge) -> None:
    receipt = server.call("POST", "/api/metrics", [GOOD, {**GOOD, "value": "x"}, HOSTILE], 202)
    server.call("POST", "/api/metrics", {**GOOD, "metric_type": "none"}, 422)
    server.call("POST", "/api/events", b'\n{"event_type":""}\n\n{"no":1}', 422, **LINES)
    server.call("POST", "/api/metrics", b'[{"name":', 400)
    answer = server.call("GET", "/api/rejects")
    found = answer["rejects"]
    assert [(r["kind"], r["index"], r["reason"], r["field"]) for r in found] == [
        ("body", None, "bad_json", None),
        ("event", 3, "missing_field", "event_type"),
        ("event", 1, "bad_name", "event_type"),
        ("metric", 0, "bad_type", "metric_type"),
        ("metric", 2, "bad_name", "name"),
        ("metric", 1, "bad_value", "value"),
    ]
    assert found[0]["content"] == '[{"name":' and json.loads(found[4]["content"]) == HOSTILE
    assert found[5]["offset"] == receipt["offset"] and found[5]["id"] == f"reject_{receipt['offset']}_0"
    assert answer["kept"] == 6 and answer["next"] is None
    assert answer["total_rejected"] == server.call("GET", "/api/ledger")["rejected"]
    assert not any(r["cut"] for r in found)

    assert [r["reason"] for r in server.call("GET", "/api/rejects?kind=event&limit=1")["rejects"]] == ["missing_field"]
    assert [r["kind"] for r in server.call("GET", "/api/rejects?reason=bad_name")["rejects"]] == ["event", "metric"]
    pages, query = [], ""
    while True:
        page = server.call("GET", f"/api/rejects?limit=4{query}")
        pages.append(page["rejects"])
        if page["next"] is None:
            break
        query = f"&before={page['next']}"
    assert [len(page) for page in pages] == [4, 2] and [r for page in pages for r in page] == found
    unfit = "before=reject_x-1_0 before=7 kind=row limit=0 format=xml reasons=a format=ndjson&kind=body"
    for bad in unfit.split():
        assert server.call("GET", f"/api/rejects?{bad}", expect=400)["detail"]["code"] == "bad_request"

    ledger = server.call("GET", "/api/ledger")
    server.kill()
    server.start()
    assert server.call("GET", "/api/rejects") == answer
    assert lasting(server.call("GET", "/api/ledger")) == lasting(ledger)


def test_rows_as_lines_can_be_mended_and_sent(server: Streamgauge, tmp_path: Path) -> None:
    rows = [LONG, {**GOOD, "value": "7"}, 3, {**GOOD, "value": "8", "timestamp": 1_700_000_000, "id": "mine"}]
    server.call("POST", "/api/metrics", rows, 422)
    server.call("POST", "/api/metrics", {**GOOD, "name": "n" * 3000}, 422)
    server.call("POST", "/api/metrics", b"{\x1b\0", 400)
    body, left_out = ndjson(server)
    first, second, third = map(json.loads, body.splitlines())
    assert left_out == "2", "a number is no row, and a long one is not kept whole; a body is no metric"
    [at] = {r["at"] for r in server.call("GET", "/api/rejects?reason=bad_value")["rejects"]}
    assert second == {**GOOD, "value": "7", "timestamp": at, "id": second["id"]} and second["id"].startswith("reject_")
    assert first["timestamp"] == at and third == rows[3]
    assert ndjson(server, "&reason=bad_value&limit=1")[0] == body.splitlines(keepends=True)[2]
    assert ndjson(server, "&kind=event") == (b"", "0")

    written = command(server, "rejects", "--ndjson")
    assert (written.returncode, written.stdout.encode()) == (1, body), "the command line has the same"
    assert "2 are no JSON objects" in written.stderr
    shown = command(server, "rejects", "--limit", "2")
    assert "2 shown, 6 kept of 6 refused" in shown.stderr and len(shown.stdout.splitlines()) == 4
    assert "bad_json" in shown.stdout and "\0" not in shown.stdout and "\x1b" not in shown.stdout

    mended = tmp_path / "rows.ndjson"
    mended.write_bytes(body.replace(b'"7"', b"7").replace(b'"8"', b"8").replace(b"l" * 300, b"level"))
    sent = command(server, "send", "--file", str(mended))
    assert sent.returncode == 0 and "3 accepted (1 of them late), 0 refused" in sent.stdout
    assert values(server, "level") == [2, 7], "the third is two years old"
    assert {row["timestamp"] for row in server.call("GET", "/api/metrics?name=level")} == {at}
    receipt = server.call("POST", "/api/metrics", mended.read_bytes(), 202, **LINES)
    assert (receipt["accepted"], receipt["duplicate"]) == (0, 3)


def test_they_are_taken_in_again_once(server: Streamgauge) -> None:
    server.call("POST", "/api/metrics", [LONG, {**GOOD, "value": "7"}, {**GOOD, "metric_type": "none"}, 5], 422)
    server.call("POST", "/api/events", [{"event_type": ""}, {"event_type": "login", "timestamp": "no"}], 422)

    def resend(**body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = server.call("POST", "/api/rejects/resend", body)
        assert answer["sent"] == answer["accepted"] + answer["duplicate"] + answer["rejected"]
        return answer

    listed = server.call("GET", "/api/rejects")
    ids = {r["reason"]: r["id"] for r in listed["rejects"] if r["kind"] == "metric"}
    answer = resend()
    assert (answer["sent"], answer["left_out"], answer["rejected"]) == (5, 1, 5)
    assert {(e["id"], e["reason"]) for e in answer["errors"] if e["id"] in ids.values()} == {
        (ids[reason], reason) for reason in ("too_long", "bad_value", "bad_type")
    }
    assert server.call("GET", "/api/rejects")["rejects"] == listed["rejects"], "not kept once more"

    # A repeated request is not told apart from the first when its rows are refused, but when they are sent again.
    for _ in range(2):
        server.call("POST", "/api/metrics", [{**GOOD, "value": "x"}] * 2, 422, Idempotency_Key="once")
    answer = resend(reason="bad_value", set={"value": 4, "name": "twice"})
    assert (answer["accepted"], answer["duplicate"]) == (3, 2) and values(server, "twice") == [4, 4, 4]

    answer = resend(ids=[ids["bad_type"], "reject_other-1_0"], set={"metric_type": "gauge", "value": 9})
    assert (answer["sent"], answer["accepted"], answer["errors"]) == (1, 1, [])
    assert values(server, "level") == [9]
    assert resend(reason="bad_type", set={"metric_type": "gauge"})["duplicate"] == 1
    assert resend(kind="event", set={"event_type": "login", "timestamp": None})["accepted"] == 2
    assert [event["event_type"] for event in server.call("GET", "/api/events")] == ["login", "login"]
    times = {r["at"] for r in listed["rejects"] if r["kind"] == "event"}
    assert {event["timestamp"] for event in server.call("GET", "/api/events")} == times
    for bad in ({"set": {"id": 1}}, {"set": {"a": "x" * 5000}}, {"kind": "body"}, {"reasons": "x"}, {"ids": "all"}):
        assert server.call("POST", "/api/rejects/resend", bad, 400)["detail"]["code"] == "bad_request"


def test_after_a_limit_is_raised_they_count_at_their_own_time(serve: Callable[..., Streamgauge]) -> None:
    small = serve(MAX_LABELS="1", CHECKPOINT_INTERVAL="3600")
    many = {**GOOD, "tags": {"a": "x" * 900, "b": "y" * 900}}
    for first in range(0, 600, 150):
        small.call("POST", "/api/metrics", [{**many, "value": first + number} for number in range(150)], 422)
    assert small.call("GET", "/api/rejects")["kept"] == 400, "a hundred of each request"
    times = {r["at"] for r in small.call("GET", "/api/rejects?limit=400")["rejects"]}
    assert small.stop() == 0
    server = serve(MAX_LABELS="2", MAX_BODY_BYTES="200000")
    answer = server.call("POST", "/api/rejects/resend", {"reason": "bad_labels"})
    assert (answer["sent"], answer["accepted"]) == (400, 400), "in parts that fit into a body"
    rows = server.call("GET", "/api/metrics?name=level&limit=1000")
    assert sorted(row["value"] for row in rows) == [first + n for first in range(0, 600, 150) for n in range(100)]
    assert {row["timestamp"] for row in rows} == times
    assert server.call("POST", "/api/rejects/resend", {})["duplicate"] == 400
    check_ledger(server.call("GET", "/api/ledger"))
