"""The ledger on the page: the breakdown behind the badge, refused rows as text, and loud words where sums differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Console
from tests.browser.test_access import CLEAN, in_both_themes
from tests.browser.test_page import send
from tests.support import Streamgauge

HOSTILE = {"name": "<img src=x onerror=alert(1)>" * 50, "metric_type": "none", "value": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """A server that has refused three rows."""
    server = Streamgauge(tmp_path_factory.mktemp("ledger"), {"DRAIN_SECONDS": "0"})
    server.start()
    try:
        send(server, "/api/metrics", [{"name": "a", "metric_type": "gauge", "value": value} for value in range(3)])
        assert server.request("POST", "/api/metrics", [HOSTILE, {"value": 2}])[0] == 422
        assert server.request("POST", "/api/events", b"[{")[0] == 400
        yield server
    finally:
        server.stop()


def test_the_badge_opens_the_breakdown(server: Streamgauge, page: Page, console: Console) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(server.url)
    badge = page.get_by_role("button", name=re.compile(r"^ledger [\d,]+ = [\d,]+"))
    expect(badge).to_contain_text("3 rejected")
    badge.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Ledger")
    expect(dialog).to_contain_text("Every row that came is accounted for")
    expect(dialog.get_by_role("row", name=re.compile("^accepted events 0"))).to_be_visible()
    expect(dialog.get_by_role("table", name="Where the accepted samples are")).to_contain_text("in open panes")

    # What was refused is shown as text, whatever it is.
    rows = dialog.locator(".rejects li")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("a body")
    expect(rows.nth(1)).to_contain_text("name is missing")
    expect(rows.nth(2).locator("pre")).to_have_text(json.dumps(HOSTILE))
    assert dialog.locator("img").count() == 0
    expect(dialog.locator(".mend")).to_contain_text(f"streamgauge send --file rows.ndjson --url {server.url}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    assert in_both_themes(page) == CLEAN

    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(badge).to_be_focused()
    badge.click()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    assert console.errors == []


def test_sums_that_differ_are_said_loudly(server: Streamgauge, page: Page) -> None:
    def short(route: Route) -> None:
        answer: dict[str, Any] = route.fetch().json()
        answer["in_panes"]["stored"] -= 1
        route.fulfill(json=answer | {"balanced": False})

    page.route("**/api/ledger", short)
    page.goto(server.url)
    page.get_by_role("button", name="does not balance").click()
    expect(page.get_by_role("alert")).to_contain_text("The ledger does not balance. ")
    page.unroute_all(behavior="wait")  # the page asks again and again; no answer may outlive the test
