"""The routes of silences and of templates of alerts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.wire.times import format_time
from tests.alert_support import Api, now, running


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(tmp_path) as found:
        yield found


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
