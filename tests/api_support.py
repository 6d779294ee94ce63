"""What the tests of the API share."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support import Streamgauge


def post(server: Streamgauge, name: str, *values: float, type: str = "counter", **more: Any) -> list[Any]:
    """Posts values one by one; the stored metrics."""
    row = {"name": name, "metric_type": type, **more}
    return [server.call("POST", "/api/metrics", row | {"value": value}, expect=201) for value in values]


def value(server: Streamgauge, query: str, aggregation: str, **more: Any) -> Any:
    """The one value of a query without groups."""
    [row] = server.ask(query, aggregation=aggregation, **more)["data"]
    return row["value"]


def code(server: Streamgauge, method: str, path: str, body: object = None, expect: int = 400) -> str:
    """The code of a refusal, whose message says something."""
    detail = server.call(method, path, body, expect)["detail"]
    assert len(detail["message"]) > 10
    return str(detail["code"])


def ago(**delta: float) -> str:
    """A time in the past, ISO 8601."""
    return (datetime.now(UTC) - timedelta(**delta)).isoformat()


def followed(known: Any, message: dict[str, Any]) -> Any:
    """What the README tells a client to make of a delta."""
    data = message["data"]
    fresh = data["times"][0] if data["times"] else math.inf
    kept = [i for i, time in enumerate(known["times"]) if message["first"] <= time < fresh]
    series = [
        {**old, **{name: [old[name][i] for i in kept] + new[name] for name in ("values", "counts")}}
        for old, new in zip(known["series"], data["series"], strict=True)
    ]
    return {"times": [known["times"][i] for i in kept] + data["times"], "series": series}
