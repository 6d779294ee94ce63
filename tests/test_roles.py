"""Gateways and engines on one Redis and one DynamoDB: one system, whichever process one asks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dynamodb_support import MotoServer
from tests.faults.numbers import by_size
from tests.roles_support import Together, owner_of
from tests.support import RedisServer, Streamgauge, position, wait_until


@pytest.fixture(scope="module")
def together(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, moto: MotoServer
) -> Iterator[Together]:
    made = Together(tmp_path_factory.mktemp("roles"), redis_server, moto.url)
    made.start()
    wait_until(lambda: owner_of(made.engines) is not None, 10, "an owner")
    yield made
    made.kill()


def total(server: Streamgauge, name: str) -> float | None:
    rows = server.ask(f"metric:{name}", aggregation="sum", time_range="4h")["data"]
    return rows[0]["value"] if rows else None


def see(server: Streamgauge, name: str, value: float) -> None:
    wait_until(lambda: total(server, name) == value, 5, f"{name} = {value}")


def test_what_one_gateway_takes_all_answer(together: Together) -> None:
    one, other = together.gateways
    rows = [{"name": "a", "metric_type": "counter", "value": value} for value in (1, 2)]
    receipt = one.call("POST", "/api/metrics", rows, 202)
    assert (receipt["accepted"], receipt["duplicate"], receipt["rejected"]) == (2, 0, 0)
    other.call("POST", "/api/metrics", [{"name": "a", "metric_type": "counter", "value": 4}], 202)
    for server in (one, other):
        see(server, "a", 7)
        assert server.call("GET", "/api/ledger")["balanced"]


def test_a_key_counts_once_at_whichever_gateway(together: Together) -> None:
    one, other = together.gateways
    body = [{"name": "once", "metric_type": "counter", "value": 5}]
    one.call("POST", "/api/metrics", body, 202, Idempotency_Key="k1")
    again = other.call("POST", "/api/metrics", body, 202, Idempotency_Key="k1")
    assert (again["accepted"], again["duplicate"]) == (0, 1)
    see(other, "once", 5)


def test_live_screens_and_resuming_at_another_gateway(together: Together) -> None:
    one, other = together.gateways
    question = {"query_string": "metric:live", "aggregation": "sum", "time_range": "1h"}
    with other.listen("me") as screen:
        id, _ = screen.subscribe(query=question)
        one.call("POST", "/api/metrics", [{"name": "live", "metric_type": "counter", "value": 3}], 202)
        update = screen.until("realtime_update", lambda m: m["data"] and m["data"][0]["value"] == 3)
        assert update["subscription_id"] == id
    one.call("POST", "/api/metrics", [{"name": "live", "metric_type": "counter", "value": 4}], 202)
    with one.listen("me", f"?since={update['offset']}") as screen:
        replayed = screen.until("new_metric", lambda m: m["metric"]["name"] == "live")
        assert replayed["metric"]["value"] == 4
        _, result = screen.subscribe(query=question, since=update["offset"])
        assert result["data"][0]["value"] == 7
    at = result["at"]
    answers = [server.ask("metric:live", aggregation="sum", time_range="1h", at=at)["data"] for server in (one, other)]
    assert answers[0] == answers[1] == result["data"]


def test_documents_and_subscriptions_reach_every_gateway(together: Together) -> None:
    one, other = together.gateways
    saved = one.call("POST", "/api/queries", {"query_string": "metric:kept", "aggregation": "sum"}, 201)
    wait_until(lambda: other.request("GET", f"/api/queries/{saved['id']}")[0] == 200, 5, "the query")
    board = one.call("POST", "/api/dashboards", {"name": "d", "widgets": []}, 201)
    wait_until(lambda: other.request("GET", f"/api/dashboards/{board['id']}")[0] == 200, 5, "the dashboard")
    with other.listen("far") as screen:
        made = one.call("POST", "/api/subscriptions", {"query_id": saved["id"], "client_id": "far"}, 201)
        assert screen.until("subscription_created")["subscription_id"] == made["id"]
        one.call("DELETE", f"/api/subscriptions/{made['id']}")
        assert screen.until("subscription_deleted")["subscription_id"] == made["id"]
    other.call("DELETE", f"/api/queries/{saved['id']}")
    wait_until(lambda: one.request("GET", f"/api/queries/{saved['id']}")[0] == 404, 5, "the deletion")


def test_history_goes_to_the_store_once_and_every_gateway_finds_it(together: Together) -> None:
    one, other = together.gateways
    now = time.time()
    rows = [
        {"name": "old", "metric_type": "gauge", "value": n % 7, "timestamp": now - n * 10, "tags": {"host": n % 3}}
        for n in range(900)
    ]
    one.call("POST", "/api/metrics", rows, 202)
    # Events make a flush due, hours that are over are put together by it.
    one.call("POST", "/api/events", [{"event_type": "e", "user_id": f"u{n}"} for n in range(10_001)], 202)
    wait_until(lambda: one.call("GET", "/api/ledger")["in_panes"]["stored"] >= 850, 20, "a flush")
    for server in (one, other):
        see(server, "old", sum(n % 7 for n in range(900)))
        wait_until(lambda s=server: s.call("GET", "/api/ledger")["in_panes"]["stored"] >= 850, 5, "the flush here")  # type: ignore[misc]
        ledger = server.call("GET", "/api/ledger")
        assert ledger["balanced"]
        assert server.ask("event:e", aggregation="unique", time_range="1h")["data"][0]["count"] == 10_001


def test_the_other_engine_takes_over_within_five_seconds(together: Together) -> None:
    owner = owner_of(together.engines)
    assert owner is not None
    (other,) = [engine for engine in together.engines if engine is not owner]
    before = time.monotonic()
    owner.kill()
    wait_until(lambda: owner_of([other]) is not None, 5, "the other engine owning")
    took = time.monotonic() - before
    assert took < 5
    owner.start()
    together.gateways[0].call("POST", "/api/metrics", [{"name": "after", "metric_type": "counter", "value": 1}], 202)
    see(together.gateways[1], "after", 1)


def test_an_engine_that_was_paused_writes_nothing_any_more(together: Together) -> None:
    owner = owner_of(together.engines)
    assert owner is not None and owner.child is not None
    (other,) = [engine for engine in together.engines if engine is not owner]
    fences = other.output.count("owns the log from here on")
    os.kill(owner.child.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: other.output.count("owns the log from here on") > fences, 6, "a takeover")
        together.gateways[0].call(
            "POST", "/api/events", [{"event_type": "e2", "user_id": f"u{n}"} for n in range(10_001)], 202
        )
        wait_until(lambda: together.gateways[0].ask("event:e2", aggregation="count", time_range="1h")["data"] != [], 5)
        time.sleep(by_size(0, 30))
    finally:
        os.kill(owner.child.pid, signal.SIGCONT)
    time.sleep(1.5)
    assert owner_of(together.engines) is other
    assert "Traceback" not in owner.output, owner.output[-3000:]
    for server in together.gateways:
        assert server.call("GET", "/api/ledger")["balanced"]
        assert server.ask("event:e2", aggregation="count", time_range="1h")["data"][0]["value"] == 10_001


def test_a_stop_hands_over_at_once_and_verify_agrees(together: Together) -> None:
    owner = owner_of(together.engines)
    assert owner is not None
    (other,) = [engine for engine in together.engines if engine is not owner]
    fences = other.output.count("owns the log from here on")
    assert owner.stop() == 0
    wait_until(lambda: other.output.count("owns the log from here on") > fences, 3, "the other engine owning")
    gateway = together.gateways[0]
    done = gateway.run("verify", "--url", gateway.url, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
    newest = [position(server.call("GET", "/api/stats")["offset"]) for server in together.gateways]
    assert all(newest)
    owner.start()


def test_status_says_who_is_there_and_who_owns(together: Together) -> None:
    wait_until(lambda: status(together, "--json")[0] == 0, 10, "all being well")
    code, text = status(together)
    assert code == 0 and text.count("gateway-") == 2 and text.count("engine-") == 2, text
    assert text.count(" owns ") == 1 and "balanced" in text
    for engine in together.engines:
        engine.kill()
    wait_until(lambda: "no engine is there" in status(together)[1], 15, "the engines being forgotten")
    assert status(together)[0] == 1
    for engine in together.engines:
        engine.start()


def status(together: Together, *more: str) -> tuple[int, str]:
    done = together.gateways[0].run("status", *more)
    return done.returncode, done.stdout + done.stderr


def test_roles_refuse_what_does_not_fit(tmp_path: Path) -> None:
    for role, settings, words in (
        ("engine", {}, "set REDIS_URL"),
        ("gateway", {"REDIS_URL": "redis://127.0.0.1:1"}, "set DATABASE_URL=dynamodb://"),
        ("engine", {"REDIS_URL": "redis://127.0.0.1:1", "DATABASE_URL": "sqlite:///x.db"}, "set DATABASE_URL=dynamo"),
    ):
        done = Streamgauge(tmp_path, settings, role=role).run()
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_gateway_that_was_away_for_too_long_begins_anew_and_is_whole(together: Together) -> None:
    one, other = together.gateways
    assert other.child is not None
    os.kill(other.child.pid, signal.SIGSTOP)
    # Flushes, for which so many events are reason enough: the log is trimmed behind the last but one.
    for number in range(3):
        one.call("POST", "/api/metrics", [{"name": "away", "metric_type": "counter", "value": 1}], 202)
        one.call("POST", "/api/events", [{"event_type": f"f{number}"} for _ in range(10_001)], 202)
        time.sleep(3)
    os.kill(other.child.pid, signal.SIGCONT)
    wait_until(lambda: "begins anew" in other.output, 10, "its beginning anew")
    assert "has been trimmed beyond entry" in other.output and "repair" not in other.output
    wait_until(other.ready, 15, "the gateway being ready again")
    for server in (one, other):
        see(server, "away", 3)
        assert server.call("GET", "/api/ledger")["balanced"]
    assert other.child.poll() is None and other.stop() == 0
    other.start()
