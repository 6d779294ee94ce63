"""Alerts with gateways and engines: told once, known everywhere, and by whoever takes over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

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
