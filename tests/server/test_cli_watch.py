"""`streamgauge tail`, `query`, `demo` and `bench` against a real server, and the command line as a whole."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from server.cli import main
from server.cli.tables import chart, span, sparkline, squeeze, table
from server.cli.terminal import number, safe
from tests.support import ROOT, Streamgauge, wait_until

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    """Starts a command in a process of its own, which is gone after the test."""
    children: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, url: str = url) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "server.cli", *arguments],
            cwd=ROOT,
            env=os.environ | {"STREAMGAUGE_URL": url},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def watchers(server: Streamgauge) -> int:
    return int(server.call("GET", "/api/stats")["connections"])


def post(server: Streamgauge, name: str, value: float, **more: Any) -> None:
    server.call("POST", "/api/metrics", {"name": name, "metric_type": "gauge", "value": value, **more}, expect=201)


def test_tail_shows_what_fits(start: Start, cli_server: Streamgauge) -> None:
    before = watchers(cli_server)
    chosen = start("tail", "tail_*", "--label", "shop=b*", "--type", "gauge", "--count", "2")
    everything = start("tail", "--json", "--count", "4")
    wait_until(lambda: watchers(cli_server) == before + 2, what="both connections")
    post(cli_server, "other", 1, tags={"shop": "berlin"})
    post(cli_server, "tail_a", 1.5, unit="kg", tags={"shop": "berlin", "note": "\x1b[2J"})
    post(cli_server, "tail_b", 2, tags={"shop": "paris"})
    post(cli_server, "tail_c", 3, tags={"shop": "bonn"})
    out, err = chosen.communicate(timeout=10)
    lines = out.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "tail_a  1.5 kg  note=\\x1b[2J shop=berlin",  # nothing that a terminal would obey
        "tail_c  3  shop=bonn",
    ], (out, err)
    names = [json.loads(line)["name"] for line in everything.communicate(timeout=10)[0].splitlines()]
    assert names == ["other", "tail_a", "tail_b", "tail_c"]


def test_tail_shows_events_alone(start: Start, cli_server: Streamgauge) -> None:
    before = watchers(cli_server)
    child = start("tail", "--events", "--label", "user_id=u1", "--count", "1")
    wait_until(lambda: watchers(cli_server) == before + 1, what="the connection")
    post(cli_server, "no_event", 1)
    for user in ("u2", "u1"):
        event = {"event_type": "login", "user_id": user, "properties": {"n": 7}}
        cli_server.call("POST", "/api/events", event, expect=201)
    out, _ = child.communicate(timeout=10)
    assert out.splitlines()[0].endswith("◆ login  user_id=u1 n=7")


def test_tail_goes_on_after_a_restart_and_ends_on_ctrl_c(start: Start, serve: Callable[..., Streamgauge]) -> None:
    server = serve(DRAIN_SECONDS="0.1")
    child = start("tail", url=server.url)
    wait_until(lambda: watchers(server) == 1, what="the connection")
    post(server, "before", 1)
    server.stop()
    server.start()
    wait_until(lambda: watchers(server) == 1, what="the next connection")
    post(server, "after", 2)
    assert child.stdout is not None
    assert [child.stdout.readline().split()[1] for _ in range(2)] == ["before", "after"]
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 0
    assert "trying again" in err and "connected again" in err and "Traceback" not in err


@pytest.fixture(scope="module")
def asked(cli_server: Streamgauge) -> None:
    """60 samples of two shops, one per second."""
    now = int(time.time() * 1000)
    rows = [
        {
            "name": "asked",
            "metric_type": "counter",
            "value": i,
            "timestamp": now - i * 1000,
            "tags": {"shop": "ab"[i % 2]},
        }
        for i in range(60)
    ]
    cli_server.call("POST", "/api/metrics", rows, expect=202)


@pytest.mark.usefixtures("asked", "url")
class TestQuery:
    def test_a_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "asked", "-a", "sum", "--by", "shop", "-r", "15m"]) == 0
        printed = capsys.readouterr()
        lines = [line.split() for line in printed.out.splitlines()]
        assert lines[0] == ["shop", "value", "count"]
        assert sorted(lines[2:]) == [["a", "870", "30"], ["b", "900", "30"]]
        assert "resolution" in printed.err and "60 rows" in printed.err

    def test_csv_and_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        command = ["query", 'metric:asked{shop=~"a|b"}', "-a", "sum", "-s", "5s", "--by", "shop", "-r", "5m"]
        assert main([*command, "--format", "json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert main([*command, "--format", "csv"]) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert sum(float(row["value"]) for row in rows) == sum(row["value"] for row in answer["data"]) == 1770
        assert set(rows[0]) == {"time", "shop", "value", "count"} and rows[0]["time"].endswith("Z")

    def test_raw_rows(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "asked", "--limit", "3", "--filter", "shop=a", "--format", "csv"]) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert len(rows) == 3 and {row["shop"] for row in rows} == {"a"} and {row["name"] for row in rows} == {"asked"}

    def test_charts(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "asked", "-a", "max", "-s", "5s", "-r", "5m"]) == 0
        printed = capsys.readouterr().out
        assert "max of asked" in printed and "█" in printed and "59 ┤" in printed and "max 59" in printed
        assert main(["query", "asked", "-a", "max", "-s", "5s", "-r", "5m", "--by", "shop"]) == 0
        assert {line.split()[0] for line in capsys.readouterr().out.splitlines()[3:]} == {"a", "b"}
        assert main(["query", "never", "-a", "max", "-s", "5s"]) == 0
        assert "no data in the range" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (["-a", "wat"], "the server refused: there is no aggregation 'wat'"),
            (["-a", "sum", "-r", "soon"], "the server refused: "),
            (["-a", "sum", "--format", "chart"], "a chart needs a --step"),
            (["--filter", "x"], "--filter 'x' is no filter"),
        ],
    )
    def test_what_cannot_be_asked(self, more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "asked", *more]) == 2
        assert said in capsys.readouterr().err


def test_the_demo_counts_a_moment_once(serve: Callable[..., Streamgauge], start: Start) -> None:
    server = serve()

    def orders() -> float:
        data = server.ask("metric:shop_orders", aggregation="sum", time_range="1h")["data"]
        return float(data[0]["value"]) if data else 0.0

    first = start("demo", "--backfill", "30s", "--rate", "50", "--seed", "5", url=server.url)
    assert first.stdout is not None
    while "Live now" not in (line := first.stdout.readline()):
        assert line, first.communicate()
    filled = orders()
    assert filled > 10
    wait_until(lambda: orders() > filled, 10, "live orders")
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=10)
    assert first.returncode == 0 and "Traceback" not in err
    assert " 0 refused" in out.splitlines()[-1]

    ended = server.call("GET", "/api/ledger")
    counts = {
        kind: server.ask(f"event:{kind}", aggregation="count", time_range="1h")["data"][0]["value"]
        for kind in ("visit", "added_to_cart", "order", "payment_paid")
    }
    assert counts["visit"] > counts["order"] and min(counts.values()) > 0
    assert counts["order"] == orders()
    stats = server.call("GET", "/api/stats")
    types = {m["name"]: m["type"] for m in stats["metrics"] if m["name"].startswith(("shop_", "http_", "server_"))}
    assert set(types.values()) == {"counter", "gauge", "histogram", "timer", "average"}

    again = start("demo", "--backfill", "25s", "--rate", "50", "--seed", "5", "--for", "0.01s", url=server.url)
    out, err = again.communicate(timeout=20)
    assert again.returncode == 0, err
    after = server.call("GET", "/api/ledger")
    assert after["duplicate"] > ended["duplicate"] + 700  # what the first had sent counts once
    assert after["accepted"] - ended["accepted"] < 1000


def test_bench_prints_a_table(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--seconds", "0.2", "--connections", "4", "--batch", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and "p99 ms" in lines[0]
    assert main(["bench", "--seconds", "0.1", "--connections", "2", "--batch", "10", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"single", "bulk", "query", "live"}
    for part in figures.values():
        assert part["per_second"] > 0 and 0 < part["p50"] <= part["p99"] <= part["most"] and part["refused"] == 0


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("serve", "send", "tail", "query", "demo", "bench", "keys"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert f"  streamgauge {command}" in capsys.readouterr().out.partition("examples:")[2]


def test_keys_of_unknown_scope(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--scope", "read+write"]) == 2
    assert "'write' is no scope" in capsys.readouterr().err


def test_only_serving_loads_the_server() -> None:
    heavy = ("numpy", "uvicorn", "websockets", "pydantic")
    code = f"import sys, server.cli; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_tables_and_charts() -> None:
    assert table(["a", "n"], [["日本", 1], ["x", 1234.5]]) == [
        "a           n",
        "────  ───────",
        "日本        1",
        "x     1,234.5",
    ]
    assert squeeze([1.0, 3.0, None, None, 5.0], 3) == ([2.0, None, 5.0], 2)
    assert span([None]) == (0.0, 1.0) and span([-2, 4]) == (-2, 4) and span([100, 101]) == (99.75, 101)
    assert sparkline([0, None, 4, 8], 0, 8) == "▁ ▅█"
    lines = chart([0, 4, 8], "first", "last", 40)
    assert len(lines) == 10 and lines[0].startswith("8 ┤") and lines[0].endswith("█████")
    assert [number(v) for v in (None, 3, 1234567, 0.5, 1e-7, 12.3456789, 1e20)] == [
        "–", "3", "1,234,567", "0.5", "1e-07", "12.3457", "1e+20",
    ]  # fmt: skip
    assert safe("a\x1b[31m\u202eb\n") == "a\\x1b[31m\\u202eb\\n"
