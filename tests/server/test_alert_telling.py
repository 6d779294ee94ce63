"""The routes of what was told to whom: incidents, notifications, channels, and how unusual series are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.anomaly import Episode, Standing
from engine.rules.marks import command
from server.api.alerting import Anomaly
from server.notify import NotSent
from server.wire.times import format_time
from tests.alert_support import Api, T, now, running

A, B = (("host", "a"),), (("host", "b"),)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(tmp_path) as found:
        yield found


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


# anomalies


async def test_the_most_unusual_series_come_first(api: Api) -> None:
    made = await api.made(alert_type="anomaly", threshold=None, name="odd")
    odd = Standing(0, 3.5, True, T, 4.0, 7.0, T + 60_000, 1.0, 2.0, 3.0, (1.5, 2.5))
    calm = Standing(1, 0.2, False, None, 0.0, 2.0, T + 60_000, 1.0, 2.0, 3.0, None)
    about = "metric", "api_errors_total"
    past = [Episode(T, None, 4.0), Episode(T - 90_000, T - 60_000, 2.5)]
    api.double.unusual = [Anomaly(made["id"], about, A, odd, past), Anomaly(made["id"], about, B, calm, [])]
    first, second = await api.call("GET", "/api/anomalies")
    assert first == {
        "alert_id": made["id"], "alert": "odd", "group": {"host": "a"}, "score": 3.5, "anomalous": True,
        "since": format_time(T), "peak": 4.0, "value": 7.0, "at": format_time(T + 60_000), "likely_from": 1.5,
        "likely_to": 2.5, "typical_low": 1.0, "typical": 2.0, "typical_high": 3.0,
        "query_string": "metric:api_errors_total",
        "episodes": [
            {"from": format_time(T), "to": None, "peak": 4.0},
            {"from": format_time(T - 90_000), "to": format_time(T - 60_000), "peak": 2.5},
        ],
    }  # fmt: skip
    assert (second["group"], second["since"], second["likely_from"]) == ({"host": "b"}, None, None)
    assert len(await api.call("GET", "/api/anomalies?limit=1")) == 1
