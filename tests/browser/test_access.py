"""What everybody can use: axe-core finds nothing in either theme, and a dashboard is made by the keyboard alone."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Console
from tests.support import ROOT, Streamgauge

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
TYPES = ("counter", "gauge", "histogram", "timer", "average")
WIDGETS = [
    {"title": "Live", "query": "metric:a_counter"},
    {"title": "Line", "query": "metric:a_timer", "visualization_config": {"time_range": "1h"}, "refresh_interval": 30},
    {"title": "Number", "type": "metric", "query": "metric:a_gauge"},
    {"title": "By host", "type": "table", "query": "metric:a_gauge", "visualization_config": {"group_by": ["host"]}},
    {"title": "Level", "type": "gauge", "query": "metric:a_gauge", "visualization_config": {"min": 0, "max": 10}},
    {"title": "Wrong", "type": "metric", "query": "nonsense"},
]


@functools.cache
def axe_source() -> str:
    assert AXE.exists(), "axe-core is missing; run `make setup`"
    return AXE.read_text()


def violations(page: Page) -> list[str]:
    """What axe-core objects to, each with the places."""
    page.evaluate(axe_source())
    # A fade that is under way would be measured at a colour it only passes through.
    page.evaluate(
        """document.getAnimations().forEach(animation => {
            if (animation.effect?.getComputedTiming().endTime !== Infinity) animation.finish();
        })"""
    )
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:160] for node in rule['nodes'][:3]]}"
        for rule in found["violations"]
    ]


def in_both_themes(page: Page) -> dict[str, list[str]]:
    found = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        found[theme] = violations(page)
        if found[theme]:  # what stays: a browser on a busy machine may not have taken on the theme everywhere
            page.wait_for_timeout(500)
            found[theme] = violations(page)
    return found


CLEAN: dict[str, list[str]] = {"light": [], "dark": []}


def fill(server: Streamgauge) -> None:
    rows = [
        {"name": f"a_{type}", "metric_type": type, "value": value, "tags": {"host": f"web-{value}"}, "unit": "ms"}
        for type in TYPES
        for value in (1, 2, 5)
    ]
    server.call("POST", "/api/metrics", rows, expect=202)
    server.call("POST", "/api/events", {"event_type": "signup", "user_id": "u1", "properties": {"a": 1}}, expect=201)


def make_board(server: Streamgauge) -> str:
    made = server.call("POST", "/api/dashboards", {"name": "Everything", "widgets": WIDGETS}, expect=201)
    return f"{server.url}/?view=dashboards&dashboard={made['id']}"


def test_axe_would_find_something(page: Page) -> None:
    page.set_content("<html><body><img src=''><p style='color:#ccc;background:#fff'>pale</p></body></html>")
    assert {found.partition(":")[0] for found in violations(page)} >= {"image-alt", "color-contrast"}


def test_an_empty_server(server: Streamgauge, page: Page) -> None:
    page.goto(server.url)
    expect(page.locator(".curl")).to_be_visible()
    assert in_both_themes(page) == CLEAN
    server.kill()
    expect(page.locator(".trouble")).to_be_visible()
    assert in_both_themes(page) == CLEAN


def test_the_page_and_a_dashboard(server: Streamgauge, page: Page, console: Console) -> None:
    fill(server)
    page.goto(server.url)
    for name in (*(f"a_{type}" for type in TYPES), "signup"):
        expect(panel(page, name).locator(".number").first).not_to_have_text("–")
    panel(page, "a_timer").get_by_role("button", name="Table").click()
    expect(panel(page, "a_timer").get_by_role("table")).to_be_visible()
    assert in_both_themes(page) == CLEAN

    page.goto(make_board(server))
    for title in ("a_counter", "Line", "Number", "By host", "Level"):
        expect(panel(page, title)).to_be_visible()
    expect(page.locator(".widget-title")).to_have_text(["Live"])
    expect(panel(page, "Line").locator("svg")).to_be_visible()
    expect(panel(page, "Number").locator(".number")).to_have_text("2.67")
    expect(panel(page, "By host").get_by_role("columnheader", name="web-2")).to_be_visible()
    expect(panel(page, "Level").locator("meter")).to_be_visible()
    expect(panel(page, "Wrong")).to_contain_text("error")
    page.get_by_role("button", name="Open of a_counter").click()
    expect(panel(page, "Number")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(panel(page, "Number")).to_be_visible()
    page.get_by_role("button", name="Choose panels").click()
    assert in_both_themes(page) == CLEAN

    page.goto(f"{server.url}/?view=dashboards")
    expect(page.get_by_role("link", name="Everything")).to_be_visible()
    assert in_both_themes(page) == CLEAN
    assert console.errors == []


def panel(page: Page, name: str) -> Locator:
    return page.locator("article").filter(has=page.get_by_role("heading", name=name, exact=True))


def tab_to(page: Page, wanted: Locator, backwards: bool = False) -> None:
    """Presses Tab until the element has the focus, as somebody without a mouse would."""
    handle = wanted.element_handle()
    for _ in range(60):
        if page.evaluate("element => document.activeElement === element", handle):
            return
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
    pytest.fail(f"Tab never comes to {wanted}")


def titles(page: Page) -> Locator:
    return page.locator("[data-widget] h3")


def test_a_dashboard_by_the_keyboard_alone(server: Streamgauge, page: Page, console: Console) -> None:
    fill(server)
    page.goto(f"{server.url}/?view=dashboards")
    tab_to(page, page.get_by_label("Name of a new dashboard"))
    page.keyboard.type("Mine")
    page.keyboard.press("Enter")

    for name in ("a_counter", "a_gauge", "signup"):
        tab_to(page, page.get_by_role("checkbox", name=name))
        page.keyboard.press("Space")
    expect(page.locator("[data-widget]")).to_have_count(3)

    # Reorder: the focus stays on what moves, so that the key can be pressed again.
    later = page.get_by_role("button", name="Move a_counter later")
    tab_to(page, later)
    page.keyboard.press("Alt+ArrowRight")
    expect(later).to_be_focused()
    page.keyboard.press("Alt+ArrowRight")
    expect(titles(page)).to_have_text(["a_gauge", "signup", "a_counter"])
    page.keyboard.press("Alt+ArrowLeft")
    tab_to(page, page.get_by_role("button", name="Move a_counter earlier"), backwards=True)
    page.keyboard.press("Enter")
    expect(titles(page)).to_have_text(["a_counter", "a_gauge", "signup"])

    tab_to(page, page.get_by_role("button", name="Remove a_gauge"))
    page.keyboard.press("Enter")
    expect(titles(page)).to_have_text(["a_counter", "signup"])
    expect(page.locator("body")).not_to_be_focused()  # the focus comes back to the board with the next frame
    page.keyboard.press("Control+z")
    expect(titles(page)).to_have_text(["a_counter", "a_gauge", "signup"])

    name = page.get_by_label("Name of this dashboard")
    tab_to(page, name, backwards=True)
    page.keyboard.press("Control+a")
    page.keyboard.type("Ours")
    expect(page.locator(".saved")).to_have_text("Saved")
    [kept] = server.call("GET", "/api/dashboards")
    assert kept["name"] == "Ours"
    assert [widget["query"] for widget in kept["widgets"]] == ["metric:a_counter", "metric:a_gauge", "event:signup"]
    page.reload()
    expect(name).to_have_value("Ours")
    expect(titles(page)).to_have_text(["a_counter", "a_gauge", "signup"])
    assert console.errors == []


def test_a_colleagues_edit_is_not_overwritten(server: Streamgauge, page: Page) -> None:
    fill(server)
    address = make_board(server)
    page.goto(address)
    expect(page.locator(".saved")).to_have_text("Saved")
    [board] = server.call("GET", "/api/dashboards")
    path = f"/api/dashboards/{board['id']}"
    server.call("PUT", path, board | {"name": "Theirs"})
    name = page.get_by_label("Name of this dashboard")
    name.fill("Mine")
    expect(page.locator(".saved")).to_contain_text("somebody else has changed")
    assert server.call("GET", path)["name"] == "Theirs"
    page.get_by_role("button", name="Take theirs").click()
    expect(name).to_have_value("Theirs")
    page.get_by_role("button", name="Undo").click()
    expect(name).to_have_value("Mine")
    expect(page.locator(".saved")).to_have_text("Saved")
    assert server.call("GET", path)["name"] == "Mine"

    page.get_by_role("button", name="All dashboards").click()
    page.get_by_role("button", name="Delete Mine").click()
    expect(page.get_by_role("link", name="Mine")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("link", name="Mine")).to_be_visible()
    assert [kept["widgets"] for kept in server.call("GET", "/api/dashboards")] == [board["widgets"]]
