"""GET /docs: the OpenAPI document as plain HTML: no script, no foreign host, all text escaped."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from server.api.spec import JSON, NDJSON
from server.errors import CODES

_REF = "#/components/schemas/"
_KEY = "-H 'Authorization: Bearer <key>'"


def style() -> str:
    """The style sheet."""
    return (Path(__file__).parent / "docs.css").read_text()


def render(document: dict[str, Any], base: str) -> str:
    """The page. base: the server's address as the reader called it, for the curl lines."""
    info = document["info"]
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append((path, method, operation))
    about = {tag["name"]: tag["description"] for tag in document["tags"]}
    sections = [
        f'<section aria-labelledby="tag-{tag}"><h2 id="tag-{tag}">{escape(tag.capitalize())}</h2>{prose(about[tag])}'
        + "".join(_operation(base, *each) for each in operations)
        + "</section>"
        for tag, operations in groups.items()
        if operations
    ]
    menu = "".join(
        f'<li><a href="#tag-{tag}">{escape(tag.capitalize())}</a><ul>'
        + "".join(_entry(path, method, operation) for path, method, operation in operations)
        + "</ul></li>"
        for tag, operations in groups.items()
        if operations
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{escape(info["title"])} API</title>'
        '<link rel="icon" href="/favicon.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="/docs.css"></head>'
        f'<body><header><h1>{escape(info["title"])} API <small>{escape(info["version"])}</small></h1>'
        f'{prose(info["description"])}<p>With keys, each <code>curl</code> needs <code>{escape(_KEY)}</code>. '
        '<a href="/openapi.json">openapi.json</a> is this page for programs. '
        '<a href="/">Back to the charts</a></p></header>'
        f'<nav aria-label="Operations"><ul>{menu}<li><a href="#errors">Errors</a></li>'
        '<li><a href="#shapes">Shapes</a></li></ul></nav>'
        f"<main>{''.join(sections)}{_codes()}{_shapes(document['components']['schemas'])}</main></body></html>"
    )


def prose(text: str) -> str:
    """Paragraphs; what stands in backticks becomes code, two blanks end a line."""
    parts = re.split(r"\n\s*\n", text.strip())
    return "".join(f"<p>{_inline(part)}</p>" for part in parts)


def curl(base: str, path: str, method: str, operation: dict[str, Any], body: str | None, media: str = JSON) -> str:
    """What to type into a shell to call an operation with its examples."""
    parameters = operation["parameters"]
    for each in parameters:
        if each["in"] == "path":
            value = quote(str(each.get("example", each["name"])), safe="")
            path = path.replace(f"{{{each['name']}}}", value)
    query = urlencode([(e["name"], e["example"]) for e in parameters if e["in"] == "query" and "example" in e])
    verb = "" if method == "get" else f" -X {method.upper()}"
    lines = [f"curl{verb} {shlex.quote(base + path + (f'?{query}' if query else ''))}"]
    if media != JSON:
        lines.append(f"-H {shlex.quote(f'Content-Type: {media}')}")
    if body is not None:
        lines.append(f"--data-binary {shlex.quote(body)}")
    return " \\\n  ".join(lines)


def _entry(path: str, method: str, operation: dict[str, Any]) -> str:
    return (
        f'<li><a href="#{operation["operationId"]}"><span class="method">{_verb(operation, method)}</span> '
        f"{escape(path)}</a></li>"
    )


def _verb(operation: dict[str, Any], method: str) -> str:
    return "WS" if "101" in operation["responses"] else method.upper()


def _operation(base: str, path: str, method: str, operation: dict[str, Any]) -> str:
    id, verb = operation["operationId"], _verb(operation, method)
    scope = operation["security"][0]["bearer"][0] if operation["security"] else None
    parts = [
        f'<article id="{id}"><h3><span class="method {verb.lower()}">{verb}</span> <code>{escape(path)}</code></h3>',
        f'<p class="summary">{_inline(operation["summary"])}'
        + (f' <span class="scope">scope {escape(scope)}</span></p>' if scope else "</p>"),
        prose(operation.get("description", "")) if "description" in operation else "",
    ]
    if operation["parameters"]:
        rows = [
            (
                f"<code>{escape(each['name'])}</code>", escape(each["in"]),
                _type(each["schema"]), _inline(each["description"]),
            )
            for each in operation["parameters"]
        ]  # fmt: skip
        parts.append(_table(("parameter", "in", "type", "meaning"), rows))
    if verb != "WS":
        parts += _calls(base, path, method, operation)
    parts.append(_answers(operation["responses"]))
    return "".join(parts) + "</article>"


def _calls(base: str, path: str, method: str, operation: dict[str, Any]) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return [_code(curl(base, path, method, operation, None), "curl")]
    shown = [f"<p>Body: {_type(content[JSON]['schema'])}</p>"]
    for name, example in content[JSON]["examples"].items():
        text = json.dumps(example["value"], ensure_ascii=False)
        shown.append(_code(curl(base, path, method, operation, text), f"curl: {name}"))
    if NDJSON in content:
        line = curl(base, path, method, operation, content[NDJSON]["example"], NDJSON)
        shown.append(_code(line, "curl: lines"))
    return shown


def _answers(responses: dict[str, Any]) -> str:
    rows, examples = [], []
    for status, answer in responses.items():
        content: dict[str, Any] = answer.get("content", {})
        shape: dict[str, Any] = next(iter(content.values()), {})
        kinds = (_type(each["schema"]) if media == JSON else escape(media) for media, each in content.items())
        rows.append((escape(status), " or ".join(kinds), _inline(answer["description"])))
        if "example" in shape:
            text = json.dumps(shape["example"], ensure_ascii=False, indent=2)
            examples.append(_code(text, f"answer {status}"))
    return "".join(examples) + _table(("status", "answer", "meaning"), rows)


def _code(text: str, label: str) -> str:
    return (
        f"<figure><figcaption>{escape(label)}</figcaption><pre><code>{escape(text)}</code></pre></figure>"
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; cells are HTML already."""
    top = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)).replace("  \n", "<br>")


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return f'<a href="#shape-{escape(name)}">{escape(name)}</a>'
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[word]))
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("type", "anything")))


def _codes() -> str:
    rows = [
        (f"<code>{name}</code>", str(code.http), "yes" if code.temporary else "no", _inline(code.meaning))
        for name, code in CODES.items()
    ]
    table = _table(("code", "status", "temporary", "meaning"), rows)
    return f'<section aria-labelledby="errors"><h2 id="errors">Errors</h2>{table}</section>'


def _shapes(schemas: dict[str, Any]) -> str:
    parts = []
    for name, schema in sorted(schemas.items()):
        needed = schema.get("required", [])
        rows = [
            (
                f"<code>{escape(member)}</code>", _type(of),
                "yes" if member in needed else "no", _inline(of.get("description", "")),
            )
            for member, of in schema.get("properties", {}).items()
        ]  # fmt: skip
        about = prose(schema["description"]) if "description" in schema else ""
        table = _table(("member", "type", "needed", "meaning"), rows) if rows else f"<p>{_type(schema)}</p>"
        parts.append(f'<article id="shape-{escape(name)}"><h3><code>{escape(name)}</code></h3>{about}{table}</article>')
    return f'<section aria-labelledby="shapes"><h2 id="shapes">Shapes</h2>{"".join(parts)}</section>'
