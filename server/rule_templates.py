"""Templates of alerts: the shape of S4, `metric:name{label="value"} > 100`, and four that are ready."""

from __future__ import annotations

import re
from typing import Any

from engine.errors import BadQuery
from engine.query.value import parse_target
from engine.rules.model import OPERATORS
from server.rule_bodies import Template
from server.rule_queries import SOURCES, refused

_COMPARED = re.compile(r"(>=|<=|==|!=|>|<)([^<>=!{}\"]*)\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?", re.ASCII)

_READY: dict[str, dict[str, Any]] = {
    "error_rate": {
        "condition": "metric:streamgauge_http_error_percent > 1", "aggregation": "average", "window": "5m", "for": "1m",
        "severity": "critical", "message": "{value} % of the requests fail",
        "description": "More than 1 % of the requests are answered with a 5xx. Of another program, name a metric_name "
        "that holds its percentage.",
    },
    "slow_requests": {
        "condition": "metric:streamgauge_http_request_duration_seconds > 1", "aggregation": "percentile_95",
        "window": "5m", "group_by": ["path"], "for": "1m", "severity": "warning",
        "message": "One request in twenty takes over {threshold} s, now {value} s: {group}",
        "description": "One request in twenty takes over a second, by path. Mind the unit of another metric_name.",
    },
    "database_errors": {
        "condition": 'metric:streamgauge_http_errors_total{code=~"store_.*"} > 0', "aggregation": "sum", "window": "5m",
        "severity": "critical", "message": "{value} requests failed for the store",
        "description": "The store cannot be used. Of another program, name a metric_name that counts its errors.",
    },
    "rate_limit_hits": {
        "condition": 'metric:streamgauge_http_errors_total{code="too_many_requests"} > 100', "aggregation": "sum",
        "window": "5m", "severity": "warning", "message": "{value} requests were refused for their rate",
        "description": "More than 100 requests in five minutes were over a rate limit.",
    },
}  # fmt: skip
READY = {name: Template.model_validate(members) for name, members in _READY.items()}
"""S3's set of alerts, on the server's own numbers. With another metric_name they watch any other program."""


def parse_condition(text: str) -> tuple[dict[str, Any], str, int | float]:
    """(what is watched as a member of an alert, operator, threshold) of `metric:name{label="value"} > 100`.

    Raises ApiError bad_request that says what is wrong.
    """
    found = _COMPARED.search(text)
    target = text[: found.start()].strip() if found is not None else ""
    if found is None or not target.startswith("metric:"):
        known = " ".join(OPERATORS)
        raise refused("condition", f"{text[:200]!r} is not of the kind metric:name > 100, with one of {known}")
    operator, number = found[1], found[2].strip()
    if _NUMBER.fullmatch(number) is None:
        raise refused("condition", f"after {operator} stands a number and nothing else; got {number[:100]!r}")
    try:
        _, name, matchers = parse_target(target)
    except BadQuery as error:
        raise refused("condition", str(error)) from None
    if set(name) & set("<>=!") and '"' not in target.partition("{")[0]:
        raise refused("condition", f"two operators; a name such as {name[:100]!r} stands in double quotes")
    watched = {"query": {"query_string": target}} if matchers else {"metric_name": name}
    return watched, operator, float(number) if set(number) & set(".eE") else int(number)


def members_of(name: str, template: Template, more: dict[str, Any]) -> dict[str, Any]:
    """The members of an alert that a template makes. more: what is to be otherwise, None for what is to be left out."""
    watched, operator, threshold = parse_condition(template.condition)
    options = template.members()
    del options["condition"]
    options.pop("description", None)
    called = name.replace("_", " ").strip().capitalize() or name
    made = {"name": called, "condition": operator, "threshold": threshold, **options}
    if not more.keys() & set(SOURCES):
        made |= watched
    return {member: value for member, value in {**made, **more}.items() if value is not None}
