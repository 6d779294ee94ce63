"""GET /api/metrics/prometheus of a running server: as the documentation's prometheus.yml scrapes it, and as promtool
and a real Prometheus read it where they are installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.support import ROOT, Process, Streamgauge, wait_until

PATH = "/api/metrics/prometheus"
OWN = {"SELF_METRICS": "true", "SELF_METRICS_INTERVAL": "0.2"}
HOSTILE = 'a"b\\c\nd é'
ROWS = [
    {"name": "api_request_count", "metric_type": "counter", "value": 40,
     "tags": {"method": "GET", "path": "/api/sessions", "status": "200"}},
    {"name": "api_request_count", "metric_type": "counter", "value": 60,
     "tags": {"method": "GET", "path": "/api/sessions", "status": "200"}},
    {"name": "cpu.load", "metric_type": "gauge", "value": 0.5, "tags": {"host.name": HOSTILE}},
    {"name": "took", "metric_type": "timer", "value": 30, "unit": "ms"},
    {"name": "spread", "metric_type": "average", "value": 3},
    {"name": "running", "metric_type": "counter", "value": 7, "temporality": "cumulative"},
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    started = Streamgauge(tmp_path_factory.mktemp("scraped"), OWN)
    started.start()
    started.call("POST", "/api/metrics", ROWS, expect=202)
    wait_until(lambda: "streamgauge_rows_total" in scrape(started)[1], 5, "a reading of the server's own numbers")
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.output, started.output[-4000:]


def scrape(server: Streamgauge, accept: str = "*/*") -> tuple[str, str]:
    """(content type, body)."""
    request = urllib.request.Request(server.url + PATH, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["content-type"], answer.read().decode()


def test_it_needs_no_configuration_and_is_not_taken_for_a_metric(server: Streamgauge) -> None:
    content_type, text = scrape(server)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert 'api_request_count{method="GET",path="/api/sessions",status="200"} 100\n' in text
    assert 'cpu_load{host_name="a\\"b\\\\c\\nd é"} 0.5\n' in text
    families = {family.name: family for family in read_text(text)}
    assert {"took", "spread", "cpu_load", "streamgauge_log_size_bytes"} <= families.keys()


def test_openmetrics_is_answered_to_who_prefers_it(server: Streamgauge) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    content_type, text = scrape(server, accept)
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in read_openmetrics(text)}
    [sample] = families["api_request_count"].samples
    assert (sample.name, sample.value) == ("api_request_count_total", 100)


def test_it_wants_a_key_where_keys_are_on(serve: Callable[..., Streamgauge]) -> None:
    guarded = serve(API_KEYS="ingest:in-12345678,read:out-12345678")
    assert guarded.request("GET", PATH)[0] == 401
    assert guarded.request("GET", PATH, headers={"X-API-Key": "in-12345678"})[0] == 403
    assert guarded.request("GET", PATH, headers={"X-API-Key": "out-12345678"})[0] == 200


def test_counters_survive_kill_9(serve: Callable[..., Streamgauge]) -> None:
    river = serve(CHECKPOINT_INTERVAL="0.2", LATENESS="1")
    row = {"name": "c", "metric_type": "counter", "value": 2}
    shown = []
    for _ in range(2):
        river.call("POST", "/api/metrics", [row, row, {**row, "name": "h", "metric_type": "histogram"}], expect=202)
        text = scrape(river)[1]
        shown.append(tuple(line for line in text.splitlines() if line.startswith(("c ", "h_count ", "h_sum "))))
        river.kill()
        river.start()
        assert scrape(river)[1] == text
    assert shown == [(f"c {4 * n}", f"h_sum {2 * n}", f"h_count {n}") for n in (1, 2)]


def test_own_metrics_can_be_turned_off(serve: Callable[..., Streamgauge]) -> None:
    quiet = serve(SELF_METRICS="false", SELF_METRICS_INTERVAL="0.1")
    quiet.call("POST", "/api/metrics", ROWS[0], expect=201)
    assert scrape(quiet)[1].count("# TYPE") == 1
    assert quiet.call("GET", "/api/stats")["own_metrics"] == 0


def test_own_metrics_come_to_listeners_who_ask(server: Streamgauge) -> None:
    with server.listen() as plain, server.listen("curious") as curious:
        assert curious.answer(type="configure", own=True) == {
            "type": "configured", "firehose": True, "max_rate": 20, "own": True,
        }  # fmt: skip
        curious.until("new_metric", lambda message: message["metric"]["name"].startswith("streamgauge_"))
        server.call("POST", "/api/metrics", {"name": "mine", "metric_type": "gauge", "value": 1}, expect=201)
        plain.until("new_metric", lambda message: message["metric"]["name"] == "mine")
        assert [m["metric"]["name"] for m in plain.seen if m["type"] == "new_metric"] == ["mine"]
        assert not [m for m in plain.seen if m["type"] == "dropped"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_it(server: Streamgauge) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=scrape(server)[1].encode(), capture_output=True)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode in (0, 3), said  # 3: only style, such as a user's counter without _total
    assert "error" not in said.lower() and "streamgauge_" not in said, said


class Prometheus(Process):
    """A real Prometheus with the documentation's configuration, the target's address and the interval changed."""

    def __init__(self, directory: Path, target: int) -> None:
        super().__init__(directory)
        golden = (ROOT / "tests/golden/prometheus.yml").read_text()
        text = golden.replace("your-backend-url.com:3000", f"127.0.0.1:{target}").replace("15s", "1s")
        assert text.count(f":{target}") == text.count("interval: 1s") == 1
        directory.mkdir()
        (directory / "prometheus.yml").write_text(text)

    def command(self) -> list[str]:
        return [
            "prometheus", f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip

    def ready(self) -> bool:
        try:
            return bool(self.ask("up") is not None)
        except OSError:
            return False

    def ask(self, query: str) -> dict[tuple[tuple[str, str], ...], str]:
        """Labels -> value of an instant query."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?query={quote(query)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
        return {tuple(sorted(one["metric"].items())): one["value"][1] for one in found}


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
def test_a_real_prometheus_scrapes_it(server: Streamgauge, tmp_path: Path) -> None:
    prometheus = Prometheus(tmp_path / "prometheus", server.port)
    prometheus.start()
    try:
        wait_until(lambda: list(prometheus.ask("up").values()) == ["1"], 15, "a scrape")
        [(labels, value)] = prometheus.ask('{__name__=~"api_request_count(_total)?"}').items()
        assert value == "100"
        assert {("job", "affirmbeats"), ("method", "GET"), ("path", "/api/sessions"), ("status", "200")} <= set(labels)
        [level] = prometheus.ask("cpu_load")
        assert ("host_name", HOSTILE) in level
        assert list(prometheus.ask("histogram_quantile(0.5, took_bucket)").values()) == ["37.5"]
        assert list(prometheus.ask("spread_sum / spread_count").values()) == ["3"]
        assert list(prometheus.ask("scrape_samples_post_metric_relabeling > 50").values())
        assert prometheus.ask("streamgauge_process_resident_bytes")
    finally:
        prometheus.kill()
