"""Who may ask, and what outlives a restart: keys and scopes, hosts, origins, CORS, persistence, settings at start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from tests.support import Streamgauge

KEYS = {"ingest": "ingest-key-1", "read": "read-key-1", "admin": "admin-key-1"}
METRIC = {"name": "guarded", "metric_type": "counter", "value": 1}


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """No keys: only for this machine. Nothing is kept."""
    server = Streamgauge(tmp_path_factory.mktemp("open"), {"ENABLE_PERSISTENCE": "false"})
    server.start()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """With keys, on all addresses."""
    keys = ",".join(f"{scope}:{key}" for scope, key in KEYS.items())
    settings = {"API_KEYS": keys, "HOST": "0.0.0.0", "ALLOWED_ORIGINS": "https://dash.example"}
    server = Streamgauge(tmp_path_factory.mktemp("guarded"), settings)
    server.start()
    yield server
    assert server.stop() == 0
    assert not [key for key in KEYS.values() if key in server.output], "a key stands in the log"


def headers_of(
    server: Streamgauge, method: str, path: str, headers: dict[str, str], body: str = ""
) -> tuple[int, dict[str, str]]:
    """(status, headers) of a request written by hand."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(
            ("\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close"]) + "\r\n\r\n" + body).encode()
        )
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return int(head[0].split()[1]), {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:])}


# Without keys


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:80", 200),
        ("127.5.5.5", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST:1", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_without_keys_only_loopback_names_are_answered(open_server: Streamgauge, host: str, status: int) -> None:
    assert headers_of(open_server, "GET", "/api/stats", {"Host": host})[0] == status
    body = '{"name": "host", "metric_type": "gauge", "value": 1}'
    for _ in range(2):  # the second one takes the short way
        answer = headers_of(open_server, "POST", "/api/metrics", {"Host": host}, body)
        assert answer[0] == (201 if status == 200 else 403)
    assert headers_of(open_server, "GET", "/health", {"Host": host})[0] == 200


@pytest.mark.parametrize(
    ("origin", "host", "passes"),
    [
        (None, "localhost", True),
        ("null", "localhost", True),
        ("http://localhost:5173", "127.0.0.1", True),
        ("http://evil.example", "localhost", False),
        ("http://evil.example", "evil.example", False),
        (None, "evil.example", False),
    ],
)
def test_origins_of_websockets(open_server: Streamgauge, origin: str | None, host: str, passes: bool) -> None:
    options: dict[str, Any] = {"host": host, "suppress_origin": origin is None, "origin": origin}
    if passes:
        with open_server.listen(**options):
            return
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        open_server.listen(**options)
    assert refused.value.status_code == 403
    if origin and host == "localhost":
        assert origin.encode() in (refused.value.resp_body or b"")


@pytest.mark.parametrize(
    ("path", "method", "open_to_all"),
    [
        ("/api/metrics", "POST", True),
        ("/api/events", "POST", True),
        ("/api/query", "POST", True),
        ("/api/queries", "GET", True),
        ("/api/queries", "POST", True),
        ("/api/queries/x/execute", "POST", True),
        ("/api/subscriptions", "POST", True),
        ("/api/subscriptions/x", "DELETE", True),
        ("/api/stats", "GET", False),
        ("/api/metrics", "GET", False),
        ("/api/ledger", "GET", False),
        ("/api/alerts", "POST", False),
        ("/api/dashboards", "POST", False),
    ],
)
def test_cors(
    open_server: Streamgauge, guarded: Streamgauge, path: str, method: str, open_to_all: bool
) -> None:  # S4-53
    asked = {"Host": "localhost", "Origin": "https://page.example", "Access-Control-Request-Method": method}
    status, preflight = headers_of(open_server, "OPTIONS", path, asked)
    _, answer = headers_of(open_server, method, path, {"Host": "localhost", "Origin": "https://page.example"}, "{}")
    assert status == 204
    for headers in (preflight, answer):
        assert headers.get("access-control-allow-origin") == ("*" if open_to_all else None)
    allowed = {"Host": "any.example", "Origin": "https://dash.example", "Access-Control-Request-Method": method}
    _, preflight = headers_of(guarded, "OPTIONS", path, allowed)
    assert preflight["access-control-allow-origin"] in ("*", "https://dash.example")
    assert "authorization" in preflight["access-control-allow-headers"].lower()


# With keys


@pytest.mark.parametrize(
    ("method", "path", "body", "scope", "status"),
    [
        ("POST", "/api/metrics", METRIC, "ingest", 201),
        ("POST", "/api/events", {"event_type": "e"}, "ingest", 201),
        ("GET", "/api/metrics", None, "read", 200),
        ("GET", "/api/events", None, "read", 200),
        ("GET", "/api/stats", None, "read", 200),
        ("GET", "/api/ledger", None, "read", 200),
        ("GET", "/api/rejects", None, "read", 200),
        ("GET", "/api/alerts", None, "read", 200),
        ("GET", "/api/queries", None, "read", 200),
        ("GET", "/api/dashboards", None, "read", 200),
        ("POST", "/api/dashboards", {"name": "guarded"}, "read", 201),
        ("POST", "/api/query", {"query_string": "metric:guarded"}, "read", 200),
        ("POST", "/api/queries", {"query_string": "metric:guarded"}, "read", 201),
    ],
)
def test_keys_and_scopes(guarded: Streamgauge, method: str, path: str, body: Any, scope: str, status: int) -> None:
    none = guarded.call(method, path, body, expect=401)
    assert none["detail"]["code"] == "unauthorized"
    assert guarded.call(method, path, body, 401, X_API_Key="wrong-key-1")["detail"]["code"] == "unauthorized"
    other = "read" if scope == "ingest" else "ingest"
    assert guarded.call(method, path, body, 403, X_API_Key=KEYS[other])["detail"]["code"] == "forbidden"
    guarded.call(method, path, body, status, X_API_Key=KEYS[scope])
    guarded.call(method, path, body, status, Authorization=f"Bearer {KEYS['admin']}")


def test_who_takes_refused_rows_in_again_may_read_them_too(guarded: Streamgauge) -> None:
    """What is sent again is told apart by what is there already."""
    guarded.call("POST", "/api/metrics", b"{", 400, X_API_Key=KEYS["ingest"])
    for scope, status in (("ingest", 403), ("read", 403), ("admin", 200)):
        guarded.call("POST", "/api/rejects/resend", {}, status, X_API_Key=KEYS[scope])
    listed = guarded.call("GET", "/api/rejects", X_API_Key=KEYS["read"])
    assert listed["kept"] == 1 and not any(key in str(listed) for key in KEYS.values())


def test_keys_of_websockets(guarded: Streamgauge) -> None:
    with guarded.listen("c", f"?token={KEYS['read']}"):
        pass
    with guarded.listen("c", header={"Authorization": f"Bearer {KEYS['admin']}"}, suppress_origin=True):
        pass
    for query, status in (("", 401), ("?token=wrong-key-1", 401), (f"?token={KEYS['ingest']}", 403)):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            guarded.listen("c", query)
        assert refused.value.status_code == status


def test_health_needs_no_key(guarded: Streamgauge) -> None:
    assert guarded.call("GET", "/health")["status"] == "ok"
    assert guarded.call("GET", "/ready")["status"] == "ready"


# What is kept


def test_data_and_saved_documents_survive_a_restart(serve: Callable[..., Streamgauge], tmp_path: Path) -> None:  # S4-43
    database = tmp_path / "elsewhere.db"
    server = serve(DATABASE_URL=f"sqlite:///{database}", CHECKPOINT_INTERVAL="0.2")
    query = server.call("POST", "/api/queries", {"query_string": "metric:kept", "aggregation": "sum"}, expect=201)
    gone = server.call("POST", "/api/queries", {"query_string": "metric:gone"}, expect=201)
    server.call("DELETE", f"/api/queries/{gone['id']}")
    alert = {"name": "a", "metric_name": "kept", "threshold": 1, "condition": ">"}
    alert = server.call("POST", "/api/alerts", alert, expect=201)
    kept = ("id", "name", "metric_name", "threshold", "condition", "enabled", "created_at", "updated_at", "version")
    silence = {"matchers": '{alert="a"}', "for": "1h", "reason": "kept"}
    silence = server.call("POST", "/api/silences", silence, expect=201)
    board = server.call("POST", "/api/dashboards", {"name": "kept"}, expect=201)
    server.call("POST", "/api/metrics", METRIC | {"name": "kept"}, 201, Idempotency_Key="once")
    event = server.call("POST", "/api/events", {"event_type": "kept", "properties": {"a": [1]}}, expect=201)
    for end in (server.stop, server.kill, server.stop):
        end()
        server.start()
        assert server.call("GET", "/api/queries") == [query]
        [found] = server.call("GET", "/api/alerts")
        assert {name: found[name] for name in kept} == {name: alert[name] for name in kept}
        assert server.call("GET", "/api/silences") == [silence]
        assert server.call("GET", "/api/dashboards") == [board]
        assert server.call("GET", "/api/events") == [event]
        repeat = server.call("POST", "/api/metrics", METRIC | {"name": "kept"}, 201, Idempotency_Key="once")
        [stored] = server.call("GET", "/api/metrics")
        assert stored["id"] == repeat["id"]
        result = server.call("POST", f"/api/queries/{query['id']}/execute")
        assert result["data"] == [{"value": 1, "count": 1}]
        with server.listen() as client:
            assert client.subscribe(query_id=query["id"])[1]["data"] == result["data"]
    assert server.stop() == 0
    assert database.exists()


def test_without_persistence_nothing_is_kept(open_server: Streamgauge) -> None:
    server = open_server
    server.call("POST", "/api/metrics", METRIC | {"name": "forgotten"}, expect=201)
    query = server.call("POST", "/api/queries", {"query_string": "metric:forgotten", "aggregation": "sum"}, expect=201)
    assert server.call("POST", f"/api/queries/{query['id']}/execute")["data"] == [{"value": 1, "count": 1}]
    assert server.call("GET", "/api/stats")["modes"]["persistence"] is False
    assert server.stop() == 0
    assert sorted(path.name for path in server.directory.iterdir()) == ["output.txt"]
    server.start()
    assert server.call("GET", "/api/queries") == []
    assert server.ask("metric:forgotten", aggregation="count")["data"] == [{"value": 0, "count": 0}]


# At start


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"HOST": "0.0.0.0"}, "API_KEYS"),
        ({"PORTT": "1"}, "STREAMGAUGE_PORT"),
        ({"LATENESS": "soon"}, "LATENESS"),
        ({"API_KEYS": "secret-without-scope"}, "API_KEYS"),
        ({"PLUGINS": "tests.plugins:register_twice"}, "exists already"),
        ({"PLUGINS": "tests.nowhere:register"}, "tests.nowhere"),
        ({"DATABASE_URL": "mysql://x"}, "sqlite"),
        ({"DATA_DIR": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_what_cannot_start_says_why(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    done = Streamgauge(tmp_path, settings).run()
    assert done.returncode == 2, done
    assert says in done.stderr and "Traceback" not in done.stderr
    assert "secret-without-scope" not in done.stderr


def test_a_port_or_a_folder_that_is_taken(open_server: Streamgauge, guarded: Streamgauge, tmp_path: Path) -> None:
    done = Streamgauge(tmp_path, port=open_server.port).run()
    assert done.returncode not in (0, None) and str(open_server.port) in done.stderr
    assert "Traceback" not in done.stderr
    done = Streamgauge(tmp_path, {"DATA_DIR": guarded.directory / "data"}).run()
    assert done.returncode == 2 and str(guarded.directory) in done.stderr
    assert "Traceback" not in done.stderr
    assert guarded.call("GET", "/health")["status"] == "ok"


def test_the_installed_command() -> None:
    command = Path(sys.executable).parent / "streamgauge"
    done = subprocess.run([command, "--help"], capture_output=True, text=True, env=os.environ, timeout=20)
    assert done.returncode == 0 and "serve" in done.stdout
