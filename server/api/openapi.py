"""GET /openapi.json: the route table and its models as OpenAPI 3.1, and GET /docs, the same for people.

The document is made from the table when it is first asked for, so it cannot name a route that is not served.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute

from server.api import docs
from server.api.http import json_answer
from server.api.models import Error
from server.api.openapi_stream import EVENTS, METRICS, WEBSOCKET
from server.api.page import security_headers
from server.api.spec import HTML, JSON, NDJSON, Parameter, Spec, TableRoute, open_route
from server.api.status import NAME, VERSION
from server.errors import CODES

REF = "#/components/schemas/{model}"
OF_A_BODY = ("bad_json", "bad_request", "timeout", "body_too_large", "unsupported_encoding")
"""Codes that every route with a body may answer."""
BEFORE_READY = ("/health", "/ready")
"""What is answered during the replay too."""
_ABOUT = """Metrics and events in, numbers and live updates out. Times are ISO 8601 UTC; an offset is an opaque text
that names a place in the log. Without API_KEYS the server listens on loopback only and needs no key; with them, a
request needs one with the scope that its operation names (admin has all). Every error has the body `Error` with a
code of a closed list; after a code that is marked as temporary the same request may succeed later."""
_TAGS = {
    "send": "Metrics and events in. An answer means: appended to the log, and applied.",
    "ask": "Queries, and the newest raw rows.",
    "watch": "Results as they change.",
    "alert": "Rules, where they stand, whom they tell, and what keeps them from telling.",
    "keep": "Documents: dashboards.",
    "status": "How the server is, and what became of every row.",
}


class _Schemas(GenerateJsonSchema):
    """Schemas of answers name no defaults: what is absent is absent. Titles that repeat the name are left out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """As pydantic has it, without the default in answers."""
        return self.generate_inner(schema["schema"]) if self.mode == "serialization" else super().default_schema(schema)


def routes(table: Callable[[], Sequence[BaseRoute]]) -> list[TableRoute]:
    """The routes. table: all routes of the server, asked once."""

    @cache
    def made() -> dict[str, Any]:
        return document(table())

    async def openapi(request: Request) -> Response:
        return json_answer(made())

    async def page(request: Request) -> Response:
        text = docs.render(made(), str(request.base_url).rstrip("/"))
        return HTMLResponse(text, headers=security_headers())

    async def style(request: Request) -> Response:
        return Response(docs.style(), media_type="text/css", headers=security_headers())

    return [
        open_route("/openapi.json", openapi, Spec("This document", "status", answer={"type": "object"})),
        open_route("/docs", page, Spec("This document for people", "status", answer={"type": "string"}, media=HTML)),
        open_route(
            "/docs.css", style, Spec("The style of /docs", "status", answer={"type": "string"}, media="text/css")
        ),
    ]


def rows_of(table: Iterable[BaseRoute]) -> list[tuple[str, str, str | None, int, Spec]]:
    """(path, method, scope, status, spec) of every operation, ingest and the WebSocket included."""
    rows: list[tuple[str, str, str | None, int, Spec]] = [
        ("/api/metrics", "post", "ingest", 201, METRICS),
        ("/api/events", "post", "ingest", 201, EVENTS),
    ]
    for each in table:
        if isinstance(each, TableRoute) and each.spec is not None:
            rows.append((each.path, each.method.lower(), each.scope, each.status, each.spec))
        elif isinstance(each, WebSocketRoute):
            rows.append((each.path, "get", "read", 101, WEBSOCKET))
    return rows


def document(table: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of a route table."""
    rows = rows_of(table)
    wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [("error", "serialization", TypeAdapter(Error))]
    for path, method, _, status, spec in rows:
        shapes: list[tuple[str, JsonSchemaMode, Any]] = [("body", "validation", spec.body)]
        shapes += [(str(code), "serialization", shape) for code, shape in spec.answers(status).items()]
        for part, mode, shape in shapes:
            if shape is not None and not isinstance(shape, dict):
                wanted.append((f"{method} {path} {part}", mode, TypeAdapter(shape)))
    found, extra = TypeAdapter.json_schemas(wanted, ref_template=REF, schema_generator=_Schemas)
    schemas = {key: schema for (key, _), schema in found.items()}
    paths: dict[str, dict[str, Any]] = {}
    for path, method, scope, status, spec in rows:
        paths.setdefault(path, {})[method] = _operation(path, method, scope, status, spec, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": NAME, "version": VERSION, "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "this server"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": extra.get("$defs", {}),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer <key>"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }  # fmt: skip


def _operation(
    path: str, method: str, scope: str | None, status: int, spec: Spec, schemas: dict[str, Any]
) -> dict[str, Any]:
    def schema(part: str, shape: Any) -> Any:
        return shape if isinstance(shape, dict) else schemas[f"{method} {path} {part}"]

    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_"),
        "summary": spec.summary,
        "tags": [spec.tag],
        "parameters": [_parameter(each) for each in _parameters(path, spec)],
        "responses": {},
        "security": [{"bearer": [scope]}, {"key": [scope]}] if scope else [],
    }
    if spec.description:
        operation["description"] = spec.description
    if spec.body is not None:
        examples = {name: {"value": value} for name, value in spec.body_examples.items()}
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": schema("body", spec.body), "examples": examples}},
        }
        if spec.lines is not None:
            lines = {"schema": {"type": "string", "description": "one JSON object per line"}, "example": spec.lines}
            operation["requestBody"]["content"][NDJSON] = lines
    for code, shape in spec.answers(status).items():
        answer: dict[str, Any] = {"description": spec.meanings.get(code, "Done")}
        if shape is not None:
            content = {"schema": schema(str(code), shape)}
            example = spec.answer_examples.get(code)
            answer["content"] = {spec.media: content if example is None else {**content, "example": example}}
            if spec.or_media is not None:
                answer["content"][spec.or_media] = {"schema": {"type": "string"}}
        operation["responses"][str(code)] = answer
    operation["responses"] |= _errors(path, scope, spec)
    return operation


def _parameters(path: str, spec: Spec) -> list[Parameter]:
    named = {each.name for each in spec.parameters}
    bare = [name for name in re.findall(r"{(\w+)}", path) if name not in named]
    return [
        *(Parameter(name, "as it was answered when it was made", where="path", required=True) for name in bare),
        *spec.parameters,
    ]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    shown = {
        "name": parameter.name, "in": parameter.where, "required": parameter.required or parameter.where == "path",
        "description": parameter.description, "schema": parameter.schema,
    }  # fmt: skip
    return shown if parameter.example is None else {**shown, "example": parameter.example}


def _errors(path: str, scope: str | None, spec: Spec) -> dict[str, Any]:
    """Status -> answer of the errors of a route; each names its codes."""
    codes = list(spec.errors)
    if scope is not None:
        codes += ["unauthorized", "forbidden"]
    if spec.body is not None:
        codes += OF_A_BODY
    if path not in BEFORE_READY:
        codes += ["starting"]
    codes += ["internal"]
    found: dict[str, Any] = {}
    for status in sorted({CODES[code].http for code in codes}):
        here = [code for code in CODES if code in codes and CODES[code].http == status]
        only = {"properties": {"detail": {"properties": {"code": {"enum": here}}}}}
        answer: dict[str, Any] = {
            "description": "  \n".join(f"`{code}`: {CODES[code].meaning}" for code in here),
            "content": {JSON: {"schema": {"allOf": [{"$ref": REF.format(model="Error")}, only]}}},
        }
        if any(CODES[code].temporary for code in here):
            answer["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
        found[str(status)] = answer
    return found
