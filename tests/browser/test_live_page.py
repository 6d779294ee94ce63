"""The live page as one works with it: time, zoom, groups, search, keys, events, and what it says of nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console
from tests.browser.test_page import figure, panel, send
from tests.support import Streamgauge


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """A server that all tests of this file share: each has names of its own."""
    server = Streamgauge(Path(tmp_path_factory.mktemp("shop")))
    server.start()
    now = time.time()
    history: list[dict[str, Any]] = []
    for back in range(600, 0, -5):
        for host, load in (("web-1", 20), ("web-2", 60)):
            tags = {"host": host, "region": "eu"}
            at = now - back
            history.append(
                {"name": "cpu", "metric_type": "gauge", "value": load, "tags": tags, "unit": "%", "timestamp": at}
            )
            history.append({"name": "orders", "metric_type": "counter", "value": 2, "tags": tags, "timestamp": at})
    send(server, "/api/metrics", history)
    send(server, "/api/metrics", {"name": "old", "metric_type": "gauge", "value": 5, "timestamp": now - 7200})
    login = {"event_type": "login", "properties": {"plan": "pro"}}
    send(server, "/api/events", [{**login, "user_id": f"u{i}"} for i in range(3)])
    try:
        yield server
    finally:
        server.stop()


def state(page: Page, name: str, wanted: str) -> None:
    expect(panel(page, name)).to_have_attribute("data-state", wanted)


def test_pause_stands_in_the_address_and_live_goes_on(shop: Streamgauge, page: Page, console: Console) -> None:
    page.goto(shop.url)
    send(shop, "/api/metrics", {"name": "paused", "metric_type": "counter", "value": 3})
    expect(panel(page, "paused").locator(".number")).to_have_text("3")
    state(page, "paused", "live")
    expect(page.locator(".ledger")).to_contain_text(re.compile(r"ledger [\d,]+ = [\d,]+ ✓"))
    expect(page.locator(".behind")).to_contain_text(re.compile(r"\d+ ms behind"))

    page.keyboard.press("Space")
    state(page, "paused", "paused")
    assert "paused=" in page.url
    time.sleep(0.05)  # what comes now comes after the pause
    send(shop, "/api/metrics", {"name": "paused", "metric_type": "counter", "value": 4, "timestamp": time.time() + 6})
    page.reload()
    state(page, "paused", "paused")
    expect(panel(page, "paused").locator(".number")).to_have_text("3")

    page.keyboard.press("Space")
    assert "paused=" not in page.url
    send(shop, "/api/metrics", {"name": "paused", "metric_type": "counter", "value": 10})
    expect(panel(page, "paused").locator(".number")).to_have_text(re.compile("1[37]"))
    state(page, "paused", "live")
    assert console.errors == []


def test_drag_zooms_and_double_click_goes_back(shop: Streamgauge, page: Page, console: Console) -> None:
    page.goto(shop.url)
    expect(panel(page, "cpu").locator(".number")).to_have_text("40")
    over = panel(page, "cpu").locator(".u-over")
    over.hover(position={"x": 8, "y": 30})
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 30)
    clock = re.compile(r"^\d\d:\d\d:\d\d ")
    expect(panel(page, "cpu").locator(".newest")).to_have_text(clock)
    expect(panel(page, "orders").locator(".newest")).to_have_text(clock)  # the crosshair is shared

    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60, steps=4)
    page.mouse.up()
    state(page, "cpu", "historical")
    state(page, "orders", "historical")
    assert re.search(r"from=20.*&to=20", page.url)
    expect(page.locator(".mode")).to_contain_text("Historical")

    over.dblclick()
    state(page, "cpu", "live")
    assert "from=" not in page.url
    page.keyboard.press("+")
    expect(page.locator(".range-choice")).to_have_value("5m")
    page.keyboard.press("ArrowLeft")
    state(page, "cpu", "historical")
    page.go_back()
    expect(page.locator(".range-choice")).to_have_value("5m")
    state(page, "cpu", "live")
    assert console.errors == []


def test_groups_have_colours_a_legend_and_a_table(shop: Streamgauge, page: Page, console: Console) -> None:
    page.goto(shop.url)
    page.get_by_label("Group cpu by").select_option("host")
    page.get_by_label("Group orders by").select_option("host")
    legend = panel(page, "cpu").locator(".legend li")
    expect(legend).to_have_text([re.compile("web-2 ?60"), re.compile("web-1 ?20")])
    expect(figure(page, "cpu")).to_have_attribute("aria-label", re.compile("highest web-2"))
    swatches = ".legend li:has-text('web-1') .swatch"
    colours = [panel(page, name).locator(swatches).get_attribute("class") for name in ("cpu", "orders")]
    assert colours[0] == colours[1]
    button = legend.first.get_by_role("button")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")

    page.keyboard.press("Escape")
    panel(page, "orders").get_by_role("button", name="Table").click()
    expect(panel(page, "orders").get_by_role("columnheader")).to_have_text([re.compile("from"), "web-1", "web-2"])
    cells = panel(page, "orders").get_by_role("table").locator("td").all_inner_texts()
    answer = shop.ask("metric:orders", aggregation="sum", time_range="15m")
    assert sum(map(int, cells)) == answer["data"][0]["value"] == 480

    with page.expect_download() as download:
        panel(page, "orders").get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "time,web-1,web-2"
    assert sum(int(value) for line in lines[1:] for value in line.split(",")[1:]) == 480
    page.reload()
    expect(panel(page, "cpu").locator(".legend li")).to_have_count(2)
    assert console.errors == []


def test_everything_by_keyboard(shop: Streamgauge, page: Page, console: Console) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(shop.url)
    expect(panel(page, "cpu")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("ORD count")
    expect(page.locator("article")).to_have_count(1)
    assert "q=ORD+count" in page.url
    page.keyboard.press("Escape")
    expect(panel(page, "cpu")).to_be_visible()
    page.keyboard.press("Escape")

    page.get_by_role("button", name="by name").click()
    page.keyboard.press("j")
    expect(panel(page, "cpu")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("t")
    expect(panel(page, "cpu").get_by_role("table")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("article")).to_have_count(1)
    expect(panel(page, "cpu")).to_be_focused()
    assert "open=metric%3Acpu" in page.url
    page.keyboard.press("Escape")
    expect(panel(page, "orders")).to_be_visible()
    expect(panel(page, "cpu")).to_be_focused()

    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.keyboard.press("d")
    assert page.evaluate(ground) != light
    page.reload()
    assert page.evaluate(ground) != light
    page.keyboard.press("d")
    assert page.evaluate(ground) == light

    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("pause, or back to live")
    page.keyboard.press("Space")  # closes by its button, and pauses nothing
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".mode")).to_contain_text("Live")
    assert console.errors == []


def test_events_arrive_above_what_one_reads(shop: Streamgauge, page: Page, console: Console) -> None:
    page.goto(f"{shop.url}/?view=events")
    rows = page.locator(".event-rows tbody tr")
    expect(rows.filter(has_text="login").first).to_contain_text("plan=pro")
    send(shop, "/api/events", [{"event_type": "signup", "user_id": f"v{i}", "properties": {"n": i}} for i in range(60)])
    page.reload()
    expect(rows.first).to_contain_text("signup")
    page.mouse.wheel(0, 600)
    page.wait_for_function("() => scrollY > 300")
    page.wait_for_timeout(100)
    send(shop, "/api/events", {"event_type": "logout", "user_id": "me"})
    page.get_by_role("button", name="Show 1 new event").click()
    expect(rows.first).to_contain_text("logout")
    page.locator("#search").fill("signup v7")
    expect(rows).to_have_count(1)
    assert console.errors == []


def test_says_what_is_missing(shop: Streamgauge, page: Page, console: Console) -> None:
    page.goto(f"{shop.url}/?open=metric:nothing_yet")
    state(page, "nothing_yet", "empty")
    expect(panel(page, "nothing_yet").locator(".curl")).to_contain_text('"name": "nothing_yet"')
    send(shop, "/api/metrics", {"name": "nothing_yet", "metric_type": "timer", "value": 5, "unit": "ms"})
    state(page, "nothing_yet", "live")
    expect(panel(page, "nothing_yet").locator(".number")).to_have_text("5")

    page.goto(f"{shop.url}/?open=metric:old")
    state(page, "old", "no data in range")
    panel(page, "old").get_by_role("button", name="Jump to the last data").click()
    state(page, "old", "historical")
    expect(panel(page, "old").locator(".number")).to_have_text("5")

    page.goto(f"{shop.url}/?from=2026-01-01T00:00:00Z&to=nonsense&range=1y&view=x&by=@@&open=")
    expect(page.locator(".range-choice")).to_have_value("15m")
    assert console.errors == []


def test_over_limit_and_failures_are_said(tmp_path: Path, page: Page) -> None:
    server = Streamgauge(tmp_path / "small", {"MAX_SUBSCRIPTIONS": 2})
    server.start()
    try:
        page.goto(server.url)
        send(server, "/api/metrics", {"name": "latency", "metric_type": "timer", "value": 5})
        state(page, "latency", "partial")
        expect(panel(page, "latency").locator(".facts")).to_have_text("Failed: p90, p99.")
        send(server, "/api/metrics", {"name": "second", "metric_type": "gauge", "value": 5})
        state(page, "second", "over limit")
        broken = {"detail": {"code": "internal", "message": "broke"}}
        page.route("**/api/query", lambda route: route.fulfill(status=500, json=broken))
        page.keyboard.press("ArrowLeft")
        state(page, "second", "error")
        expect(panel(page, "second").locator(".facts")).to_have_text("broke")
    finally:
        server.stop()


@pytest.mark.parametrize("width", [360, 800, 2560])
def test_fits_every_screen_and_keeps_still(shop: Streamgauge, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.add_init_script(
        "window.shifts = 0;"
        "new PerformanceObserver(list => { for (const e of list.getEntries()) window.shifts += e.value; })"
        ".observe({ type: 'layout-shift', buffered: true })"
    )
    send(shop, "/api/metrics", {"name": "wild", "metric_type": "gauge", "value": 7})
    page.goto(f"{shop.url}/?q=wild")
    expect(panel(page, "wild").locator(".number")).not_to_have_text("–")
    expect(page.locator(".ledger")).to_contain_text("=")
    page.evaluate("window.shifts = 0")
    for value in (1, 1_000_000, 0.00012):
        send(shop, "/api/metrics", {"name": "wild", "metric_type": "gauge", "value": value, "tags": {"a": "b"}})
        page.wait_for_timeout(150)
    assert page.evaluate("window.shifts") < 0.01
    for address in ("/", "/?view=events", "/?view=dashboards", "/?open=metric:cpu"):
        page.goto(shop.url + address)
        page.locator("main > *").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
