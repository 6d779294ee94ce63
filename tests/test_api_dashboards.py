"""Dashboards over HTTP: the shapes of S4, who is listed what, and that nobody's edit is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api_support import code
from tests.support import Streamgauge

SENT: dict[str, Any] = {
    "name": "API Performance Dashboard",
    "description": "Monitor API performance metrics",
    "widgets": [
        {
            "id": "widget_1",
            "type": "chart",
            "title": "Request Rate",
            "query": "metric:api_requests_total",
            "visualization_config": {"chart_type": "line", "time_range": "1h", "own": {"kept": [1, None, "x"]}},
            "refresh_interval": 30,
        }
    ],
    "owner_id": "user_123",
    "is_public": False,
}


@pytest.fixture(scope="module")
def server(api_server: Streamgauge) -> Streamgauge:
    return api_server


def make(server: Streamgauge, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = server.call("POST", "/api/dashboards", SENT | more, expect=201)
    return made


def test_a_dashboard_is_kept_as_sent(server: Streamgauge) -> None:  # S4-10, S4-11, S4-13, S4-31
    before = server.call("GET", "/api/stats")["total_dashboards"]
    made = make(server)
    assert made["id"].startswith("dashboard_") and made["created_at"] == made["updated_at"]
    assert {name: made[name] for name in SENT} == SENT
    assert server.call("GET", f"/api/dashboards/{made['id']}") == made
    assert server.call("GET", "/api/stats")["total_dashboards"] == before + 1
    assert code(server, "GET", "/api/dashboards/dashboard_none", expect=404) == "not_found"


def test_what_may_be_left_out(server: Streamgauge) -> None:
    widgets = [{"query": "metric:a"}, {"query": "event:b", "type": "gauge"}]
    made = server.call("POST", "/api/dashboards", {"name": "short", "widgets": widgets}, expect=201)
    assert (made["owner_id"], made["is_public"], made["description"]) == ("", False, "")
    first, second = made["widgets"]
    assert first["id"] != second["id"] and first["id"] and (first["type"], second["type"]) == ("chart", "gauge")
    assert (first["refresh_interval"], first["visualization_config"], first["title"]) == (0, {}, "")


def test_the_list_leaves_out_what_others_keep_private(server: Streamgauge) -> None:  # S4-12
    mine, shared = make(server, owner_id="ann"), make(server, owner_id="bob", is_public=True)
    hidden, nobodys = make(server, owner_id="bob"), make(server, owner_id="")

    def ids(path: str) -> set[str]:
        known = {each["id"] for each in (mine, shared, hidden, nobodys)}
        return known & {each["id"] for each in server.call("GET", path)}

    assert ids("/api/dashboards?owner_id=ann") == {mine["id"], shared["id"], nobodys["id"]}
    assert ids("/api/dashboards?owner_id=bob") == {shared["id"], hidden["id"], nobodys["id"]}
    assert ids("/api/dashboards") == {shared["id"], nobodys["id"]}
    assert code(server, "GET", "/api/dashboards?owner=ann") == "bad_request"


def test_a_change_replaces_and_rests_on_what_was_read(server: Streamgauge) -> None:
    made = make(server)
    path = f"/api/dashboards/{made['id']}"
    changed = server.call("PUT", path, made | {"name": "renamed", "widgets": []})
    assert (changed["name"], changed["widgets"]) == ("renamed", [])
    assert (changed["id"], changed["created_at"]) == (made["id"], made["created_at"])
    assert changed["updated_at"] > made["updated_at"]
    assert server.call("GET", path) == changed

    # A colleague who still has the first version: refused, told what is there, and nothing is lost.
    refused = server.call("PUT", path, made | {"name": "mine"}, expect=409)["detail"]
    assert (refused["code"], refused["updated_at"]) == ("conflict", changed["updated_at"])
    server.call("PUT", path, SENT, 409, If_Match=f'"{made["updated_at"]}"')
    assert server.call("GET", path) == changed

    # With the newest version, or on purpose without any, it goes through.
    again = server.call("PUT", path, SENT, 200, If_Match=f'"{changed["updated_at"]}"')
    assert server.call("PUT", path, SENT)["updated_at"] > again["updated_at"]
    assert code(server, "PUT", path, SENT | {"id": "dashboard_other"}) == "bad_request"
    assert code(server, "PUT", "/api/dashboards/dashboard_none", SENT, expect=404) == "not_found"


def test_of_two_changes_at_once_one_wins(server: Streamgauge) -> None:
    made = make(server)

    def change(name: str) -> int:
        return server.request("PUT", f"/api/dashboards/{made['id']}", made | {"name": name})[0]

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, [f"change {i}" for i in range(8)]))
    assert statuses == [200, *[409] * 7]


def test_a_deleted_one_is_gone(server: Streamgauge) -> None:
    made = make(server, owner_id="")
    path = f"/api/dashboards/{made['id']}"
    assert server.call("DELETE", path) == {"message": "dashboard deleted", "id": made["id"]}
    for method, body in (("GET", None), ("DELETE", None), ("PUT", SENT)):
        assert code(server, method, path, body, expect=404) == "not_found"
    assert made["id"] not in [each["id"] for each in server.call("GET", "/api/dashboards")]


def _nested(levels: int) -> dict[str, Any]:
    return {"a": _nested(levels - 1)} if levels else {}


WIDGET = SENT["widgets"][0]


@pytest.mark.parametrize(
    "bad",
    [
        {"name": ""},
        {"name": 5},
        {"panels": []},
        {"is_public": "yes"},
        {"widgets": [WIDGET, WIDGET]},
        {"widgets": [WIDGET | {"type": "pie"}]},
        {"widgets": [WIDGET | {"query": ""}]},
        {"widgets": [WIDGET | {"refresh_interval": -1}]},
        {"widgets": [WIDGET | {"refresh_interval": "30"}]},
        {"widgets": [WIDGET | {"visualization_config": []}]},
        {"widgets": [WIDGET | {"visualization_config": _nested(40)}]},
        {"widgets": [{"query": "metric:a"}] * 101},
    ],
)
def test_what_is_refused(server: Streamgauge, bad: dict[str, Any]) -> None:
    assert code(server, "POST", "/api/dashboards", SENT | bad) == "bad_request"


def test_one_that_is_too_large(server: Streamgauge) -> None:
    config = {"text": "x" * 40_000}
    widgets = [WIDGET | {"id": str(i), "visualization_config": config} for i in range(2)]
    assert code(server, "POST", "/api/dashboards", SENT | {"widgets": widgets}, expect=413) == "body_too_large"


def test_they_survive_a_kill(serve: Callable[..., Streamgauge]) -> None:
    server = serve()
    kept, gone = make(server, owner_id=""), make(server, owner_id="")
    kept = server.call("PUT", f"/api/dashboards/{kept['id']}", kept | {"name": "after"})
    server.call("DELETE", f"/api/dashboards/{gone['id']}")
    server.kill()
    server.start()
    assert server.call("GET", "/api/dashboards") == [kept]
