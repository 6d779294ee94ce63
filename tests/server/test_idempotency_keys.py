"""Idempotency keys and row ids as careless or hostile senders use them, over HTTP, and across restarts and kills."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Streamgauge

ROW: dict[str, Any] = {"name": "keyed", "metric_type": "counter", "value": 1}
EVENT = {"event_type": "keyed"}


def post(server: Streamgauge, key: bytes, row: Any = ROW, path: str = "/api/metrics") -> tuple[int, Any]:
    """(status, answer) of a POST with a key of any bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        body = json.dumps(row).encode()
        connection.putrequest("POST", path)
        for name, value in ((b"Content-Type", b"application/json"), (b"Idempotency-Key", key)):
            connection.putheader(name.decode(), value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("key", [b"k" * 10_240, b"k" * 1025, b""], ids=["10 KB", "1 byte too long", "empty"])
def test_a_key_that_is_none_is_refused_with_its_bound(tough_server: Streamgauge, lives_on: None, key: bytes) -> None:
    status, answer = post(tough_server, key)
    assert (status, answer["detail"]["code"]) == (400, "bad_request")
    assert "Idempotency-Key must have 1 to 1024 characters" in answer["detail"]["message"]


@pytest.mark.parametrize("key", [b"\xff\xfe\x80", "schlüssel-钥匙".encode(), b"k" * 1024, b'"quoted, with; signs"'])
def test_any_other_key_works(tough_server: Streamgauge, lives_on: None, key: bytes) -> None:
    first, again = post(tough_server, key), post(tough_server, key)
    assert first[0] == again[0] == 201 and first[1]["id"] == again[1]["id"]
    assert post(tough_server, key, ROW | {"value": 2})[0] == 409
    assert post(tough_server, key + b"2" if len(key) < 1024 else key[1:], ROW | {"value": 2})[0] == 201


def test_a_key_belongs_to_one_content_across_routes(tough_server: Streamgauge, lives_on: None) -> None:
    assert post(tough_server, b"routes")[0] == 201
    assert post(tough_server, b"routes", EVENT, "/api/events")[0] == 409
    assert post(tough_server, b"routes")[0] == 201, "the first content is still its own"


def test_the_same_key_at_the_same_moment_counts_once(tough_server: Streamgauge, lives_on: None) -> None:
    before = tough_server.call("GET", "/api/ledger")
    rows = [[ROW | {"name": "race", "value": value}] * 3 for value in (1, 1, 1, 2, 2, 1, 2, 1)]
    answers: list[tuple[int, Any]] = []
    threads = [threading.Thread(target=lambda r=r: answers.append(post(tough_server, b"race", r))) for r in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    taken = [answer for status, answer in answers if status == 202]
    assert len(answers) == 8 and {status for status, _ in answers} == {202, 409}
    assert sum(answer["accepted"] for answer in taken) == 3
    after = tough_server.call("GET", "/api/ledger")
    conflicts = sum(status == 409 for status, _ in answers) * 3
    assert after["accepted"] - before["accepted"] == 3
    assert after["rejected"]["conflict"] - before["rejected"].get("conflict", 0) == conflicts
    assert after["duplicate"] - before["duplicate"] == 24 - 3 - conflicts


def test_ids_repeated_within_a_request_count_once(tough_server: Streamgauge, lives_on: None) -> None:
    rows = [ROW | {"id": id} for id in ("in-a", "in-b", "in-a", "in-a", "in-b")]
    answer = tough_server.call("POST", "/api/metrics", rows, 202)
    assert (answer["accepted"], answer["duplicate"]) == (2, 3)
    events = [EVENT | {"id": id} for id in ("in-a", "in-a", "in-c")]
    answer = tough_server.call("POST", "/api/events", events, 202)
    assert (answer["accepted"], answer["duplicate"]) == (2, 1), "the ids of events are others than those of metrics"


def test_a_key_with_other_content_is_a_conflict_across_stops_and_kills(serve: Callable[..., Streamgauge]) -> None:
    server = serve(CHECKPOINT_INTERVAL="3600")
    first = post(server, b"lasting")[1]["id"]
    for end in (server.stop, server.kill):
        end()
        server.start()
        assert post(server, b"lasting", ROW | {"value": 2})[0] == 409
        assert post(server, b"lasting", EVENT, "/api/events")[0] == 409
        status, answer = post(server, b"lasting")
        assert (status, answer["id"]) == (201, first)
    assert server.ask("metric:keyed", aggregation="sum", time_range="1h")["data"] == [{"value": 1, "count": 1}]
