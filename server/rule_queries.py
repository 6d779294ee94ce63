"""What an alert asks: the query of its body, of a query inside it, or of a saved one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from engine.aggregates import Registry
from engine.errors import BadQuery
from engine.query.value import UNITS, Query
from engine.rules.model import ANOMALY, CHANGE, NO_DATA, THRESHOLD
from server.errors import ApiError
from server.questions import SavedQueries, parse_body, parse_query
from server.rule_bodies import AlertMembers

SOURCES = ("metric_name", "query", "query_id")
MAX_WINDOW = 31 * UNITS["d"]
DEFAULT_WINDOW = "5m"
OF_EACH = {">": "max", ">=": "max", "<": "min", "<=": "min", "==": "last", "!=": "last"}
"""What stands for the values that arrived together, where each arriving value counts by itself."""
OF_EACH_RANGE = "1m"
"""Back to where a replay of stored history looks for them."""
_MEMBERS = {"aggregation": "aggregation", "group_by": "group_by", "filters": "filters", "window": "time_range"}
"""Of an alert -> of a query."""
_NEVER = {
    "step": "an alert takes one value of each group, not a series of them",
    "from": "the range of an alert ends now; give a window", "to": "the range of an alert ends now; give a window",
    "at": "an alert is as of now",
}  # fmt: skip


def refused(member: str, why: str) -> ApiError:
    """What is wrong with a member of an alert, as a sentence."""
    return ApiError("bad_request", f"{member}: {why}")


def query_of(body: AlertMembers, kind: str, registry: Registry, saved: SavedQueries) -> tuple[Query, bool]:
    """(the query of an alert, whether each arriving value counts by itself).

    Raises ApiError and BadQuery that name the member which is wrong.
    """
    where, asked = _source(body, saved)
    for member, why in _NEVER.items():
        if member in asked:
            raise refused(f"{where}.{member}", why)
    for member, of_query in _MEMBERS.items():
        given = getattr(body, member)
        if given is not None and of_query in asked:
            raise refused(member, f"`{where}` says it already ({of_query})")
        if given is not None:
            asked[of_query] = given
    each = kind == THRESHOLD and "aggregation" not in asked and not _is_of_events(asked)
    if each and "time_range" in asked:
        raise refused(
            "window" if body.window is not None else where,
            "there is a range, but no aggregation such as average; without both each arriving value counts by itself",
        )
    _complete(asked, body, kind, each)
    query = _parsed(asked, where, registry)
    if query.period is not None:
        raise refused(where, f"{asked['time_range']} is a period of the calendar; an alert needs a window such as 5m")
    if query.range > MAX_WINDOW:
        raise refused("window", "it is longer than 31d")
    if len(set(query.group_by)) < len(query.group_by):
        raise refused("group_by", "a label is named twice")
    return replace(query, columns=False), each


def _source(body: AlertMembers, saved: SavedQueries) -> tuple[str, dict[str, Any]]:
    """(the member that says what is watched, its query as a body)."""
    given = [member for member in SOURCES if getattr(body, member) is not None]
    if not given:
        raise refused("metric_name", "an alert needs something to watch: metric_name, query or query_id")
    if len(given) > 1:
        raise refused(given[1], f"{given[0]} says already what is watched")
    if body.metric_name is not None:
        return "metric_name", {"query_string": f"metric:{json.dumps(body.metric_name)}"}
    if body.query is not None:
        return "query", body.query.model_dump(by_alias=True, exclude_none=True)
    document = saved.document(body.query_id or "")
    if document is None:
        raise ApiError("not_found", f"query_id: there is no query {str(body.query_id)[:100]!r}")
    return "query_id", {name: value for name, value in document.items() if name not in ("id", "created_at", "name")}


def _complete(asked: dict[str, Any], body: AlertMembers, kind: str, each: bool) -> None:
    """Adds what is meant where nothing is said."""
    if each:
        asked |= {"aggregation": OF_EACH[body.condition or ">"], "time_range": OF_EACH_RANGE}
    window = DEFAULT_WINDOW
    if kind == NO_DATA:
        asked.setdefault("aggregation", "count")
        if body.no_data_after is not None and "time_range" in asked:
            raise refused("no_data_after", "the window says already how long there have to be no data")
        window = body.no_data_after or window
    elif kind in (CHANGE, ANOMALY):
        asked.setdefault("aggregation", "count" if _is_of_events(asked) else "average")
    asked.setdefault("time_range", window)


def _is_of_events(asked: dict[str, Any]) -> bool:
    return str(asked["query_string"]).lstrip().startswith("event:")


def _parsed(asked: dict[str, Any], where: str, registry: Registry) -> Query:
    try:
        return parse_query(parse_body(asked), registry)
    except BadQuery as error:
        raise BadQuery(str(error) if where == "metric_name" else f"{where}: {error}") from None
    except ApiError as error:
        raise ApiError(error.code, f"{where}: {error.message}") from None
