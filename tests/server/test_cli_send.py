"""`streamgauge send`: one metric, files in every format, refused rows, and repeats that count nothing twice."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.cli import main
from tests.support import ROOT, Streamgauge, free_port, wait_until


def total(server: Streamgauge, name: str) -> float:
    [row] = server.ask(f"metric:{name}", aggregation="sum", time_range="1d")["data"]
    return float(row["value"])


def ndjson(path: Path, rows: int, name: str, extra: str = "") -> Path:
    line = '{"name": "%s", "metric_type": "counter", "value": 1, "tags": {"n": "%d"}}\n'
    path.write_text("".join(line % (name, i % 7) for i in range(rows)) + extra)
    return path


def test_one_metric(url: str, cli_server: Streamgauge, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["send", "one_metric", "2.5", "--type", "gauge", "--unit", "°C", "--tag", "a=b=c", "--source", "s"]) == 0
    )
    assert capsys.readouterr().out == "accepted: one_metric gauge 2.5 °C a=b=c\n"
    [stored] = [m for m in cli_server.call("GET", "/api/metrics?name=one_metric") if m["name"] == "one_metric"]
    assert (stored["value"], stored["unit"], stored["source"], stored["tags"]["a"]) == (2.5, "°C", "s", "b=c")


def test_one_metric_with_an_id_counts_once(
    url: str, cli_server: Streamgauge, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [main(["send", "with_id", "3", "--id", "abc"]) for _ in range(2)] == [0, 0]
    assert capsys.readouterr().out.splitlines()[1].startswith("counted before, not again")
    assert total(cli_server, "with_id") == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["orders", "many"], 2, "the value 'many' is no number"),
        (["orders", "nan"], 2, "is no number"),
        (["orders"], 2, "give a name and a value"),
        (["or\nders", "1"], 1, "refused: name has a control character"),
        (["orders", "1", "--tag", "x"], 2, "--tag 'x' is no label"),
        (["orders", "1", "--time", "yesterday"], 1, "refused: "),
        (["--file", "/nowhere/x.csv"], 2, "/nowhere/x.csv cannot be read: No such file"),
        (["orders", "1", "--url", "ftp://x"], 2, "is no address of a server"),
        (["orders", "1", "--url", "http://127.0.0.1:1"], 2, "nothing listens on http://127.0.0.1:1. Start a server"),
        (["orders", "1", "--url", "http://nowhere.invalid"], 2, "the host of http://nowhere.invalid is not known"),
    ],
)
def test_what_cannot_be_sent(
    url: str, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", *arguments]) == code
    printed = capsys.readouterr()
    assert said in printed.err and "Traceback" not in printed.err and printed.out == ""


def test_a_file_with_bad_rows(
    url: str, cli_server: Streamgauge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = '{"name": "bad_rows", "metric_type": "counter", "value": "x"}\n{oops\n[1]\n\n{"event_type": "bad_rows"}\n'
    path = ndjson(tmp_path / "rows.ndjson", 2500, "bad_rows", bad)
    assert main(["send", "--file", str(path), "--batch", "1000"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("2,501 accepted, 3 refused; 4 requests in ")
    places = {line.split(": ")[1] for line in printed.err.splitlines() if line.startswith("refused: ")}
    assert places == {"line 2501", "line 2502", "line 2503"}
    assert total(cli_server, "bad_rows") == 2500
    assert cli_server.ask("event:bad_rows", aggregation="count")["data"][0]["value"] == 1


@pytest.mark.parametrize("form", ["json", "json-lines", "csv", "gz"])
def test_every_format_brings_the_same(form: str, url: str, cli_server: Streamgauge, tmp_path: Path) -> None:
    name = f"format_{form.replace('-', '_')}"
    rows = [
        {"name": name, "metric_type": "counter", "value": i, "tags": {"text": f'a,"{i % 3}"[] é'}} for i in range(300)
    ]
    path = tmp_path / {"json": "x.json", "json-lines": "x.txt", "csv": "x.csv", "gz": "x.ndjson.gz"}[form]
    lines = "\n".join(json.dumps(row) for row in rows)
    if form == "json":
        path.write_text(json.dumps(rows, indent=2, ensure_ascii=False))
    elif form == "csv":
        table = [f'{row["name"]},counter,{row["value"]},"a,""{i % 3}""[] é",' for i, row in enumerate(rows)]
        path.write_text("\ufeffname,type,value,text,empty\n" + "\n".join(table))
    elif form == "gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines)
    assert main(["send", "--file", str(path), "--gzip", "--quiet", "--batch", "64"]) == 0
    answer = cli_server.ask(f"metric:{name}", aggregation="sum", group_by=["text"])
    expected = {f'a,"{k}"[] é': sum(range(k, 300, 3)) for k in range(3)}
    assert {row["labels"]["text"]: row["value"] for row in answer["data"]} == expected


def test_the_arguments_stand_in_for_what_rows_do_not_have(url: str, cli_server: Streamgauge, tmp_path: Path) -> None:
    path = tmp_path / "timings.csv"
    path.write_text("value,route\n12.5,/a\n7,/b\n")
    done = ["send", "stand_in", "--type", "timer", "--unit", "ms", "--tag", "host=h", "--file", str(path), "--quiet"]
    assert main(done) == 0
    stored = cli_server.call("GET", "/api/metrics?name=stand_in")
    assert {(m["metric_type"], m["unit"], m["value"], m["tags"]["route"], m["tags"]["host"]) for m in stored} == {
        ("timer", "ms", 12.5, "/a", "h"),
        ("timer", "ms", 7, "/b", "h"),
    }
    path.write_text("route,amount\n/a,1\n")
    assert main(["send", "--file", str(path)]) == 2  # no column says the name


def test_a_file_that_breaks_off_sends_what_is_before(
    url: str, cli_server: Streamgauge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.json"
    row = '{"name": "cut", "metric_type": "counter", "value": 1}'
    path.write_text(f"[{row}, {row}, " + row[:20])
    assert main(["send", "--file", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("2 accepted, 0 refused") and "value 3 is no JSON" in printed.err
    assert total(cli_server, "cut") == 2


def test_rows_of_a_pipe_do_not_wait_for_a_full_batch(url: str, cli_server: Streamgauge) -> None:
    child = start_send(url, "--file", "-", stdin=subprocess.PIPE)
    assert child.stdin is not None
    try:
        child.stdin.write(b'{"name": "piped", "metric_type": "counter", "value": 4}\n')
        child.stdin.flush()
        wait_until(lambda: bool(cli_server.call("GET", "/api/metrics?name=piped")), 5, "the row's arrival")
        out, _ = child.communicate(b'{"name": "piped", "metric_type": "counter", "value": 5}', timeout=10)
    finally:
        child.kill()
    assert child.returncode == 0 and out.startswith(b"2 accepted")
    assert total(cli_server, "piped") == 9


def test_ctrl_c_sends_what_has_come_and_says_the_sum(url: str, cli_server: Streamgauge) -> None:
    child = start_send(url, "--file", "-", stdin=subprocess.PIPE)
    assert child.stdin is not None
    try:
        child.stdin.write(b'{"name": "stopped", "metric_type": "counter", "value": 1}\n' * 50)
        child.stdin.flush()
        wait_until(lambda: bool(cli_server.call("GET", "/api/metrics?name=stopped")), 30, "the rows' arrival")
        time.sleep(1)  # until it has heard that they arrived
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 130
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.read().startswith(b"50 accepted, 0 refused")
        assert child.stderr.read() == b"streamgauge: interrupted\n"
    finally:
        child.kill()
        child.communicate()


class Between(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a server, and answers some of them as the test says, or not at all."""

    protocol_version = "HTTP/1.1"
    target: str
    faults: list[str]
    keys: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Idempotency-Key"])
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "busy":
            answer = b'{"detail": {"code": "log_full", "message": "the log is full"}}'
            self._answer(503, answer, [("Retry-After", "0")])
            return
        headers = {name: self.headers[name] for name in ("Content-Type", "Idempotency-Key")}
        peer = Streamgauge(Path(), port=int(self.target))
        status, found = peer.request("POST", self.path, body, headers)
        if fault == "lost":  # it has counted, and nobody gets to know
            self.close_connection = True
            return
        self._answer(status, json.dumps(found).encode(), [])

    def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def between(cli_server: Streamgauge) -> Iterator[type[Between]]:
    handler = type("Handler", (Between,), {"target": str(cli_server.port), "faults": [], "keys": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_lost_answer_and_a_busy_server_count_nothing_twice(
    between: Any, cli_server: Streamgauge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    between.faults += ["busy", "lost", "", "lost", "busy"]
    path = ndjson(tmp_path / "rows.ndjson", 300, "only_once")
    assert main(["send", "--file", str(path), "--batch", "100", "--url", between.url]) == 0
    assert capsys.readouterr().out.startswith(
        "100 accepted, 200 counted before, 0 refused; 7 requests, 4 of them again"
    )
    assert total(cli_server, "only_once") == 300
    assert len(set(between.keys)) == 3 and len(between.keys) == 7  # a batch has one key, however often it is sent


def test_patience_ends(between: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    between.faults += ["", *["busy"] * 50]
    path = ndjson(tmp_path / "rows.ndjson", 20, "patience")
    assert main(["send", "--file", str(path), "--batch", "10", "--retry", "0.3", "--url", between.url]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("10 accepted, 0 refused")
    assert "given up after 0.3 s; the server says: the log is full" in printed.err


def test_a_server_killed_in_the_middle(serve: Callable[..., Streamgauge], tmp_path: Path) -> None:
    server = serve()
    path = ndjson(tmp_path / "rows.ndjson", 12_000, "survivors")
    child = start_send(server.url, "--file", str(path), "--batch", "25")
    wait_until(lambda: "survivors" in str(server.request("GET", "/api/stats")[1]), what="the first rows")
    server.kill()
    time.sleep(0.3)
    assert child.poll() is None, "it waits for the server"
    server.start()
    out, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    assert total(server, "survivors") == 12_000
    assert b"again" in out


def test_keys_are_asked_for(serve: Callable[..., Streamgauge], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--scope", "ingest"]) == 0
    key, setting = (line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[:2])
    assert key not in setting and len(key) > 30
    server = serve(API_KEYS=setting.removeprefix("API_KEYS="))
    assert main(["send", "guarded", "1", "--url", server.url]) == 2
    assert "an API key is needed" in (said := capsys.readouterr().err) and "--key or STREAMGAUGE_KEY" in said
    assert main(["send", "guarded", "1", "--url", server.url, "--key", key]) == 0
    assert main(["query", "guarded", "--url", server.url, "--key", key]) == 2
    assert "the API key has no scope read" in capsys.readouterr().err
    assert main(["tail", "--url", server.url, "--key", key]) == 2
    assert "the API key has no scope read" in capsys.readouterr().err


def test_another_server_is_told_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        peer = Streamgauge(tmp_path, port=port)

        def up() -> bool:
            try:
                return peer.request("GET", "/")[0] == 200
            except OSError:
                return False

        wait_until(up)
        for command in (["query", "x"], ["send", "x", "1"], ["tail"]):
            assert main([*command, "--url", peer.url]) == 2
            said = capsys.readouterr().err
            assert "nothing that a Streamgauge server says" in said or "not as a Streamgauge server does" in said
    finally:
        other.kill()
        other.wait()


def start_send(url: str, *arguments: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "server.cli", "send", *arguments],
        cwd=ROOT,
        env=os.environ | {"STREAMGAUGE_URL": url},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
