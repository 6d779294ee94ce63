"""A server that is killed under an open page: the page says so, comes back by itself, and has no gap."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import Streamgauge

STEP = 5_000


@pytest.fixture
def utc_page(browser: Browser) -> Iterator[Page]:
    """A page in UTC, so that the times in its tables can be read back."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, timezone_id="UTC")
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def post(server: Streamgauge, age: float, value: float) -> None:
    """A sample of `orders` and one of `load` from so many seconds ago."""
    at = int((time.time() - age) * 1000)
    rows = [
        {"name": "orders", "metric_type": "counter", "value": value, "timestamp": at},
        {"name": "load", "metric_type": "gauge", "value": value, "timestamp": at, "tags": {"host": "a"}},
    ]
    receipt = server.call("POST", "/api/metrics", rows, expect=202)
    assert receipt["accepted"] == 2, receipt


def asked(server: Streamgauge, name: str, aggregation: str) -> dict[str, float]:
    """Time of day -> value of each step that has samples, by a query."""
    answer = server.ask(f"metric:{name}", aggregation=aggregation, time_range="15m", step="5s", format="columns")
    columns = answer["columns"]
    [series] = columns["series"]
    return {
        time.strftime("%H:%M:%S", time.gmtime(at / 1000)): value
        for at, value, count in zip(columns["times"], series["values"], series["counts"], strict=True)
        if count > 0
    }


def shown(page: Page, name: str) -> dict[str, float]:
    """The same as the page has it: the table twin of the chart. Steps of a sum without samples are 0 there."""
    panel = page.locator("article").filter(has=page.get_by_role("heading", name=name, exact=True))
    rows: list[list[str]] = panel.get_by_role("table").evaluate(
        "table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    found = {}
    for at, value in rows:
        time_of_day = re.search(r"\d\d:\d\d:\d\d", at)
        assert time_of_day, at
        if name == "load" or float(value) != 0:
            found[time_of_day.group()] = float(value)
    return found


def wait_until_equal(page: Page, server: Streamgauge) -> dict[str, float]:
    """Waits until both charts hold what a query answers; what `orders` holds."""
    deadline = time.monotonic() + 10
    while True:
        pairs = [
            (shown(page, name), asked(server, name, aggregation))
            for name, aggregation in (("orders", "sum"), ("load", "average"))
        ]
        if all(chart == query for chart, query in pairs):
            return pairs[0][0]
        assert time.monotonic() < deadline, pairs
        page.wait_for_timeout(100)


def state(page: Page) -> Any:
    return page.evaluate("[window.untouched, performance.getEntriesByType('navigation').length]")


def test_no_gap_after_a_kill(server: Streamgauge, utc_page: Page) -> None:
    page = utc_page
    for age, value in ((300, 3), (120, 4), (60, 5), (2, 6)):
        post(server, age, value)
    page.goto(server.url)
    for name in ("orders", "load"):
        page.get_by_role("button", name=f"Table of {name}").click()
    before = wait_until_equal(page, server)
    assert sum(before.values()) == 18
    page.evaluate("window.untouched = true")

    server.kill()
    expect(page.locator(".trouble")).to_contain_text(re.compile(r"Trying again|does not answer|was lost"))
    expect(page.locator(".status")).to_contain_text("reconnecting")
    assert shown(page, "orders") == before  # what is known stays on the screen

    server.start()
    # What happened while the server was away arrives when it is back, before and after the page is.
    post(server, 30, 7)
    expect(page.locator(".status")).to_contain_text("connected")
    expect(page.locator(".trouble")).to_have_count(0)
    post(server, 15, 8)
    post(server, 0, 9)
    after = wait_until_equal(page, server)
    assert sum(after.values()) == 42 and all(after[at] >= value for at, value in before.items())
    assert state(page) == [True, 1]


def test_a_dashboard_keeps_what_was_changed_meanwhile(server: Streamgauge, utc_page: Page) -> None:
    page = utc_page
    post(server, 0, 1)
    made = server.call("POST", "/api/dashboards", {"name": "Before", "widgets": [{"query": "metric:orders"}]}, 201)
    page.goto(f"{server.url}/?view=dashboards&dashboard={made['id']}")
    name = page.get_by_label("Name of this dashboard")
    expect(name).to_have_value("Before")
    server.kill()
    expect(page.locator(".status")).to_contain_text("reconnecting")
    name.fill("During")
    expect(page.locator(".saved")).to_contain_text("Not saved")
    expect(name).to_have_value("During")
    server.start()
    expect(page.locator(".saved")).to_have_text("Saved")
    assert server.call("GET", f"/api/dashboards/{made['id']}")["name"] == "During"
