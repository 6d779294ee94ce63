"""A real server, and a real browser that looks at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support import ROOT, Streamgauge

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# A bound on waiting, not on speed: a busy machine may be slow.
expect.set_options(timeout=20_000)
NAMES = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def executable() -> str | None:
    """Where Chromium lies."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


# Playwright's event loop runs as long as it does, so it must not outlive these tests: others have loops of their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Without one the tests are skipped, except in CI, where that is a failure."""
    found = executable()
    if found is None:
        reason = "no Chromium on this machine; `make setup` installs it where it can"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    assert (ROOT / "web" / "dist" / "index.html").exists(), "the page is not built; run `make setup`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Streamgauge]:
    """A server of this test's own, with an empty data folder."""
    server = Streamgauge(tmp_path / "server")
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Console:
    """What a page wrote to its console as an error, and what it threw."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        page.on("console", self._wrote)
        page.on("pageerror", lambda error: self.errors.append(f"thrown: {error}"))

    def _wrote(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of 1280 x 800 that must have caused no dialog when the test ends."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    page = context.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    yield page
    context.close()
    assert dialogs == []


@pytest.fixture
def console(page: Page) -> Console:
    """The console of `page`."""
    return Console(page)
