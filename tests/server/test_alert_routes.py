"""The routes of alerting, on a real book and real documents, with a double of what evaluates and tells."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.rules.model import Episode
from engine.rules.replay import Pending, Replay
from engine.rules.replay_messages import Told
from server.preview import Preview
from server.wire.times import format_time
from tests.alert_support import Api, T, running

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
    api.double.previewed = Preview(
        replay.episodes, replay.flaps, replay.pending, replay.messages,
        [(T, T + 60_000, 60_000), (T + 60_000, T + 90_000, 5000)], ["by the minute"],
    )  # fmt: skip
    shown = await api.call("POST", "/api/alerts/preview", {"alert": S4, "time_range": "30d"})
    rule, span = api.double.asked[0]
    assert (rule.name, rule.each, span) == (S4["name"], True, 30 * 86_400_000)
    assert (shown["total_episodes"], shown["total_pending"], shown["total_messages"]) == (3, 1, 2)
    assert (shown["begin"], shown["took"] >= 0) == (format_time(T), True)
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
