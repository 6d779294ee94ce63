"""Alerts with gateways and engines: told once, known everywhere, and by whoever takes over."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from engine.terms import partition_of
from tests.dynamodb_support import MotoServer
from tests.notify_support import HttpSink
from tests.roles_support import Together, owner_of
from tests.support import RedisServer, Streamgauge, wait_until

RULE = {"name": "Load", "metric_name": "load", "threshold": 100, "notification_channels": ["webhook"]}


def post(server: Streamgauge, value: float) -> None:
    server.call("POST", "/api/metrics", [{"name": "load", "metric_type": "gauge", "value": value}], 202)


def kinds(sink: HttpSink) -> Counter[str]:
    """How many messages of each kind, repeats under the same id taken once."""
    return Counter(kind for kind, _ in {(each.body["kind"], each.body["id"]) for each in sink.taken})


def known(server: Streamgauge, path: str) -> list[dict[str, object]]:
    """What a server lists, without how long it has lasted by now."""
    return [{name: value for name, value in each.items() if name != "duration"} for each in server.call("GET", path)]


def takes(together: Together, parts: list[int], limit: float, what: str) -> float:
    """Seconds until the engines hold so many partitions each."""
    began = time.monotonic()
    wait_until(lambda: together.held() == parts, limit, what)
    return time.monotonic() - began


def test_engines_share_the_rules_and_take_over_from_one_another(
    redis_server: RedisServer, moto: MotoServer, tmp_path: Path
) -> None:
    with HttpSink() as sink:
        settings = {"ALERT_WEBHOOK_URL": sink.url, "ALERT_NETWORKS": "127.0.0.0/8", "ALERT_FLOOD": 1000}
        together = Together(tmp_path, redis_server, moto.url, gateways=1, **settings)
        together.start()
        try:
            takes(together, [32, 32], 20, "both engines holding their part")
            _share(together, sink)
        finally:
            together.kill()


def _share(together: Together, sink: HttpSink) -> None:
    (gateway,) = together.gateways
    rules = {gateway.call("POST", "/api/alerts", RULE | {"name": f"Load {n}"}, 201)["id"] for n in range(16)}
    assert len({partition_of(id) // 32 for id in rules}) == 2, "random ids: in one of 30,000 runs all are together"
    owner = owner_of(together.engines)
    (other,) = [engine for engine in together.engines if engine is not owner]
    for round, value in enumerate((150, 1, 150)):
        if round == 1:
            other.kill()  # before or after it has told of what fires
            assert takes(together, [64], 10, "the owner holding all") < 5
        if round == 2:
            other.start()
            assert takes(together, [32, 32], 20, "the one that is back holding its part") < 5
            post(gateway, 1)
            wait_until(lambda: are_shared(together), 10, "each rule being evaluated by one engine")
        post(gateway, value)
        kind, told = ("resolved", 1) if value == 1 else ("firing", 1 + round // 2)
        expected = dict.fromkeys(rules, told)
        wait_until(lambda kind=kind, expected=expected: by_rule(sink, kind) == expected, 30, f"{kind} of each")  # type: ignore[misc]
    assert other.stop() == 0
    assert takes(together, [64], 10, "the owner holding all again") < 5


def are_shared(together: Together) -> bool:
    """Whether each rule is evaluated by one engine, and each engine evaluates some: only who evaluates knows the groups
    of an alert that does not fire."""
    answers = [[each["groups"] for each in engine.call("GET", "/api/alerts")] for engine in together.engines]
    return {sum(same) for same in zip(*answers, strict=True)} == {1} and all(map(any, answers))


def by_rule(sink: HttpSink, kind: str) -> Counter[str]:
    """Messages of a kind by rule, repeats under the same id taken once."""
    told = {(each.body["id"], each.body["rule_id"]) for each in sink.taken if each.body["kind"] == kind}
    return Counter(rule for _, rule in told)


def test_one_system_whoever_is_asked_and_whoever_dies(
    redis_server: RedisServer, moto: MotoServer, tmp_path: Path
) -> None:
    with HttpSink() as sink:
        settings = {"ALERT_WEBHOOK_URL": sink.url, "ALERT_NETWORKS": "127.0.0.0/8"}
        together = Together(tmp_path, redis_server, moto.url, **settings)
        together.start()
        try:
            wait_until(lambda: owner_of(together.engines) is not None, 20, "an owner")
            _run(together, sink)
        finally:
            together.kill()


def _run(together: Together, sink: HttpSink) -> None:
    one, other = together.gateways
    made = one.call("POST", "/api/alerts", RULE, 201)
    listeners = [server.listen(f"client{at}") for at, server in enumerate(together.gateways)]
    wait_until(lambda: other.call("GET", "/api/alerts") != [], 10, "the alert at the other gateway")
    post(one, 150)
    for listener in listeners:
        told = listener.until("alert_triggered")
        assert told["alert"]["id"] == made["id"] and told["metric"]["value"] == 150
    wait_until(lambda: kinds(sink)["firing"] == 1, 20, "a message")
    wait_until(lambda: one.call("GET", "/api/notifications") != [], 10, "the record")
    for path in ("/api/incidents", f"/api/alerts/{made['id']}/history", "/api/notifications"):
        wait_until(lambda path=path: known(one, path) == known(other, path), 20, path)
    (incident,) = one.call("GET", "/api/incidents")
    other.call("POST", f"/api/incidents/{incident['id']}/acknowledge", {"author": "ada"})
    wait_until(lambda: one.call("GET", "/api/incidents")[0]["acknowledged_by"] == "ada", 10, "the acknowledgement")

    wait_until(lambda: one.call("GET", "/api/alerts")[0]["evaluated_at"] is not None, 20, "word of the evaluation")

    owner = owner_of(together.engines)
    assert owner is not None
    post(other, 1)
    owner.kill()  # before or after it has told that it is over
    # A listener gives up after 10 s without a message.
    for listener in listeners:
        assert listener.until("alert_resolved")["alert"]["id"] == made["id"]
        listener.__exit__()
    wait_until(lambda: kinds(sink)["resolved"] == 1, 30, "the end, by whoever owns the log now")
    post(one, 151)
    wait_until(lambda: kinds(sink)["firing"] == 2, 20, "the next one")
    assert kinds(sink) == {"firing": 2, "resolved": 1} and len(sink.taken) <= 4
