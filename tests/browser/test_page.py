"""The page as a newcomer meets it: the command to try, the first number, all types, a lost server."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Console
from tests.support import ROOT, Streamgauge


def send(server: Streamgauge, path: str, body: object) -> None:
    status, answer = server.request("POST", path, body)
    assert status in (201, 202), answer


def panel(page: Page, name: str) -> Locator:
    return page.locator("article").filter(has=page.get_by_role("heading", name=name, exact=True))


def figure(page: Page, name: str) -> Locator:
    return panel(page, name).locator("figure")


def test_the_first_load_is_small() -> None:
    """What index.html names, compressed as a proxy in front would: 200 KB at most."""
    built = ROOT / "web" / "dist"
    page = (built / "index.html").read_text()
    named = re.findall(r'(?:src|href)="/?(assets/[^"]+)"', page)
    assert len(named) >= 2, page
    size = sum(len(gzip.compress((built / name).read_bytes())) for name in named) + len(page)
    assert size < 200_000


def is_drawn(page: Page, name: str) -> bool:
    """Whether the chart's canvas has a pixel in a colour of the data: grid and text are grey."""
    return bool(
        panel(page, name)
        .locator("canvas")
        .evaluate(
            """canvas => {
                const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
                for (let i = 0; i < data.length; i += 4)
                    if (data[i + 3] > 100 && Math.abs(data[i] - data[i + 2]) > 60) return true;
                return false;
            }"""
        )
    )


def wait_until_drawn(page: Page, name: str) -> None:
    for _ in range(100):
        if is_drawn(page, name):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"the chart of {name} stays without data")


def test_first_number(server: Streamgauge, page: Page, console: Console) -> None:
    page.goto(server.url)
    expect(page.locator(".status")).to_contain_text("connected")
    expect(page.get_by_text("waiting for the first number…")).to_be_visible()
    command = page.locator(".curl code").inner_text()
    assert f"{server.url}/api/metrics" in command

    if shutil.which("curl"):
        # The very text that a reader would copy.
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20)
        assert '"hello_world"' in done.stdout, done
    else:
        send(server, "/api/metrics", {"name": "hello_world", "metric_type": "gauge", "value": 42})

    # Turns into the first chart by itself, within 2 s.
    expect(panel(page, "hello_world").locator(".number")).to_have_text("42")
    sentence = re.compile("^hello_world, gauge: 42 last value")
    expect(figure(page, "hello_world")).to_have_attribute("aria-label", sentence)
    wait_until_drawn(page, "hello_world")
    expect(page.get_by_text("waiting for the first number…")).to_have_count(0)

    send(server, "/api/metrics", {"name": "hello_world", "metric_type": "gauge", "value": 44})
    expect(panel(page, "hello_world").locator(".newest")).to_contain_text("44")

    page.reload()
    expect(panel(page, "hello_world")).to_be_visible()
    expect(panel(page, "hello_world").locator(".number")).not_to_have_text("–")
    wait_until_drawn(page, "hello_world")
    assert console.errors == []


def test_every_type_has_its_chart(server: Streamgauge, page: Page, console: Console) -> None:
    page.goto(server.url)
    rows = [
        *({"name": "requests", "metric_type": "counter", "value": v, "unit": "requests"} for v in (5, 7)),
        {"name": "cpu", "metric_type": "gauge", "value": 61.5, "unit": "%"},
        *({"name": "size", "metric_type": "histogram", "value": 2048, "unit": "bytes"} for _ in range(3)),
        *({"name": "latency", "metric_type": "timer", "value": 250, "unit": "ms"} for _ in range(3)),
        *({"name": "score", "metric_type": "average", "value": 4} for _ in range(2)),
    ]
    send(server, "/api/metrics", rows)
    send(server, "/api/events", [{"event_type": "signup", "user_id": f"u{i}"} for i in range(4)])
    says = {
        "requests": r"counter · requests: 12 requests in the last 15 min",
        "cpu": r"gauge · %: 61\.5 % last value",
        "size": r"histogram · bytes: 2 KiB p50 .*p10 2 KiB, p90 2 KiB, p99 2 KiB",
        "latency": r"timer · ms: 250 ms p50 .*p10 250 ms, p90 250 ms, p99 250 ms",
        "score": r"average: 4 mean of the last 5 s; min 4, max 4",
        "signup": r"event: 4 in the last 15 min",
    }
    for name, sentence in says.items():
        figure(page, name).scroll_into_view_if_needed()
        expect(figure(page, name)).to_have_attribute("aria-label", re.compile(f"^{name}, {sentence}"))
    expect(page.locator(".status")).to_contain_text("5 metrics · 1 event type")

    panel(page, "requests").get_by_role("button", name="Table").click()
    cells = panel(page, "requests").get_by_role("table").locator("td")
    assert sum(int(text.removesuffix(" requests")) for text in cells.all_inner_texts()) == 12
    assert console.errors == []


HOSTILE = "<img src=x onerror=alert(1)>"


def test_hostile_text_is_only_text(server: Streamgauge, page: Page, console: Console) -> None:
    name = "<script>alert(2)</script>"
    page.goto(server.url)
    expect(page.locator(".status")).to_contain_text("connected")
    sample = {"name": name, "metric_type": "gauge", "value": 7, "unit": "<b>", "tags": {"<i>": HOSTILE}}
    send(server, "/api/metrics", sample)
    event = {"event_type": HOSTILE, "user_id": "<svg onload=alert(3)>", "properties": {"x": {"y": HOSTILE}}}
    send(server, "/api/events", event)
    expect(panel(page, name).locator(".newest")).to_contain_text(f"<i>={HOSTILE}")
    expect(panel(page, HOSTILE).locator(".newest")).to_contain_text("<svg onload=alert(3)>")
    expect(panel(page, name).locator(".number")).to_have_text("7")
    page.reload()
    expect(panel(page, name).locator(".number")).to_have_text("7")
    expect(panel(page, name).locator(".newest")).to_contain_text(HOSTILE)
    assert page.locator("main img, main script, main svg, main i").count() == 0
    assert console.errors == []


def test_lost_server_comes_back_without_reload(server: Streamgauge, page: Page) -> None:
    page.goto(server.url)
    send(server, "/api/metrics", {"name": "orders", "metric_type": "counter", "value": 3})
    expect(panel(page, "orders").locator(".number")).to_have_text("3")
    page.evaluate("window.untouched = true")

    server.kill()
    expect(page.locator(".trouble")).to_contain_text(re.compile(r"Trying again (in \d+ s|now)\."))
    expect(page.locator(".trouble")).to_contain_text("What you see is")
    expect(page.locator(".status")).to_contain_text("reconnecting")
    expect(panel(page, "orders").locator(".mark")).to_contain_text("as of")
    expect(panel(page, "orders").locator(".number")).to_have_text("3")  # data stay

    server.start()
    expect(page.locator(".status")).to_contain_text("connected")
    expect(page.locator(".trouble")).to_have_count(0)
    send(server, "/api/metrics", {"name": "orders", "metric_type": "counter", "value": 4})
    expect(panel(page, "orders").locator(".number")).to_have_text("7")
    assert page.evaluate("window.untouched")


def test_keyboard_and_themes(server: Streamgauge, page: Page, console: Console) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(server.url)
    expect(page.locator(".curl")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the charts")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(".curl button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".curl button")).to_contain_text(re.compile("Copied|Selected"))

    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) != light
    assert console.errors == []
