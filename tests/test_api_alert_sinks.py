"""Alerts and far sides that do not do as they should: order, patience, reasons, and an ingest that does not notice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import slack_support
from tests.notify_support import Act, HttpSink, SmtpSink, busy, fails, hangs
from tests.support import Streamgauge, wait_until


@pytest.fixture
def sinks() -> Iterator[tuple[HttpSink, SmtpSink]]:
    with HttpSink() as web, SmtpSink() as mail:
        yield web, mail


def started(folder: Path, web: HttpSink, mail: SmtpSink, **more: object) -> Streamgauge:
    server = Streamgauge(
        folder,
        {
            "ALERT_WEBHOOK_URL": web.url, "ALERT_NETWORKS": "127.0.0.0/8", "SMTP_URL": mail.url,
            "ALERT_EMAIL_FROM": "a@example.com", "ALERT_EMAIL_TO": "b@example.com", **more,
        },
    )  # fmt: skip
    server.start()
    return server


def post(server: Streamgauge, value: float) -> float:
    """Seconds until the answer."""
    begun = time.monotonic()
    server.call("POST", "/api/metrics", {"name": "load", "metric_type": "gauge", "value": value}, 201)
    return time.monotonic() - begun


def records(server: Streamgauge, channel: str) -> list[dict[str, Any]]:
    """What was tried on a channel, oldest first."""
    return [each for each in reversed(server.call("GET", "/api/notifications")) if each["channel"] == channel]


def test_what_fails_is_tried_again_in_order_and_says_why(tmp_path: Path, sinks: tuple[HttpSink, SmtpSink]) -> None:
    web, mail = sinks
    server = started(tmp_path, web, mail)
    try:
        rule = {"name": "Load", "metric_name": "load", "threshold": 100, "notification_channels": ["webhook", "email"]}
        server.call("POST", "/api/alerts", rule, 201)
        web.script(busy("3"), fails(500, "not today"))
        mail.script(Act(451))
        post(server, 150)
        wait_until(lambda: any(each["outcome"] == "failed" for each in records(server, "webhook")), 20, "a failure")
        post(server, 1)  # over before anybody could be told that it fires
        wait_until(lambda: len(web.taken) >= 2 and len(mail.taken) >= 2, 60, "first and last message on both")
        assert [each.body["kind"] for each in web.taken] == ["firing", "resolved"]
        wait_until(lambda: records(server, "webhook")[-1]["kind"] == "resolved", 10, "the record")
        tried = records(server, "webhook")
        assert [each["outcome"] for each in tried] == ["failed", "failed", "sent", "sent"]
        assert "429" in tried[0]["reason"] and "500" in tried[1]["reason"]
        assert len({each["message_id"] for each in tried[:3]}) == 1, "one message through all tries"
        first, second = (each.at for each in web.deliveries[:2])
        assert second - first >= 3, "Retry-After is kept"
        assert records(server, "email")[0]["outcome"] == "failed"
        (incident,) = server.call("GET", "/api/incidents")
        assert incident["closed_at"] is not None
    finally:
        server.kill()


def test_a_far_side_that_hangs_holds_up_nobody(tmp_path: Path, sinks: tuple[HttpSink, SmtpSink]) -> None:
    web, mail = sinks
    server = started(tmp_path, web, mail)
    try:
        rule = {"name": "Load", "metric_name": "load", "threshold": 100, "notification_channels": ["webhook", "email"]}
        server.call("POST", "/api/alerts", rule, 201)
        web.script(hangs(), hangs())
        post(server, 150)
        wait_until(lambda: len(web.deliveries) == 1, 20, "the message that hangs")
        wait_until(lambda: len(mail.taken) == 1, 20, "the mail, all the same")
        assert sorted(post(server, 150) for _ in range(50))[25] < 0.5
        assert server.call("GET", "/ready") and server.call("GET", "/api/ledger")["balanced"]
    finally:
        server.kill()


def test_slack_has_one_message_that_changes(tmp_path: Path, sinks: tuple[HttpSink, SmtpSink]) -> None:
    web, mail = sinks
    slack = {
        "SLACK_BOT_TOKEN": slack_support.TOKEN, "SLACK_CHANNEL": "#ops", "SLACK_API_URL": web.slack_api,
        "PUBLIC_URL": "https://gauge.example.com",
    }  # fmt: skip
    server = started(tmp_path, web, mail, **slack)
    try:
        rule = {
            "name": "Slow", "metric_name": "lat", "aggregation": "max", "window": "2s", "group_by": ["host"],
            "threshold": 100, "notification_channels": ["slack", "email"], "update_interval": "1s",
        }  # fmt: skip
        server.call("POST", "/api/alerts", rule, 201)

        def load(*hosts: str) -> None:
            rows = [{"name": "lat", "metric_type": "gauge", "value": 150, "tags": {"host": host}} for host in hosts]
            server.call("POST", "/api/metrics", rows, 202)

        def until(done: Any, what: str, *hosts: str) -> None:
            """Load on some hosts until something has happened."""

            def also() -> bool:
                load(*hosts)
                time.sleep(0.2)
                return bool(done())

            wait_until(also, 30, what)

        until(lambda: len(web.slack.channel("#ops")) >= 1, "the first message", "a")
        until(lambda: len(web.slack.channel("#ops")) >= 2, "the second host in its thread", "a", "b")
        wait_until(lambda: "Resolved" in web.slack.channel("#ops")[0]["text"], 30, "its end")
        first, *replies = web.slack.channel("#ops")
        assert "thread_ts" not in first and first["edits"] >= 2, "one message that changed"
        assert {each["thread_ts"] for each in replies} == {first["ts"]}
        assert "host=b" in replies[0]["text"] and "open=metric%3Alat" in str(first["blocks"])
        wait_until(lambda: len(mail.taken) >= 2, 20, "the mails")
        begin, *others = [each.mail for each in mail.taken if each.mail is not None]
        assert all(begin["Message-ID"] in each["References"] for each in others)
    finally:
        server.kill()


def test_the_end_of_a_deleted_alert_is_told_even_after_a_kill(tmp_path: Path, sinks: tuple[HttpSink, SmtpSink]) -> None:
    web, mail = sinks
    server = started(tmp_path, web, mail)
    try:
        rule = {"name": "Load", "metric_name": "load", "threshold": 100, "notification_channels": ["webhook"]}
        made = server.call("POST", "/api/alerts", rule, 201)
        post(server, 150)
        wait_until(lambda: len(web.taken) == 1 and records(server, "webhook") != [], 20, "the message, and its record")
        web.refuse()
        server.call("DELETE", f"/api/alerts/{made['id']}")
        server.kill()
        web.listen()
        server.start()
        wait_until(lambda: len(web.taken) == 2, 30, "its end")
        told = web.taken[1].body
        assert (told["kind"], told["rule"], told["rule_id"]) == ("resolved", "Load", made["id"])
        assert told["fired_value"] == 150
    finally:
        server.kill()


def test_a_thousand_groups_that_flap_are_few_messages_and_all_end(
    tmp_path: Path, sinks: tuple[HttpSink, SmtpSink]
) -> None:
    web, mail = sinks
    server = started(tmp_path, web, mail, ALERT_FLOOD=1000)
    try:
        rule = {
            "name": "Flap", "metric_name": "flap", "aggregation": "last", "window": "1m", "group_by": ["host"],
            "threshold": 100, "notification_channels": ["webhook"], "update_interval": "2s",
        }  # fmt: skip
        made = server.call("POST", "/api/alerts", rule, 201)

        def load(value: float) -> None:
            rows = [
                {"name": "flap", "metric_type": "gauge", "value": value, "tags": {"host": f"h{n}"}} for n in range(1000)
            ]
            server.call("POST", "/api/metrics", rows, 202)

        begun = time.monotonic()
        for _ in range(3):
            for value in (150, 1):
                load(value)
                time.sleep(1.2)
        wait_until(lambda: web.taken != [] and web.taken[-1].body["kind"] == "resolved", 30, "the end")
        wait_until(lambda: server.call("GET", "/api/incidents?open=true") == [], 10, "no incident")
        lasted = time.monotonic() - begun
        # Each time all are over the incident is: a first and a last message each, and updates two seconds apart.
        assert len(web.taken) <= 2 * 3 + lasted / 2 + 1
        kinds = [each.body["kind"] for each in web.taken]
        assert kinds.count("firing") == kinds.count("resolved") >= 1
        assert any(each.body["firing"] == 1000 for each in web.taken)
        history = server.call("GET", f"/api/alerts/{made['id']}/history?limit=200")
        assert history and all(each["resolved_at"] is not None for each in history)
        assert server.call("GET", f"/api/alerts/{made['id']}")["state"] == "inactive"
    finally:
        server.kill()
