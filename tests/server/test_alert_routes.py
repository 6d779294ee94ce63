"""The routes of alerting, on a real book and real documents, with a double of what evaluates and tells."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.rules.book import command
from engine.rules.model import Episode
from engine.rules.replay import Pending, Replay
from engine.rules.replay_messages import Told
from server.api.alerting import Anomaly, Previewed
from server.notify import NotSent
from server.wire.times import format_time
from tests.alert_support import Api, T, now, running

A, B, C = (("host", "a"),), (("host", "b"),), (("host", "c"),)
S4 = {
    "name": "High Error Rate Alert", "metric_name": "api_errors_total", "alert_type": "threshold", "threshold": 100,
    "condition": ">", "notification_channels": ["email", "slack"],
}  # fmt: skip


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(tmp_path) as found:
        yield found


# alerts as documents


async def test_the_alert_of_the_documentation_reads_back_as_sent(api: Api) -> None:  # S4-14, S4-19
    api.double.problems = {"email": "email is not configured: set SMTP_URL"}
    made = await api.call("POST", "/api/alerts", S4, 201)
    assert {name: made[name] for name in S4} == S4 and type(made["threshold"]) is int
    assert made["id"].startswith("alert_") and made["enabled"] is True and made["last_triggered"] is None
    assert (made["version"], made["created_at"]) == (1, made["updated_at"])
    assert (made["state"], made["level"], made["firing"], made["groups"]) == ("inactive", "ok", 0, 0)
    assert made["value"] is None and made["evaluated_at"] is None
    assert made["warnings"] == ["email is not configured: set SMTP_URL"] and made["error"] is None
    assert await api.call("GET", f"/api/alerts/{made['id']}") == made
    short = await api.made()
    assert (short["alert_type"], short["condition"], short["notification_channels"]) == ("threshold", ">", [])
    assert "window" not in short and "for" not in short
    assert [each["id"] for each in await api.call("GET", "/api/alerts")] == [made["id"], short["id"]]


async def test_a_change_counts_versions_and_overwrites_nobody(api: Api) -> None:
    made = await api.made(**{"for": "5m", "labels": {"team": "shop"}})
    path = f"/api/alerts/{made['id']}"
    put = await api.call("PUT", path, made | {"threshold": 7, "for": None})  # as it was read, with what is only read
    assert (put["version"], put["threshold"], put["created_at"]) == (2, 7, made["created_at"])
    assert "for" not in put and put["labels"] == {"team": "shop"}
    assert put["updated_at"] >= made["updated_at"]
    assert (await api.code("PUT", path, made | {"threshold": 8}, 409))[0] == "conflict"
    assert (await api.code("PATCH", path, {"threshold": 8, "version": 1}, 409))[0] == "conflict"
    assert (await api.call("PUT", path, {"name": "new", "metric_name": "m", "threshold": 8}))["version"] == 3
    assert "labels" not in await api.call("GET", path)
    assert (await api.call("PATCH", path, {"severity": "page"}, If_Match='"3"'))["version"] == 4
    await api.call("PATCH", path, {"severity": "x"}, 409, If_Match='W/"3"')
    await api.call("PATCH", path, {"severity": "x"}, 400, If_Match="three")
    assert (await api.call("PATCH", path, {"severity": "page"}, If_Match="*"))["version"] == 4, "nothing has changed"
    assert "severity" not in await api.call("PATCH", path, {"severity": None})
    assert (await api.code("PATCH", path, {"name": None}))[1].startswith("name: ")
    assert (await api.code("PATCH", path, {"recovery": 9}))[1].startswith("recovery: with > it is at most")
    assert (await api.code("PUT", path, S4 | {"id": "alert_other"}))[1].startswith("id: ")
    assert (await api.code("PUT", "/api/alerts/alert_none", S4, 404))[0] == "not_found"
    assert (await api.call("GET", path))["version"] == 5


async def test_of_changes_at_once_one_wins_and_the_others_hear_of_it(api: Api) -> None:
    made = await api.made()
    path = f"/api/alerts/{made['id']}"
    changes = [api.client.patch(path, json={"threshold": n, "version": 1}) for n in range(10, 20)]
    answers = await asyncio.gather(*changes)
    assert sorted(answer.status_code for answer in answers) == [200] + 9 * [409]


async def test_switched_off_and_on_and_deleted(api: Api) -> None:
    noticed: list[str] = []
    api.documents.alerts.noticed = noticed.append
    made, other = await api.made(), await api.made()
    path = f"/api/alerts/{made['id']}"
    off = await api.call("POST", path + "/disable")
    assert (off["enabled"], off["state"], off["version"]) == (False, "disabled", 2)
    assert (await api.call("POST", path + "/disable"))["version"] == 2
    assert [each["id"] for each in await api.call("GET", "/api/alerts?enabled_only=true")] == [other["id"]]
    assert [each["id"] for each in await api.call("GET", "/api/alerts?state=disabled")] == [made["id"]]
    assert not api.documents.alerts.rules()[made["id"]].enabled
    assert (await api.call("POST", path + "/enable"))["version"] == 3
    assert await api.call("DELETE", path) == {"message": "alert deleted", "id": made["id"]}
    assert made["id"] not in api.documents.alerts.rules()
    assert (await api.code("DELETE", path, expect=404))[0] == "not_found"
    assert (await api.code("GET", "/api/alerts?state=odd"))[0] == "bad_request"
    assert (await api.code("GET", "/api/alerts?enabled_only=maybe"))[0] == "bad_request"
    assert (await api.code("GET", "/api/alerts?other=1"))[0] == "bad_request"
    assert noticed == [made["id"], other["id"], made["id"], made["id"], made["id"]]


async def test_rules_stay_the_same_objects_and_survive_a_restart(api: Api, tmp_path: Path) -> None:
    made = await api.made(threshold=0)
    saved = api.documents.alerts
    assert saved.rules()[made["id"]] is saved.rules()[made["id"]]
    before = saved.rules()[made["id"]]
    changed = await api.call("PATCH", f"/api/alerts/{made['id']}", {"threshold": 1})
    assert before.critical == 0 and saved.rules()[made["id"]].critical == 1
    assert saved.rules()[made["id"]].version == 2
    async with running(tmp_path) as again:
        assert await again.call("GET", f"/api/alerts/{made['id']}") == changed
        assert again.documents.alerts.rules() == saved.rules()


async def test_another_process_saves_and_deletes(api: Api) -> None:
    saved = api.documents.alerts
    body = b'{"id":"alert_x","created_at":"2024-01-01T00:00:00.000Z","name":"x","metric_name":"m","threshold":3}'
    saved.reload("alert_x", body)
    shown = await api.call("GET", "/api/alerts/alert_x")
    assert (shown["version"], shown["updated_at"], shown["enabled"]) == (1, "2024-01-01T00:00:00.000Z", True)
    assert saved.rules()["alert_x"].critical == 3
    saved.reload("alert_x", None)
    assert "alert_x" not in saved.rules()


async def test_an_alert_whose_query_is_gone_says_so_and_comes_back_with_it(api: Api) -> None:
    saved, queries = api.documents.alerts, api.documents.alerts._queries
    query = {"id": "query_1", "query_string": "metric:m", "aggregation": "sum", "time_range": "5m"}
    queries.load([query])
    made = await api.made(metric_name=None, query_id="query_1")
    assert made["error"] is None and saved.rules()[made["id"]].query.aggregation == "sum"
    queries.reload("query_1", None)
    assert made["id"] not in saved.rules()
    path = f"/api/alerts/{made['id']}"
    assert "there is no query" in (await api.call("GET", path))["error"]
    assert (await api.call("POST", path + "/disable"))["state"] == "disabled", "it can be switched off all the same"
    assert (await api.code("PATCH", path, {"threshold": 9}, 404))[1].startswith("query_id: ")
    queries.load([query])
    assert (await api.call("GET", path))["error"] is None and made["id"] in saved.rules()


async def test_there_are_bounds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.documents.alerts, "_most", 1)
    await api.made()
    assert (await api.code("POST", "/api/alerts", S4, 409))[0] == "conflict"
    monkeypatch.setattr(api.documents.alerts, "_most", 10)
    filters = {"host": ["x" * 1000] * 40}
    assert (await api.code("POST", "/api/alerts", S4 | {"filters": filters}, 413))[0] == "body_too_large"


# where they stand


async def test_where_an_alert_stands(api: Api) -> None:
    made = await api.made(group_by=["host"], aggregation="average")
    id, double = made["id"], api.double
    double.see(id, T, {A: 9.0, B: 2.0, C: math.nan})
    double.fire(id, T - 5000, A, 6.0)
    shown = await api.call("GET", f"/api/alerts/{id}")
    assert (shown["state"], shown["level"], shown["firing"], shown["groups"]) == ("firing", "critical", 1, 3)
    assert (shown["value"], shown["evaluated_at"]) == (9.0, format_time(T))
    assert shown["last_triggered"] == format_time(T - 5000)
    assert [each["id"] for each in await api.call("GET", "/api/alerts?state=firing")] == [id]
    rows = await api.call("GET", f"/api/alerts/{id}/groups")
    assert [(row["group"], row["status"], row["level"], row["cause"], row["value"]) for row in rows] == [
        ({"host": "a"}, "firing", "critical", "condition", 9.0),
        ({"host": "b"}, "inactive", "ok", "condition", 2.0),
        ({"host": "c"}, "inactive", "ok", "no_data", None),
    ]
    assert (rows[0]["since"], rows[0]["fired_at"]) == (format_time(T - 6000), format_time(T - 5000))
    assert (rows[0]["peak"], rows[1]["peak"], rows[1]["since"]) == (6.0, None, None)
    assert len(await api.call("GET", f"/api/alerts/{id}/groups?limit=1")) == 1
    for path in ("groups?limit=0", "groups?limit=10001", "history?limit=x", "groups?other=1"):
        await api.code("GET", f"/api/alerts/{id}/{path}")
    for path in ("groups", "history"):
        await api.code("GET", f"/api/alerts/alert_none/{path}", expect=404)


async def test_a_process_that_does_not_evaluate_knows_what_the_book_knows(api: Api) -> None:
    made = await api.made(condition="<")
    api.double.fire(made["id"], T, A, 3.0, level=1)
    shown = await api.call("GET", f"/api/alerts/{made['id']}")
    assert (shown["state"], shown["level"], shown["groups"], shown["evaluated_at"]) == ("firing", "warning", 1, None)
    assert len(await api.call("GET", f"/api/alerts/{made['id']}/groups")) == 1


async def test_errors_and_groups_beyond_the_bound_are_said(api: Api) -> None:
    made = await api.made(condition="<")
    api.double.see(made["id"], T, {A: 9.0, B: 2.0}, over=3)
    shown = await api.call("GET", f"/api/alerts/{made['id']}")
    assert shown["error"] == "3 groups beyond max_groups are not evaluated" and shown["value"] == 2.0
    api.double.see(made["id"], T, {(): math.nan}, error="the query takes too long")
    shown = await api.call("GET", f"/api/alerts/{made['id']}")
    assert (shown["error"], shown["value"]) == ("the query takes too long", None)


async def test_history_is_newest_first_with_its_values(api: Api) -> None:
    made = await api.made()
    double, id = api.double, made["id"]
    double.fire(id, T, A, 6.0)
    double.resolve(id, T + 2500, A, 1.0)
    double.fire(id, T + 60_000, B, 7.0)
    newest, oldest = await api.call("GET", f"/api/alerts/{id}/history")
    assert newest["group"] == {"host": "b"} and newest["resolved_at"] is None and newest["why"] is None
    assert newest["duration"] > 1000
    assert oldest | {"id": 0} == {
        "id": 0, "group": {"host": "a"}, "level": "critical", "worst": "critical", "cause": "condition",
        "since": format_time(T - 1000), "fired_at": format_time(T), "resolved_at": format_time(T + 2500),
        "duration": 2.5, "value_at_fire": 6.0, "peak": 9.0, "peak_at": format_time(T + 2000), "value_at_resolve": 1.0,
        "why": "recovered",
    }  # fmt: skip
    assert [each["id"] for each in await api.call("GET", f"/api/alerts/{id}/history?limit=1")] == [newest["id"]]


async def test_a_preview_is_asked_of_the_rule_and_shown(api: Api) -> None:
    episodes = [
        Episode("", "", group, 2, at, at, resolved=at + 4000, resolved_value=1.0, value=7.0)
        for at, group in ((T, A), (T + 9000, B), (T + 20_000, B))
    ]
    told = [Told(T, "firing", "slack", "i1", 2, 1, 1), Told(T + 6000, "resolved", "slack", "i1", 0, 0, 1)]
    replay = Replay(T - 5, episodes, [Pending(A, T, T + 5)], told)
    api.double.previewed = Previewed(replay, [(T, T + 60_000, 60_000), (T + 60_000, T + 90_000, 5000)])
    shown = await api.call("POST", "/api/alerts/preview", {"alert": S4, "time_range": "30d"})
    rule, span = api.double.asked[0]
    assert (rule.name, rule.each, span) == (S4["name"], True, 30 * 86_400_000)
    assert (shown["total_episodes"], shown["total_pending"], shown["total_messages"]) == (3, 1, 2)
    assert (shown["begin"], shown["took"] >= 0) == (format_time(T - 5), True)
    assert (shown["episodes"][0]["duration"], shown["episodes"][0]["value_at_fire"]) == (4.0, 7.0)
    assert shown["flaps"] == [{"group": {"host": "b"}, "count": 2}, {"group": {"host": "a"}, "count": 1}]
    assert [(each["kind"], each["channel"], each["level"], each["at"]) for each in shown["messages"]] == [
        ("firing", "slack", "critical", format_time(T)), ("resolved", "slack", "ok", format_time(T + 6000))
    ]  # fmt: skip
    assert [part["resolution"] for part in shown["evaluated"]] == ["1m", "5s"]
    assert (await api.code("POST", "/api/alerts/preview", {"alert": S4, "time_range": "500d"}))[0] == "bad_time_range"
    assert (await api.code("POST", "/api/alerts/preview", {"alert": S4 | {"recovery": 200}}))[1].startswith("recovery")
    assert (await api.code("POST", "/api/alerts/preview", {"alert": {"name": "x"}}))[1].startswith("metric_name")
    assert await api.call("GET", "/api/alerts") == []


# incidents, and what was told of them


def tell(api: Api, incident: str, do: str = "sent", at: int = T, channel: str = "slack", **more: Any) -> None:
    if do == "sent":
        more = {"kind": "firing", "message": "m1", "revision": 1, "ids": {}, "tries": 1, "last": False} | more
    elif do == "failed":
        more = {"kind": "firing", "message": "m1", "reason": "it hangs", "retry": at + 1000, "tries": 2} | more
    api.double.book.take(command(do, incident=incident, channel=channel, at=at, **more))


async def test_incidents_are_listed_and_looked_after(api: Api) -> None:
    made, other = await api.made(name="first"), await api.made(name="second")
    double = api.double
    double.fire(made["id"], T)
    double.fire(other["id"], T + 5000, A)
    double.fire(other["id"], T + 6000, B)
    double.resolve(made["id"], T + 7000)
    newest, oldest = await api.call("GET", "/api/incidents")
    assert (newest["alert_id"], newest["alert"], newest["firing"], newest["total"]) == (other["id"], "second", 2, 2)
    assert (newest["level"], newest["opened_at"], newest["closed_at"]) == ("critical", format_time(T + 5000), None)
    assert (oldest["level"], oldest["worst"], oldest["closed_at"]) == ("ok", "critical", format_time(T + 7000))
    assert await api.call("GET", "/api/incidents?open=true") == [newest]
    assert await api.call("GET", "/api/incidents?open=false") == [oldest]
    assert await api.call("GET", f"/api/incidents?alert_id={made['id']}&limit=5") == [oldest]
    await api.code("GET", "/api/incidents?open=perhaps")
    path = f"/api/incidents/{newest['id']}"
    assert (newest["acknowledged_by"], newest["snoozed_until"]) == (None, None)
    assert (await api.call("POST", path + "/acknowledge", {}))["acknowledged_by"] == "somebody"
    assert (await api.call("POST", path + "/acknowledge", {"author": "ada"}))["acknowledged_by"] == "ada"
    begun = now()
    assert format_time(begun + 3_599_000) < (await api.call("POST", path + "/snooze", {"for": "1h"}))["snoozed_until"]
    assert (await api.call("POST", path + "/unsnooze", {}))["snoozed_until"] is None
    assert (await api.code("POST", path + "/snooze", {"for": "32d"}))[1].startswith("for: ")
    await api.code("POST", path + "/snooze", {})
    assert (await api.code("POST", f"/api/incidents/{oldest['id']}/acknowledge", {}, 409))[0] == "conflict"
    assert (await api.code("POST", "/api/incidents/none/acknowledge", {}, 404))[0] == "not_found"
    await api.call("DELETE", f"/api/alerts/{other['id']}")
    assert (await api.call("GET", "/api/incidents?open=true"))[0]["alert"] == ""


async def test_how_far_a_channel_has_been_told(api: Api) -> None:
    made = await api.made()
    api.double.fire(made["id"], T)
    [incident] = await api.call("GET", "/api/incidents")

    async def delivery() -> dict[str, Any]:
        [found] = (await api.call("GET", "/api/incidents"))[0]["deliveries"]
        return dict(found)

    assert (await delivery())["status"] == "waiting"
    tell(api, incident["id"], "failed")
    found = await delivery()
    assert (found["status"], found["tries"], found["error"]) == ("retrying", 2, "it hangs")
    assert found["retry_at"] == format_time(T + 1000)
    tell(api, incident["id"], "failed", retry=None)
    assert ((await delivery())["status"], (await delivery())["sent_at"]) == ("gave_up", None)
    tell(api, incident["id"], at=T + 5)
    found = await delivery()
    assert (found["status"], found["sent_at"], found["error"]) == ("sent", format_time(T + 5), None)
    tell(api, incident["id"], "held", why="silenced by ada", ended=False)
    assert ((await delivery())["status"], (await delivery())["held"]) == ("held", "silenced by ada")
    api.double.resolve(made["id"], T + 10)
    tell(api, incident["id"], at=T + 20, kind="resolved", revision=2, last=True)
    assert (await delivery())["status"] == "sent"


async def test_what_was_told_to_whom_is_newest_first(api: Api) -> None:
    made, other = await api.made(name="first"), await api.made(name="second")
    for each in (made, other):
        api.double.fire(each["id"], T)
    first, second = sorted(await api.call("GET", "/api/incidents"), key=lambda each: str(each["alert"]))
    tell(api, first["id"], "failed", at=T + 1)
    tell(api, first["id"], at=T + 2, tries=3)
    tell(api, second["id"], "held", at=T + 3, why="muted", ended=False)
    found = await api.call("GET", "/api/notifications")
    assert [(each["alert"], each["outcome"], each["reason"], each["tries"]) for each in found] == [
        ("second", "held", "muted", 0), ("first", "sent", "", 3), ("first", "failed", "it hangs", 2)
    ]  # fmt: skip
    assert found[1] == {
        "at": format_time(T + 2), "alert_id": made["id"], "alert": "first", "incident_id": first["id"],
        "channel": "slack", "kind": "firing", "outcome": "sent", "reason": "", "message_id": "m1", "tries": 3,
    }  # fmt: skip
    assert await api.call("GET", f"/api/notifications?alert_id={other['id']}") == [found[0]]
    assert await api.call("GET", "/api/notifications?outcome=failed") == [found[2]]
    assert await api.call("GET", "/api/notifications?limit=1") == [found[0]]
    for query in ("outcome=odd", "limit=2001", "other=1"):
        await api.code("GET", f"/api/notifications?{query}")


# channels


async def test_channels_are_listed_with_those_that_alerts_name(api: Api) -> None:
    made = await api.made(notification_channels=["slack:#ops", "slack"])
    api.double.problems = {"email": "email is not configured: set SMTP_URL"}
    api.double.fire(made["id"], T)
    [incident] = await api.call("GET", "/api/incidents")
    tell(api, incident["id"], "failed")
    found = {each["name"]: each for each in await api.call("GET", "/api/channels")}
    assert list(found) == ["slack", "email", "webhook", "slack:#ops"]
    assert (found["slack"]["configured"], found["slack"]["last_error"]) == (True, "it hangs")
    assert (found["email"]["configured"], found["email"]["problem"][:5]) == (False, "email")
    assert (found["slack:#ops"]["kind"], found["slack:#ops"]["target"]) == ("slack", "#ops")
    tell(api, incident["id"], at=T + 9)
    slack = (await api.call("GET", "/api/channels"))[0]
    assert (slack["last_sent_at"], slack["last_error"]) == (format_time(T + 9), None)


async def test_a_channel_is_tested_and_says_what_is_wrong(api: Api) -> None:
    assert await api.call("POST", "/api/channels/slack/test") == {"sent": True, "ids": {"ts": "1.5"}}
    await api.call("POST", "/api/channels/slack:%23ops/test")
    await api.call("POST", "/api/channels/webhook/test?target=https%3A%2F%2Fx.example%2Fa%3Fb")
    assert api.double.tested == ["slack", "slack:#ops", "webhook:https://x.example/a?b"]
    assert (await api.code("POST", "/api/channels/pigeon/test", expect=404))[0] == "not_found"
    assert (await api.code("POST", "/api/channels/webhook/test?target=ftp://x"))[1].startswith("target: after webhook:")
    api.double.problems = {"slack": "slack is not configured"}
    assert await api.code("POST", "/api/channels/slack/test") == ("bad_request", "slack is not configured")
    api.double.fault = NotSent("the far side answers 429", after=30)
    answer = await api.client.post("/api/channels/email/test")
    assert answer.status_code == 502 and answer.headers["retry-after"] == "30"
    assert answer.json()["detail"] == {"code": "not_sent", "message": "the far side answers 429"}


# silences


SILENCE = {"matchers": '{host=~"web.*"}', "for": "2h", "reason": "new disks", "author": "ada"}


async def test_a_silence_begins_and_ends(api: Api) -> None:
    made = await api.call("POST", "/api/silences", SILENCE, 201)
    assert made["id"].startswith("silence_") and made["state"] == "active" and made["author"] == "ada"
    [kept] = api.documents.silences.silences(now())
    assert (kept.end - kept.start, kept.reason, kept.matchers[0].operator) == (7_200_000, "new disks", "=~")
    assert await api.call("GET", f"/api/silences/{made['id']}") == made
    assert await api.call("GET", "/api/silences?state=active") == [made]
    assert await api.call("DELETE", f"/api/silences/{made['id']}") == {"message": "silence ended", "id": made["id"]}
    [ended] = await api.call("GET", "/api/silences")
    assert ended["state"] == "expired" and ended["to"] < made["to"] and ended["from"] == made["from"]
    assert api.documents.silences.silences(now()) == []
    assert (await api.code("DELETE", f"/api/silences/{made['id']}", expect=404))[0] == "not_found"


async def test_a_silence_to_come_is_taken_back(api: Api, tmp_path: Path) -> None:
    start, end = now() + 3_600_000, now() + 7_200_000
    times = {"from": format_time(start), "to": end, "for": None}
    made = await api.call("POST", "/api/silences", SILENCE | times, 201)
    assert (made["state"], made["from"], made["to"]) == ("pending", format_time(start), format_time(end))
    async with running(tmp_path) as again:
        [kept] = again.documents.silences.silences(now())
        assert (kept.id, kept.start, kept.end) == (made["id"], start, end)
    await api.call("DELETE", f"/api/silences/{made['id']}")
    assert await api.call("GET", "/api/silences") == [] == api.documents.silences.silences(now())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"matchers": "host=web"}, "matchers: label matchers stand in braces"),
        ({"matchers": "{}"}, "matchers: at least one matcher"),
        ({"reason": ""}, "reason: "),
        ({"reason": None}, "reason: "),
        ({"for": None}, "to: a silence needs either"),
        ({"to": "2100-01-01"}, "to: a silence needs either"),
        ({"for": "367d"}, "to: a silence lasts at most"),
        ({"for": None, "to": "2020-01-01"}, "to: the silence ends before"),
        ({"for": None, "from": "2019-01-01", "to": "2020-01-01"}, "to: the silence would have ended"),
        ({"from": "9999-12-31"}, "from: '9999-12-31' is not between"),
        ({"from": "soon"}, "from: 'soon' is no ISO 8601 time"),
        ({"for": "2 hours"}, "for: "),
        ({"other": 1}, "other: "),
    ],
)
async def test_a_silence_that_cannot_be_is_refused(api: Api, more: dict[str, Any], words: str) -> None:
    body = {name: value for name, value in (SILENCE | more).items() if value is not None}
    assert (await api.code("POST", "/api/silences", body))[1].startswith(words)
    assert await api.call("GET", "/api/silences") == []


async def test_old_silences_make_room_for_new_ones(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.silences.MAX_SAVED", 2)
    monkeypatch.setattr(api.documents.silences, "_most", 2)
    first, second = [await api.call("POST", "/api/silences", SILENCE, 201) for _ in range(2)]
    assert (await api.code("POST", "/api/silences", SILENCE, 409))[0] == "conflict"
    await api.call("DELETE", f"/api/silences/{second['id']}")
    third = await api.call("POST", "/api/silences", SILENCE, 201)
    assert [each["id"] for each in await api.call("GET", "/api/silences")] == [first["id"], third["id"]]


# templates


DOCUMENTED = {
    "alert_templates": {
        "high_error_rate": {
            "condition": "metric:api_errors_total > 100", "severity": "critical",
            "message": "High error rate detected: {value} errors",
        },
        "low_memory": {
            "condition": "metric:memory_usage < 10", "severity": "warning", "message": "Low memory: {value}% remaining",
        },
    }
}  # fmt: skip


async def test_templates_are_loaded_listed_and_made_into_alerts(api: Api, tmp_path: Path) -> None:  # S4-46
    assert await api.call("POST", "/api/alerts/templates/load", DOCUMENTED, 201) == DOCUMENTED
    listed = await api.call("GET", "/api/alerts/templates")
    assert listed["ready"] == ["error_rate", "slow_requests", "database_errors", "rate_limit_hits"]
    own = DOCUMENTED["alert_templates"]
    assert {name: listed["alert_templates"][name] for name in own} == own
    alert = await api.call("POST", "/api/alerts/templates/low_memory", {"notification_channels": ["slack"]}, 201)
    assert (alert["name"], alert["metric_name"]) == ("Low memory", "memory_usage")
    assert (alert["condition"], alert["threshold"]) == ("<", 10)
    assert (alert["severity"], alert["message"]) == ("warning", "Low memory: {value}% remaining")
    assert alert["notification_channels"] == ["slack"] and api.documents.alerts.rules()[alert["id"]].warning == 10
    async with running(tmp_path) as again:
        assert await again.call("GET", "/api/alerts/templates") == listed
    assert (await api.call("DELETE", "/api/alerts/templates/low_memory"))["id"] == "low_memory"
    assert (await api.code("POST", "/api/alerts/templates/low_memory", {}, 404))[0] == "not_found"
    assert (await api.code("DELETE", "/api/alerts/templates/error_rate", expect=404))[0] == "not_found"


async def test_those_that_are_ready_can_be_changed_and_loaded_again(api: Api) -> None:  # S3-19
    other = {"metric_name": "mine", "threshold": 900}
    slow = await api.call("POST", "/api/alerts/templates/slow_requests", other, 201)
    assert (slow["metric_name"], slow["threshold"]) == ("mine", 900)
    assert (slow["aggregation"], slow["for"]) == ("percentile_95", "1m")
    own = await api.call("POST", "/api/alerts/templates/rate_limit_hits", {"for": None, "name": "Hits"}, 201)
    assert own["name"] == "Hits" and own["query"]["query_string"].startswith("metric:streamgauge_http_errors_total{")
    listed = await api.call("GET", "/api/alerts/templates")
    loaded = {"alert_templates": {"error_rate": listed["alert_templates"]["error_rate"] | {"severity": "page"}}}
    await api.call("POST", "/api/alerts/templates/load", loaded, 201)
    again = await api.call("GET", "/api/alerts/templates")
    assert again["alert_templates"]["error_rate"]["severity"] == "page" and "error_rate" not in again["ready"]


async def test_a_template_that_is_wrong_loads_none(api: Api) -> None:
    good = DOCUMENTED["alert_templates"]["low_memory"]
    for wrong, words in (
        ({"condition": "metric:a >"}, "alert_templates.wrong: condition: after > stands a number"),
        ({"condition": "metric:a > 1", "message": "{valeu}"}, "alert_templates.wrong: message: {valeu}"),
        ({"condition": "metric:a > 1", "recovery": 5}, "alert_templates.wrong: recovery: "),
        ({"severity": "critical"}, "alert_templates.wrong.condition: "),
        ({"condition": "metric:a > 1", "other": 1}, "alert_templates.wrong.other: "),
    ):
        body = {"alert_templates": {"good": good, "wrong": wrong}}
        assert (await api.code("POST", "/api/alerts/templates/load", body))[1].startswith(words)
    for name in ("load", "a b", ""):
        body = {"alert_templates": {name: good}}
        assert (await api.code("POST", "/api/alerts/templates/load", body))[0] == "bad_request"
    assert (await api.code("POST", "/api/alerts/templates/error_rate", {"threshold": "x"}))[1].startswith("threshold: ")
    assert len((await api.call("GET", "/api/alerts/templates"))["alert_templates"]) == 4


# anomalies


async def test_the_most_unusual_series_come_first(api: Api) -> None:
    made = await api.made(alert_type="anomaly", threshold=None, name="odd")
    api.double.unusual = [Anomaly(made["id"], A, 3.5, 7.0, T), Anomaly(made["id"], B, 0.2, None, None)]
    assert await api.call("GET", "/api/anomalies") == [
        {"alert_id": made["id"], "alert": "odd", **unusual}
        for unusual in (
            {"group": {"host": "a"}, "score": 3.5, "value": 7.0, "since": format_time(T)},
            {"group": {"host": "b"}, "score": 0.2, "value": None, "since": None},
        )
    ]
    assert len(await api.call("GET", "/api/anomalies?limit=1")) == 1
