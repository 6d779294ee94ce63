"""The OpenAPI document: complete, valid, true of the server under random requests, and readable at /docs.

`python -m tests.test_openapi` prints the table of error codes for the README.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator
from itertools import count
from typing import Any
from unittest.mock import ANY, MagicMock

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Mount, Route, WebSocketRoute

from server.api import openapi
from server.api.spec import TableRoute
from server.app import App
from server.config import load_settings
from server.errors import CODES
from server.store import StoreUnavailable
from tests.support import ROOT, Streamgauge, wait_until

KEYS = {"ingest": "key-of-ingest", "read": "key-of-read", "admin": "key-of-admin"}
EXAMPLES = 8
"""Random requests per operation, besides those that the document's examples and bounds give."""
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance, negative_data_rejection,
]  # fmt: skip
_numbers = count()
OPEN = ("Error", "Detail", "NewMetric", "NewEvent", "NewSubscription")
"""Shapes that may have members besides those that are named."""
EXISTING = "existing-"
"""Before the name of a path parameter, in place of an id that exists."""
Document = dict[str, Any]
Operations = list[tuple[str, str, dict[str, Any]]]


@schemathesis.serializer("application/x-ndjson")
def _lines(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value.encode(errors="surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streamgauge]:
    """A server with keys. At the end it stops in order, without a traceback in its output."""
    keys = ",".join(f"{scope}:{key}" for scope, key in KEYS.items())
    found = Streamgauge(tmp_path_factory.mktemp("openapi"), {"API_KEYS": keys, "MAX_QUERY_POINTS": "5000"})
    found.start()
    try:
        yield found
        assert found.stop() == 0
        assert "Traceback" not in found.output, found.output[-4000:]
    finally:
        found.kill()


@pytest.fixture(scope="module")
def document(server: Streamgauge) -> Document:
    """The document as served."""
    found: Document = server.call("GET", "/openapi.json")
    return found


@pytest.fixture(scope="module")
def known(server: Streamgauge, document: Document) -> dict[str, str]:
    """Path parameter -> id of something that exists; the examples of ingest have been sent."""
    headers = {"X-API-Key": KEYS["admin"]}
    made = {}
    for path, _, operation in operations(document):
        if path in ("/api/metrics", "/api/events") and "requestBody" in operation:
            for body in bodies(operation).values():
                assert server.request("POST", path, body, headers)[0] in (201, 202)
    for path, name in (
        ("queries", "query_id"), ("alerts", "alert_id"), ("dashboards", "dashboard_id"), ("silences", "silence_id")
    ):  # fmt: skip
        body = next(iter(bodies(document["paths"][f"/api/{path}"]["post"]).values()))
        made[name] = server.call("POST", f"/api/{path}", body, 201, X_API_Key=KEYS["admin"])["id"]
    made |= {"client_id": "me", "template_id": "slow_requests", "channel_id": "slack"}
    made["incident_id"] = _incident(server)
    return made


def _incident(server: Streamgauge) -> str:
    """Id of one that goes on."""
    key = {"X_API_Key": KEYS["admin"]}
    alert = {"name": "openapi", "metric_name": "openapi", "threshold": 0}
    alert = server.call("POST", "/api/alerts", alert, 201, **key)
    server.call("POST", "/api/metrics", {"name": "openapi", "metric_type": "gauge", "value": 1}, 201, **key)

    def found() -> Any:
        return server.call("GET", f"/api/incidents?open=true&alert_id={alert['id']}", **key)

    wait_until(lambda: bool(found()), 30, "an incident")
    return str(found()[0]["id"])


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Connections that are kept."""
    with requests.Session() as kept:
        yield kept


def closed() -> Document:
    """The document of the route table, for schemathesis: paths lead to what exists, answers have no member more."""
    table = App._routes(MagicMock(), MagicMock(), MagicMock())  # a table needs no server behind it
    own: Document = json.loads(json.dumps(openapi.document(table)))
    for _, method, operation in operations(own):
        for parameter in operation["parameters"]:
            if parameter["in"] == "path" and method != "delete":
                parameter["example"] = EXISTING + parameter["name"]
    for name, shape in own["components"]["schemas"].items():
        if shape.get("type") == "object" and name not in OPEN:
            shape.setdefault("additionalProperties", False)
    return own


def operations(document: Document) -> Operations:
    """(path, method, operation) of a document."""
    return [(path, method, each) for path, methods in document["paths"].items() for method, each in methods.items()]


CONFIG = {"generation": {"deterministic": True, "database": "none"}}
api = schemathesis.openapi.from_dict(closed(), config=SchemathesisConfig.from_dict(CONFIG))


@api.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_the_document_says(
    case: schemathesis.Case, server: Streamgauge, known: dict[str, str], session: requests.Session
) -> None:
    for name, value in case.path_parameters.items():
        if value == EXISTING + name:
            case.path_parameters[name] = known[name]
    if case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] += str(next(_numbers))  # else all after the first are conflicts
    if case.path == "/api/subscriptions" and isinstance(case.body, dict):
        given = case.body.get("query_id")
        if isinstance(given, str) and 0 < len(given) <= 200:
            case.body["query_id"] = known["query_id"]
    case.call_and_validate(server.url, session, checks=CHECKS, headers={"X-API-Key": KEYS["admin"]})


def test_the_document_is_valid(document: Document) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids) > 20


async def test_every_route_is_in_it(app: App) -> None:
    routes = app._routes(app.ingest.gate, app.settings)
    silent = [route.path for route in routes if isinstance(route, Route) and getattr(route, "spec", None) is None]
    assert not silent, f"routes without a spec: {silent}"
    served = {(route.path, route.method.lower()) for route in routes if isinstance(route, TableRoute)}
    served |= {(route.path, "get") for route in routes if isinstance(route, WebSocketRoute)}
    served |= {(path, "post") for path in app.ingest.paths}
    assert all(isinstance(route, TableRoute | WebSocketRoute | Mount) for route in routes)
    async with client(app) as http:
        document = (await http.get("/openapi.json")).json()
    assert {(path, method) for path, method, _ in operations(document)} == served


def test_examples_fit_their_schemas(document: Document) -> None:
    seen = 0
    for path, method, operation in operations(document):
        for place, content in contents(operation):
            examples = [each["value"] for each in content.get("examples", {}).values()]
            for example in [*examples, *([content["example"]] if "example" in content else [])]:
                whole = {**content["schema"], "components": document["components"]}
                faults = [fault.message for fault in OAS31Validator(whole).iter_errors(example)]
                assert not faults, (method, path, place, faults)
                seen += 1
    assert seen > 20


def test_examples_are_answered_as_promised(server: Streamgauge, document: Document, known: dict[str, str]) -> None:
    for path, method, operation in operations(document):
        for name, body in bodies(operation).items():
            if path == "/api/subscriptions":
                body = body | {"query_id": known["query_id"]}
            place = path.format(**known)
            status, answer = server.request(method.upper(), place, body, {"X-API-Key": KEYS["admin"]})
            assert 200 <= status < 300, (method, path, name, status, answer)
            shape = operation["responses"][str(status)]["content"]["application/json"]["schema"]
            OAS31Validator({**shape, "components": document["components"]}).validate(answer)


def test_what_was_made_can_be_deleted(server: Streamgauge, document: Document) -> None:
    for path, of_one in document["paths"].items():
        if "delete" in of_one:
            whole = path.rpartition("/")[0]
            if whole == "/api/alerts/templates":
                continue  # many are made at once; tests/test_api_alerts.py deletes one
            body = next(iter(bodies(document["paths"][whole]["post"]).values()))
            headers = {"X-API-Key": KEYS["read"]}
            if whole == "/api/subscriptions":
                body = body | {"query_id": server.call("GET", "/api/queries", X_API_Key=KEYS["read"])[0]["id"]}
            made = server.request("POST", whole, body, headers)[1]["id"]
            place = f"{whole}/{made}"
            assert server.request("DELETE", place, headers=headers) == (200, {"message": ANY, "id": made}), whole
            status, answer = server.request("DELETE", place, headers=headers)
            assert status == 404 and answer["detail"]["code"] == "not_found"


def test_who_may_call_is_as_it_says(server: Streamgauge, document: Document, known: dict[str, str]) -> None:
    fill = {**known, "subscription_id": "sub_none"}
    for path, method, operation in operations(document):
        place = path.format(**fill)
        body = next(iter(bodies(operation).values()), None)
        if "101" in operation["responses"]:
            continue
        if not operation["security"]:
            assert server.request(method.upper(), place, body)[0] == 200, path
            continue
        scope = operation["security"][0]["bearer"][0]
        status, answer = server.request(method.upper(), place, body)
        assert status == 401 and answer["detail"]["code"] == "unauthorized", (method, path)
        other = next(key for name, key in KEYS.items() if name not in (scope, "admin"))
        status, answer = server.request(method.upper(), place, body, {"Authorization": f"Bearer {other}"})
        assert status == 403 and answer["detail"]["code"] == "forbidden", (method, path)


def test_another_method_is_a_405_that_names_the_ones_allowed(server: Streamgauge) -> None:
    for path, allowed in (("/api/ledger", "GET, HEAD"), ("/api/metrics", "GET, HEAD, POST"), ("/health", "GET, HEAD")):
        answer = httpx.put(server.url + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json()["detail"]["code"] == "method_not_allowed"


def test_a_path_that_is_not_there_is_a_404_whatever_the_method(server: Streamgauge) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        status, answer = server.request(method, "/api/queries/a%2Fb/none")
        assert status == 404 and answer["detail"]["code"] == "not_found", method


async def test_a_store_that_cannot_write_is_a_503(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **more: object) -> None:
        raise StoreUnavailable("/secret/place.db: the disk is full")

    async with client(app) as http:
        query = {"query_string": "metric:orders", "aggregation": "sum"}
        saved = (await http.post("/api/queries", json=query)).json()["id"]
        for name in ("put_document", "delete_document", "events", "event_types", "events_scan"):
            monkeypatch.setattr(app.store, name, broken)
        tried = [
            await http.post("/api/queries", json=query),
            await http.delete(f"/api/queries/{saved}"),
            await http.post("/api/alerts", json={"name": "a", "metric_name": "m", "threshold": 1}),
            await http.post("/api/dashboards", json={"name": "a"}),
            await http.post("/api/query", json={"query_string": "event:login", "aggregation": "count"}),
            await http.get("/api/events"),
            await http.get("/api/stats"),
        ]
        for answer in tried:
            assert answer.status_code == 503, (answer.request.url, answer.text)
            assert answer.json()["detail"]["code"] == "store_unavailable"
            assert "secret" not in answer.text and int(answer.headers["retry-after"]) > 0
        assert [each["id"] for each in (await http.get("/api/queries")).json()] == [saved], "nothing was changed"


def test_a_log_that_is_full_is_a_503(serve: Any) -> None:
    server = serve(LOG_MAX_BYTES="1 MiB", CHECKPOINT_INTERVAL="3600")
    row = {"name": "big", "metric_type": "gauge", "value": 1, "tags": {f"t{i}": "x" * 900 for i in range(20)}}
    for at in range(200):
        status, answer = server.request("POST", "/api/metrics", row | {"source": str(at)})
        if status != 201:
            break
    assert status == 503 and answer["detail"]["code"] == "log_full"


@pytest.fixture
async def app(tmp_path: Any) -> Any:
    """A server in this process."""
    found = App(load_settings(_env_file=None, data_dir=tmp_path, drain_seconds=0))
    await found.open()
    await found.ready()
    yield found
    await found.close()


def client(app: App) -> httpx.AsyncClient:
    """Asks a server in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1")


def test_the_page_shows_all_of_it_and_needs_nobody_else(server: Streamgauge, document: Document) -> None:
    answer = httpx.get(server.url + "/docs")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy
    page = answer.text
    for path, method, operation in operations(document):
        assert f'id="{operation["operationId"]}"' in page and path in page, (method, path)
    assert all(f"<code>{code}</code>" in page for code in CODES)
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", page)
    loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]*)"', page)
    assert loaded == ["/favicon.svg", "/docs.css"], loaded
    assert "prefers-color-scheme: dark" in httpx.get(server.url + "/docs.css").text
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page)), "every link inside the page leads somewhere"


def test_the_page_escapes_a_host_that_is_markup(server: Streamgauge) -> None:
    page = httpx.get(server.url + "/docs", headers={"Host": "127.0.0.1\"><script>alert(1)</script>'; rm x"}).text
    assert "<script" not in page


def test_its_curl_lines_work(server: Streamgauge) -> None:
    page = httpx.get(server.url + "/docs").text
    lines = [html.unescape(found) for found in re.findall(r"<code>(curl .*?)</code>", page, re.DOTALL)]
    assert len(lines) > 25
    for line in [line for line in lines if "-X POST" in line and "_id" not in line and "subscriptions" not in line]:
        line += f" -s -o /dev/null -w '%{{http_code}}' -H 'X-API-Key: {KEYS['admin']}'"
        status = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20, check=True).stdout
        assert status.startswith("2"), (status, line)


CODE_ROW = re.compile(r"^\| `([a-z_]+)` \| (\d{3}) \| (\d{4}) \| (yes|no) \| (.+) \|$", re.MULTILINE)


def test_every_error_code_is_in_the_readme() -> None:
    rows = {row[0]: row for row in CODE_ROW.findall((ROOT / "README.md").read_text())}
    wanted = {row[0]: row for row in CODE_ROW.findall(codes_table())}
    assert rows == wanted, "print the table with python -m tests.test_openapi"
    assert len(wanted) == len(CODES)


def codes_table() -> str:
    """The table of error codes as the README has it."""
    lines = ["| code | HTTP | WebSocket | retry | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, code in CODES.items():
        retry = "yes" if code.temporary else "no"
        lines.append(f"| `{name}` | {code.http} | {code.websocket} | {retry} | {code.meaning} |")
    return "\n".join(lines)


def bodies(operation: dict[str, Any]) -> dict[str, Any]:
    """The examples of a JSON body."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return {name: each["value"] for name, each in content.get("examples", {}).items()}


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, content) of the body and of each answer."""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"body {media}", content
    for status, answer in operation["responses"].items():
        for content in answer.get("content", {}).values():
            yield status, content


if __name__ == "__main__":
    print(codes_table())
