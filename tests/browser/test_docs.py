"""GET /docs in a browser: it needs nothing that its policy forbids, and everybody can read it in both themes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Console
from tests.support import ROOT, Streamgauge

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """A server for this file."""
    found = Streamgauge(tmp_path_factory.mktemp("docs"))
    found.start()
    yield found
    assert found.stop() == 0


def test_it_loads_nothing_from_elsewhere_and_breaks_no_policy(server: Streamgauge, page: Page) -> None:
    console, asked = Console(page), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url + "/docs")
    assert page.locator("article").count() > 50
    assert page.evaluate("getComputedStyle(document.querySelector('pre')).whiteSpace") == "pre-wrap", "it has its style"
    assert {url.removeprefix(server.url) for url in asked} <= {"/docs", "/docs.css", "/favicon.ico", "/favicon.svg"}
    assert console.errors == []


@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_nothing(server: Streamgauge, page: Page, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.goto(server.url + "/docs")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    page.evaluate(AXE.read_text())
    faults = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in faults] == []


def test_a_link_of_the_menu_leads_to_its_operation(server: Streamgauge, page: Page) -> None:
    page.goto(server.url + "/docs")
    page.get_by_role("navigation").get_by_role("link", name="POST /api/query", exact=True).click()
    assert page.evaluate("document.querySelector('#post_api_query').getBoundingClientRect().top") < 100
