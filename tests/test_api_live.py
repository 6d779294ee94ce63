"""What S4 promises of the WebSocket: rows as they arrive, subscriptions, and answers that equal those of a query."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import websocket

from tests.api_support import followed
from tests.support import Listener, Streamgauge, position, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    settings = {
        "CHECKPOINT_INTERVAL": "0.5",
        "LATENESS": "2",
        "MAX_WEBSOCKET_CONNECTIONS": "8",
        "MAX_SUBSCRIPTIONS": "10",
    }
    server = Streamgauge(tmp_path_factory.mktemp("live"), settings | {"WEBSOCKET_HEARTBEAT_INTERVAL": "1"})
    server.start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.output


def post(server: Streamgauge, name: str, value: float, **more: Any) -> Any:
    row = {"name": name, "metric_type": "counter", "value": value, **more}
    return server.call("POST", "/api/metrics", row, expect=201)


def save(server: Streamgauge, **query: Any) -> str:
    return str(server.call("POST", "/api/queries", query, expect=201)["id"])


def rows(message: dict[str, Any]) -> list[Any]:
    return [row["value"] for row in message["data"]]


def test_everybody_gets_new_rows_without_asking(server: Streamgauge) -> None:  # S4-32, S4-33, S4-39
    with server.listen("one") as one, server.listen("two") as two:
        metric = post(server, "seen", 1.5, tags={"a": "b"}, unit="l", source="s")
        sent = {"event_type": "seen", "user_id": "u", "properties": {"deep": [{"x": 1}]}, "metadata": {"m": 1}}
        event = server.call("POST", "/api/events", sent, expect=201)
        for listener in (one, two):
            message = listener.until("new_metric")
            assert message["metric"] == metric
            assert metric["id"] == f"metric_{message['offset']}_0"
            assert listener.until("new_event")["event"] == event
        assert one.hello["client_id"] == "one"


def test_the_firehose_can_be_turned_off(server: Streamgauge) -> None:
    with server.listen("quiet", "?firehose=0") as quiet, server.listen("loud") as loud:
        assert loud.answer(type="configure", firehose=False)["firehose"] is False
        post(server, "unheard", 1)
        for listener in (quiet, loud):
            assert listener.answer(type="ping") == {"type": "pong"}
            assert "new_metric" not in {message["type"] for message in listener.seen}
        assert quiet.answer(type="configure", firehose=True)["firehose"] is True
        post(server, "heard", 1)
        assert quiet.until("new_metric")["metric"]["name"] == "heard"


def test_a_saved_query_is_followed(server: Streamgauge) -> None:  # S4-34, S4-35
    query_id = save(server, query_string="metric:followed", aggregation="sum", group_by=["endpoint"])
    with server.listen() as client:
        subscription, first = client.subscribe(query_id=query_id)
        assert subscription.startswith("sub_") and first["query_id"] == query_id and first["data"] == []
        stored = post(server, "followed", 5, tags={"endpoint": "/a"})
        update = client.until("realtime_update", lambda message: message["data"] != [])
        assert update["data"] == [{"group": "/a", "labels": {"endpoint": "/a"}, "value": 5, "count": 1}]
        assert position(update["offset"]) >= position(stored["id"].split("_")[1])
        assert update["timestamp"].endswith("Z") and update["subscription_id"] == subscription
        deleted = client.answer(type="unsubscribe", subscription_id=query_id)  # the documented client's slip, A-32
        assert (deleted["type"], deleted["subscription_id"]) == ("subscription_deleted", subscription)
        post(server, "followed", 6, tags={"endpoint": "/a"})
        client.until("new_metric", lambda message: message["metric"]["value"] == 6)
        assert client.answer(type="ping") == {"type": "pong"}
        assert client.seen[-1]["type"] == "pong"
        assert client.answer(type="unsubscribe", subscription_id=subscription)["code"] == "not_found"


@pytest.mark.parametrize(
    "query",
    [
        {"aggregation": "sum"},
        {"aggregation": "median", "group_by": ["k"]},
        {"aggregation": "sum", "step": "5s", "time_range": "1m"},
        {"aggregation": "rate", "group_by": ["k"], "time_range": "30s"},
        {"aggregation": "unique"},
        {"aggregation": "average", "time_range": "24h"},
        {},
    ],
    ids=str,
)
def test_a_live_result_equals_a_query_at_the_same_offset_and_at(server: Streamgauge, query: dict[str, Any]) -> None:
    name = "equal" + "".join(filter(str.isalnum, str(query)))
    asked = {"query_string": f"metric:{name}", **query}
    with server.listen() as client:
        client.subscribe(query=asked)
        for value in (1, 5, 3):
            time.sleep(0.35)  # while flushes come and go
            newest = position(post(server, name, value, tags={"k": str(value % 2)})["id"].split("_")[1])
            update = client.until("realtime_update", lambda message: position(message["offset"]) >= newest)  # noqa: B023
            answer = server.ask(f"metric:{name}", at=update["at"], **query)
            assert answer["at"] == update["at"]
            assert answer["data"] == update["data"]  # nothing but ticks lies between the two offsets


def test_since_and_delta(server: Streamgauge) -> None:
    query_id = save(server, query_string="metric:resumed", aggregation="sum", group_by=["k"], time_range="1h")
    post(server, "resumed", 1, tags={"k": "a"})
    post(server, "resumed", 1, tags={"k": "b"})
    with server.listen() as client:
        _, first = client.subscribe(query_id=query_id, delta=True)
        assert rows(first) == [1, 1] and "delta" not in first
        post(server, "resumed", 2, tags={"k": "b"})
        update = client.until("realtime_update", lambda message: message.get("delta"))
        assert [(row["group"], row["value"]) for row in update["data"]] == [("b", 3)]
        newest = update["offset"]
        # One who knows it all hears nothing; one who knows less hears it all.
        client.send(type="subscribe", query_id=query_id, since=newest)
        client.until("subscription_created")
        assert client.answer(type="ping") == {"type": "pong"}
        assert client.seen[-2]["type"] == "subscription_created"
        _, full = client.subscribe(query_id=query_id, since=first["offset"])
        assert rows(full) == [1, 3]


def test_deltas_of_columns_make_the_columns_of_a_query(server: Streamgauge) -> None:
    query = {
        "query_string": "metric:columned", "aggregation": "average", "group_by": ["k"], "time_range": "10m",
        "step": "5s", "format": "columns",
    }  # fmt: skip
    now = time.time()
    for age in range(50, 0, -1):
        for k in "ab":
            post(server, "columned", age / 8, tags={"k": k}, timestamp=now - age)
    with server.listen("charting", "?firehose=0") as client:
        _, first = client.subscribe(query=query, delta=True)
        known, deltas, slid = first["data"], 0, 0
        for value in range(16):
            time.sleep(0.35)  # while steps begin, panes close and flushes come and go
            late = {"timestamp": time.time() - 3} if value % 3 == 0 else {}
            stored = post(server, "columned", value / 3, tags={"k": "ab"[value % 2]}, **late)
            newest = position(stored["id"].split("_")[1])
            while True:
                update = client.until("realtime_update")
                slid += update.get("delta", False) and update["first"] > known["times"][0]
                known = followed(known, update) if update.get("delta") else update["data"]
                deltas += update.get("delta", False)
                if position(update["offset"]) >= newest:
                    break
            answer = server.call("POST", "/api/query", {**query, "at": update["at"]})
            assert answer["columns"] == known
        assert deltas >= 8 and slid >= 1
        update = client.seen[-1]
        assert len(json.dumps(update)) < len(json.dumps(known)) / 4, "that is what deltas are for"


def test_the_firehose_since_an_offset(server: Streamgauge) -> None:
    offset = server.call("GET", "/ready")["offset"]
    stored = [post(server, "replayed", value) for value in (1, 2)]
    with server.listen("late", f"?since={offset}") as client:
        assert client.hello["client_id"] == "late"
        found = [client.until("new_metric")["metric"] for _ in stored]
        assert found == stored
    with server.listen("lost", "?since=anotherlog-17") as client:
        assert client.until("gap")["since"] == "anotherlog-17"


def test_bad_messages_get_an_error_and_the_connection_stays(server: Streamgauge) -> None:  # S4-37, S4-34
    bad: list[tuple[str | bytes, str]] = [
        ("{", "bad_json"),
        ("", "bad_json"),
        ("[]", "bad_request"),
        ("5", "bad_request"),
        ('{"type": 5}', "bad_request"),
        ('{"type": "dance"}', "bad_request"),
        ("{}", "bad_request"),
        ('{"type": "subscribe"}', "bad_request"),
        ('{"type": "subscribe", "query_id": "query_none"}', "not_found"),
        ('{"type": "subscribe", "query": {"query_string": "what"}}', "bad_query"),
        ('{"type": "subscribe", "query": {"query_string": "metric:a", "from": "never"}}', "bad_time_range"),
        ('{"type": "unsubscribe", "subscription_id": "sub_none"}', "not_found"),
        ('{"type": "configure", "max_rate": -1}', "bad_request"),
        ('{"x":' * 5000, "bad_json"),
        ("x" * 70_000, "message_too_large"),
        (b"\x00\xff", "bad_request"),
    ]
    with server.listen("clumsy", "?firehose=0") as client:
        for message, code in bad:
            if isinstance(message, bytes):
                client.socket.send_binary(message)
            else:
                client.socket.send(message)
            error = client.read()
            assert (error["type"], error["code"]) == ("error", code), message[:50]
            time.sleep(0.02)
        assert client.answer(type="ping") == {"type": "pong"}


def test_too_many_subscriptions(server: Streamgauge) -> None:
    with server.listen("greedy", "?firehose=0") as client:
        for number in range(10):
            client.subscribe(query={"query_string": f"metric:greedy{number}", "aggregation": "sum"})
        refused = client.answer(type="subscribe", query={"query_string": "metric:x", "aggregation": "sum"})
        assert refused["code"] == "too_many_subscriptions"


def test_subscriptions_from_outside(server: Streamgauge) -> None:  # S4-29, S4-30
    query_id = save(server, query_string="metric:outside", aggregation="sum")
    with server.listen("watched") as client:
        made = server.call("POST", "/api/subscriptions", {"query_id": query_id, "client_id": "watched"}, expect=201)
        assert made["id"].startswith("sub_") and (made["query_id"], made["client_id"]) == (query_id, "watched")
        assert client.until("subscription_created")["subscription_id"] == made["id"]
        post(server, "outside", 3)
        assert client.until("realtime_update", lambda m: rows(m) == [3])["subscription_id"] == made["id"]
        assert "message" in server.call("DELETE", f"/api/subscriptions/{made['id']}")
        client.until("subscription_deleted")
        refused = server.call("DELETE", f"/api/subscriptions/{made['id']}", expect=404)
        assert refused["detail"]["code"] == "not_found"
    for body, status in (({"query_id": "no", "client_id": "c"}, 404), ({"query_id": 1}, 400), ([], 400), (b"{", 400)):
        assert "code" in server.call("POST", "/api/subscriptions", body, expect=status)["detail"]


def test_a_deleted_query_tells_who_follows_it(server: Streamgauge) -> None:
    query_id = save(server, query_string="metric:gone", aggregation="sum")
    with server.listen() as client:
        client.subscribe(query_id=query_id)
        server.call("DELETE", f"/api/queries/{query_id}")
        assert client.until("error")["code"] == "not_found"


def test_two_connections_of_one_client_and_what_leaves_with_them(server: Streamgauge) -> None:  # S4-38
    def active() -> int:
        return int(server.call("GET", "/api/stats")["active_subscriptions"])

    wait_until(lambda: active() == 0, what="the end of earlier subscriptions")
    query_id = save(server, query_string="metric:twice", aggregation="sum")
    with server.listen("same") as one:
        with server.listen("same") as two:
            one.subscribe(query_id=query_id)
            two.subscribe(query_id=query_id)
            assert active() == 2
            post(server, "twice", 1)
            for listener in (one, two):
                listener.until("realtime_update", lambda message: rows(message) == [1])
        wait_until(lambda: active() == 1, what="the end of one subscription")
        post(server, "twice", 1)
        one.until("realtime_update", lambda message: rows(message) == [2])


def test_one_connection_too_many_is_refused_with_a_reason(server: Streamgauge) -> None:  # S4-41
    def connections() -> int:
        return int(server.call("GET", "/api/stats")["connections"])

    wait_until(lambda: connections() == 0, what="the end of earlier connections")
    listeners: list[Listener] = [server.listen(f"c{number}") for number in range(8)]
    try:
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            server.listen("c9")
        assert refused.value.status_code == 503
        assert b"too_many_connections" in (refused.value.resp_body or b"")
    finally:
        for listener in listeners:
            listener.socket.close(timeout=1)
    wait_until(lambda: connections() == 0, what="the end of the connections")
    with server.listen("again"):
        pass


def test_heartbeat(server: Streamgauge) -> None:  # S4-41
    with server.listen("alive", "?firehose=0") as client:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            opcode, _ = client.socket.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_PING:
                return
    raise AssertionError("no ping came")
