"""`python -m tests.browser.screenshots [folder]`: pictures of the page in both themes and three widths.

Starts a server of its own with the traffic of a made-up shop. The two that the README shows are written to docs/ as
well, cut to the part that says most.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, NAMES
from tests.support import ROOT, Streamgauge

WIDTHS = {"phone": (390, 844), "laptop": (1280, 800), "wall": (2560, 1440)}
VIEWS = {"": "/", "-events": "/?view=events", "-dashboards": "/?view=dashboards", "-alerts": "/?view=alerts"}
GROUPED = "/?by=route@metric:http_request_duration&by=method@metric:shop_payments"
DOCS = ROOT / "docs"
MAX_BYTES = 200_000


def main(folder: Path) -> None:
    """Writes all pictures to the folder, and the best two to docs/."""
    folder.mkdir(parents=True, exist_ok=True)
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        server = Streamgauge(Path(data))
        server.start()
        shop = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "demo", "--url", server.url, "--rate", "80", "--backfill", "20m"],
            cwd=ROOT, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        browser = playwright.chromium.launch(executable_path=executable, args=[*ARGUMENTS, "--disable-lcd-text"])
        try:
            _wait_for_shop(server)
            for theme in ("light", "dark"):
                for width in WIDTHS:
                    _pictures(browser, server, theme, width, folder)
        finally:
            browser.close()
            shop.terminate()
            shop.wait(10)
            server.stop()
    DOCS.mkdir(exist_ok=True)
    for theme in ("light", "dark"):
        _keep(folder / f"readme-{theme}.png", DOCS / f"page-{theme}.png")


def _wait_for_shop(server: Streamgauge) -> None:
    """Until what lies back is filled in: every metric's newest sample is of this minute."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        stats = server.call("GET", "/api/stats")
        newest = [datetime.fromisoformat(metric["last_time"]) for metric in stats["metrics"] if metric["last_time"]]
        if newest and (datetime.now(UTC) - min(newest)).total_seconds() < 60:
            break
        time.sleep(0.5)
    time.sleep(5)


def _pictures(browser: Browser, server: Streamgauge, theme: str, width: str, folder: Path) -> None:
    size = {"width": WIDTHS[width][0], "height": WIDTHS[width][1]}
    context = browser.new_context(viewport=size, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.on("console", lambda message: message.type == "error" and print(f"{width} {theme}: {message.text}"))
    for name, address in VIEWS.items():
        page.goto(server.url + address)
        page.locator("main article, main table, main section, main p").first.wait_for()
        page.wait_for_timeout(2500)
        page.screenshot(path=folder / f"{width}{name}-{theme}.png")
    if width == "laptop":
        page.goto(server.url + GROUPED)
        page.wait_for_timeout(2500)
        part = folder / f"readme-{theme}.png"
        page.screenshot(path=part, clip={"x": 0, "y": 0, "width": 1280, "height": 650})
        _details(page, server, theme, folder)
    context.close()


def _details(page: Page, server: Streamgauge, theme: str, folder: Path) -> None:
    page.goto(server.url)
    choices = page.locator(".group-choice")
    choices.first.wait_for()
    for at in range(min(4, choices.count())):
        choices.nth(at).select_option(index=1)
    page.wait_for_timeout(2000)
    box = page.locator(".chart").nth(1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60)
    page.wait_for_timeout(500)
    page.screenshot(path=folder / f"groups-{theme}.png")
    page.mouse.move(0, 0)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.keyboard.press("t")
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / f"opened-{theme}.png")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(1500)
    page.keyboard.press("?")
    page.wait_for_timeout(300)
    page.screenshot(path=folder / f"past-keys-{theme}.png")


def _keep(picture: Path, goal: Path) -> None:
    shutil.copyfile(picture, goal)
    size = goal.stat().st_size
    print(f"{goal.relative_to(ROOT)}: {size // 1000} kB")
    if size > MAX_BYTES:
        raise SystemExit(f"{goal.name} is larger than {MAX_BYTES // 1000} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "streamgauge-screenshots")
