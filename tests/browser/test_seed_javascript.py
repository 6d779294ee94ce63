"""The JavaScript client that the documentation of such services shows, unmodified, in a page of no origin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import ARGUMENTS, executable
from tests.support import ROOT, Streamgauge

CLIENT = (ROOT / "tests" / "golden" / "seed_client.js").read_text()


@pytest.fixture
def stranger(browser: Browser, server: Streamgauge) -> Iterator[Page]:
    """A page of no origin, to which localhost:8000 is the test's server."""
    rule = f"--host-resolver-rules=MAP localhost:8000 127.0.0.1:{server.port}"
    other = browser.browser_type.launch(executable_path=executable(), args=[*ARGUMENTS, rule])
    yield other.new_page()
    other.close()


def test_the_seeds_client_runs_unmodified(stranger: Page, server: Streamgauge) -> None:
    _, query = server.request(
        "POST", "/api/queries",
        {"query_string": "metric:clicks", "aggregation": "sum", "time_range": "1h", "name": "clicks"},
    )  # fmt: skip
    said: list[str] = []
    stranger.on("console", lambda message: said.append(message.text))
    stranger.set_content("<button id=buy>Buy</button>")
    stranger.add_script_tag(content=CLIENT)
    stranger.wait_for_function("() => client.ws.readyState === WebSocket.OPEN")
    stranger.evaluate("id => client.subscribe(id, () => {})", query["id"])
    answer = stranger.evaluate("sendMetric('clicks', 3, { page: '/' })")
    assert answer["value"] == 3 and answer["id"].startswith("metric_")
    stranger.click("#buy")
    stranger.wait_for_timeout(500)
    _, events = server.request("GET", "/api/events?event_type=button_click")
    assert [event["properties"]["button_text"] for event in events] == ["Buy"]
    for expected in ("New metric received:", "New event received:", "Real-time update:"):
        assert any(line.startswith(expected) for line in said), (expected, said)
