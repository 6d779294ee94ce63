"""Many live charts in a real browser for a while: its CPU, its heap, its long frames, and the time from POST to screen.

    python -m tests.browser.load [--seconds 60] [--charts 50] [--series 10] [--hz 1]

Each metric gets one sample per series and beat; the charts are grouped, so that each draws all its series. A counter
beside them is posted alone, one by one; its number on the screen says which of its posts has arrived.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, NAMES
from tests.support import Streamgauge

WARM_UP = 8.0
SHOWN, STEP = 900_000, 5_000
"""What the page shows at first, in ms: a quarter of an hour in steps of 5 s."""
PROBE = "probe"
MEGABYTE = 1 << 20

# Long animation frames are told from 50 ms; the observer of the number notes when the frame that shows it is drawn.
WATCH = """() => {
    window.found = { frames: [], seen: [] };
    new PerformanceObserver(list => list.getEntries().forEach(entry => window.found.frames.push(entry.duration)))
        .observe({ type: 'long-animation-frame' });
    const shown = [...document.querySelectorAll('article')]
        .find(article => article.querySelector('h3')?.textContent === 'PROBE');
    let last = '';
    new MutationObserver(() => {
        const text = shown.querySelector('.number').textContent;
        if (text === last) return;
        last = text;
        requestAnimationFrame(() => setTimeout(() =>
            window.found.seen.push([Number(text.replace(/,/g, '')), performance.timeOrigin + performance.now()])));
    }).observe(shown, { subtree: true, characterData: true, childList: true });
}""".replace("PROBE", PROBE)


class Figures(NamedTuple):
    """What was measured. CPU in shares of one core, times in ms, the heap in bytes after a collection."""

    cpu: float
    renderer: float
    heap_before: int
    heap_after: int
    frames_over_50: int
    longest_frame: float
    posts: int
    unseen: int
    p50: float
    p99: float
    answered_p99: float
    charts: int

    def text(self) -> str:
        """As a table."""
        rows = [
            ("charts on the page", f"{self.charts}"),
            ("browser CPU, all processes", f"{self.cpu:.0%} of one core"),
            ("browser CPU, the page's process", f"{self.renderer:.0%} of one core"),
            ("heap before, after", f"{self.heap_before / MEGABYTE:.1f} MB, {self.heap_after / MEGABYTE:.1f} MB"),
            ("frames over 50 ms, longest", f"{self.frames_over_50}, {self.longest_frame:.0f} ms"),
            ("POST to screen, p50, p99", f"{self.p50:.0f} ms, {self.p99:.0f} ms ({self.posts} posts)"),
            ("POST to answer, p99", f"{self.answered_p99:.0f} ms"),
            ("posts never seen on screen", f"{self.unseen}"),
            ("runnable processes, last minute", f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"),
        ]
        return "\n".join(f"{name:34}{value}" for name, value in rows)


class Sender(threading.Thread):
    """Posts until told to stop: all series at each beat, and the probe in between."""

    def __init__(self, url: str, charts: int, series: int, hz: float) -> None:
        super().__init__(daemon=True)
        self.url, self.charts, self.series, self.hz = url, charts, series, hz
        self.probes: list[float] = []
        self.answered: list[float] = []
        self.ended = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Raises nothing; `error` has what ended it."""
        try:
            beat, due, probe_due = 0, time.time(), time.time()
            while not self.ended.is_set():
                if time.time() >= due:
                    post(self.url, self.rows(beat))
                    beat, due = beat + 1, due + 1 / self.hz
                if time.time() >= probe_due:
                    self.probes.append(time.time() * 1000)
                    post(self.url, {"name": PROBE, "metric_type": "counter", "value": 1})
                    self.answered.append(time.time() * 1000 - self.probes[-1])
                    probe_due += 0.23  # so that it does not fall together with the beats
                time.sleep(0.005)
        except OSError as error:
            self.error = error

    def fill(self) -> None:
        """Posts the time that the page shows, so that its charts are full from the start."""
        now = int(time.time() * 1000)
        for beat in range(SHOWN // STEP):
            at = now - SHOWN + beat * STEP
            post(self.url, [{**row, "timestamp": at} for row in self.rows(beat)])

    def rows(self, beat: int) -> list[dict[str, Any]]:
        """One sample of every series."""
        return [
            {"name": name(i), "metric_type": "gauge", "value": (i + s + beat) % 17, "tags": {"host": f"host-{s}"}}
            for i in range(self.charts)
            for s in range(self.series)
        ]


def name(index: int) -> str:
    """Of a chart's metric."""
    return f"load_{index:02}"


def post(url: str, body: object) -> None:
    """Posts metrics."""
    request = urllib.request.Request(f"{url}/api/metrics", json.dumps(body).encode())
    urllib.request.urlopen(request, timeout=30).close()


def cpu_times(browser: Browser) -> tuple[float, float]:
    """Seconds of CPU that all processes of the browser and its busiest renderer have used."""
    cdp = browser.new_browser_cdp_session()
    found = cdp.send("SystemInfo.getProcessInfo")["processInfo"]
    cdp.detach()
    renderers = [process["cpuTime"] for process in found if process["type"] == "renderer"]
    return sum(process["cpuTime"] for process in found), max(renderers)


def heap(cdp: CDPSession) -> int:
    """Bytes of JavaScript in use after a collection."""
    cdp.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in cdp.send("Performance.getMetrics")["metrics"]}
    return int(metrics["JSHeapUsedSize"])


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def delays(probes: list[float], seen: list[tuple[float, float]]) -> tuple[list[float], int]:
    """(ms from each post to the first frame that shows it, how many were never shown)."""
    found, unseen = [], 0
    for count, posted in enumerate(probes, 1):
        shown = next((at for number, at in seen if number >= count), None)
        if shown is None:
            unseen += 1
        else:
            found.append(shown - posted)
    return found, unseen


def measure(browser: Browser, page: Page, server: Streamgauge, sender: Sender, seconds: float) -> Figures:
    """Watches the page while the sender sends."""
    groups = [("by", f"host@metric:{name(i)}") for i in range(sender.charts)]
    page.goto(f"{server.url}/?{urllib.parse.urlencode([*groups, ('order', 'name')])}")
    page.wait_for_function("count => document.querySelectorAll('article canvas').length >= count", arg=sender.charts)
    time.sleep(WARM_UP)
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    page.evaluate(WATCH)
    skipped = len(sender.probes)
    heap_before, before, began = heap(cdp), cpu_times(browser), time.monotonic()
    time.sleep(seconds)
    spent = time.monotonic() - began
    after = cpu_times(browser)
    sender.ended.set()
    sender.join()
    if sender.error is not None:
        raise sender.error
    time.sleep(1)
    heap_after = heap(cdp)
    found = page.evaluate("window.found")
    all_delays, unseen = delays(sender.probes, [(number, at) for number, at in found["seen"]])
    counted = all_delays[skipped:]
    return Figures(
        (after[0] - before[0]) / spent, (after[1] - before[1]) / spent, heap_before, heap_after,
        len(found["frames"]), max(found["frames"], default=0.0), len(counted), unseen,
        percentile(counted, 0.5), percentile(counted, 0.99),
        percentile(sender.answered[skipped:], 0.99), page.locator("article canvas").count(),
    )  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--charts", type=int, default=50)
    parser.add_argument("--series", type=int, default=10)
    parser.add_argument("--hz", type=float, default=1, help="samples per second and series")
    chosen = parser.parse_args()
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Streamgauge(Path(folder))
        server.start()
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            sender = Sender(server.url, chosen.charts, chosen.series, chosen.hz)
            sender.fill()
            sender.start()
            # Tall enough that every chart is on the screen: those that are not ask for nothing.
            page = browser.new_page(viewport={"width": 2560, "height": 2700})
            page.set_default_timeout(30_000)
            print(measure(browser, page, server, sender, chosen.seconds).text())
        finally:
            browser.close()
            server.stop()


if __name__ == "__main__":
    main()
