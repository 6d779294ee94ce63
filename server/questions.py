"""Questions as people write them, read into queries, and the saved ones.

`QueryBody` is the S4 shape with what Streamgauge adds; HTTP bodies and WebSocket messages are read by the same model.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from engine.aggregates import Registry
from engine.errors import BadQuery
from engine.model import TYPES
from engine.query.calendar import DAYS, MONDAY, MONTHS, SUNDAY, WEEKS, Calendar, Period
from engine.query.value import (
    MAX_GROUP_LABELS,
    Query,
    filters_as_matchers,
    parse_calendar_step,
    parse_duration,
    parse_target,
)
from server import zones
from server.changes import Changed, nobody_else
from server.errors import ApiError
from server.store import Store
from server.wire.messages import decode_json
from server.wire.times import format_time, parse_time

logger = logging.getLogger("streamgauge.queries")

KIND = "query"
MAX_SAVED = 10_000


def _moment(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ValueError("must be ISO 8601 text or an epoch number")
    return value


Moment = Annotated[str | int | float, BeforeValidator(_moment)]
"""A time as people write it."""


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return value


Number = Annotated[int | float, BeforeValidator(_number)]
"""A JSON number: no text that looks like one."""
FIRST, LAST = 0, 7_258_118_400_000
"""A query can name times from 1970 to 2200, in ms: nothing else is kept, and a step beyond stays a time."""


PERIODS = {
    "today": (DAYS, 1, False), "yesterday": (DAYS, 1, True), "this_week": (WEEKS, 1, False),
    "last_week": (WEEKS, 1, True), "this_month": (MONTHS, 1, False), "last_month": (MONTHS, 1, True),
    "this_year": (MONTHS, 12, False), "last_year": (MONTHS, 12, True),
}  # fmt: skip
"""A range by name -> (unit, count, whether it is the one before the present one)."""
_WEEKDAYS = {"monday": MONDAY, "sunday": SUNDAY}
_RANGE: Any = {"pattern": rf"^\s*([0-9]{{1,9}}\s*[smhdw]|{'|'.join(PERIODS)})\s*$"}
_STEP: Any = {"pattern": r"^\s*[0-9]{1,9}\s*([smhdw]|mo|months?)\s*$"}
"""For readers of the schema; `parse_duration` and its like are what checks."""


class QueryBody(BaseModel):
    """A query. `query_string` names a metric or an event type, with label matchers if wanted."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    query_string: str = Field(
        max_length=4000, examples=["metric:api_requests_total", 'metric:cpu{host=~"web.*"}'],
        json_schema_extra={"pattern": r"^\s*(metric|event):"},
    )  # fmt: skip
    name: str | None = Field(None, max_length=400)
    time_range: str | None = Field(
        None, description="a duration that ends now, or a period of `tz`", examples=["15m", "24h", "this_month"],
        json_schema_extra=_RANGE,
    )  # fmt: skip
    start: Moment | None = Field(None, alias="from", description="ISO 8601 or epoch; instead of time_range")
    end: Moment | None = Field(None, alias="to")
    at: Moment | None = Field(None, description="as of when; the newest stamp where absent")
    step: str | None = Field(
        None, description="for a time series; days, weeks and months (mo) are those of the calendar of `tz`",
        examples=["15s", "1d", "3mo"], json_schema_extra=_STEP,
    )  # fmt: skip
    tz: str | None = Field(
        None, max_length=64, description="IANA time zone of a step of days, weeks or months, and of a period; UTC",
        examples=["Europe/Berlin"],
    )  # fmt: skip
    week_start: Literal["monday", "sunday"] | None = Field(None, description="of weeks; monday")
    aggregation: str | None = Field(None, examples=["sum", "percentile_95"])
    group_by: list[str] | None = Field(None, max_length=MAX_GROUP_LABELS)
    filters: dict[str, Any] | None = None
    field: str | None = Field(None, description="of an event: the property to aggregate", max_length=400)
    params: dict[str, Any] | None = Field(None, description="for a registered aggregation")
    format: str | None = Field(None, pattern="^(rows|columns)$")


def parse_body(body: dict[str, Any]) -> QueryBody:
    """The body of a query. Raises BadQuery naming the member that is wrong."""
    try:
        return QueryBody.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the query"
        raise BadQuery(f"{where}: {first['msg']}") from None


def parse_query(body: QueryBody, registry: Registry) -> Query:
    """The query of a body. Raises BadQuery, and ApiError bad_time_range."""
    kind, name, matchers = parse_target(body.query_string)
    filters = dict(body.filters or {})
    type_name = filters.pop("metric_type", None) if kind == "metric" else None
    if type_name is not None and type_name not in (*TYPES, "sum"):
        raise BadQuery(f"metric_type {type_name!r} is none of {', '.join(TYPES)}")
    aggregation = None if body.aggregation is None else registry.check(body.aggregation)
    if body.params and aggregation not in registry.custom:
        raise BadQuery("`params` belong to a registered aggregation")
    field = body.field
    if kind == "event" and aggregation == "unique" and field is None:
        field = "user_id"
    if kind == "metric" and field is not None:
        raise BadQuery("`field` belongs to event queries; a metric has one value")
    if kind == "event" and aggregation is None:
        raise BadQuery("an event query needs an aggregation, such as count or unique; GET /api/events lists events")
    if kind == "event" and aggregation in registry.custom:
        raise BadQuery(f"{aggregation} is registered for metrics; events take the built-in aggregations")
    if aggregation is None and (body.step is not None or body.format == "columns"):
        raise BadQuery("`step` and columns need an aggregation; without one the answer is the raw rows")
    if body.time_range is not None and (body.start is not None or body.end is not None):
        raise ApiError("bad_time_range", "give either time_range or from and to, not both")
    if body.end is not None and body.start is None:
        raise ApiError("bad_time_range", "`to` needs `from`")
    span, period = _range(body)
    step, calendar = _step(body)
    _check_calendar(body, [each for each in (calendar, period.calendar if period else None) if each is not None])
    start, end, at = (_time(body, member) for member in ("start", "end", "at"))
    if start is not None and end is not None and start >= end:
        raise ApiError("bad_time_range", "the range ends before it starts: `from` must be earlier than `to`")
    return Query(
        kind, name, (*matchers, *filters_as_matchers(filters)),
        None if type_name is None else _type(type_name),
        aggregation, tuple(body.group_by or ()), span, start, end, step, at, field,
        tuple((body.params or {}).items()), body.format == "columns", calendar, period,
    )  # fmt: skip


def _range(body: QueryBody) -> tuple[int, Period | None]:
    """(ms back from now, the period that counts instead of them) of `time_range`."""
    text = "1h" if body.time_range is None else body.time_range.strip()
    if text in PERIODS:
        unit, count, last = PERIODS[text]
        return 0, Period(_calendar(body, unit, count), last)
    try:
        return parse_duration(text), None
    except BadQuery as error:
        raise ApiError("bad_time_range", f"{error}; or one of {', '.join(PERIODS)}") from None


def _step(body: QueryBody) -> tuple[int | None, Calendar | None]:
    """(step in ms, its calendar) of `step`; with a calendar there are ms only where its steps are all of one length."""
    if body.step is None:
        return None, None
    try:
        found = parse_calendar_step(body.step)
        if found is None:
            return parse_duration(body.step, "step"), None
    except BadQuery as error:
        hint = "; months are written mo, such as 1mo or 3mo" if body.step.strip().endswith("M") else ", or 1d, 1w, 1mo"
        raise ApiError("bad_time_range", str(error) + hint) from None
    calendar = _calendar(body, found[1], found[0])
    return calendar.even, calendar


def _calendar(body: QueryBody, unit: str, count: int) -> Calendar:
    first = _WEEKDAYS[body.week_start or "monday"] if unit == WEEKS else MONDAY
    tz = "UTC" if body.tz is None else body.tz
    return Calendar(unit, count, tz, zones.find(tz), first)


def _check_calendar(body: QueryBody, used: list[Calendar]) -> None:
    """Raises BadQuery where a member is given that nothing in the query depends on."""
    if body.tz is not None and not used:
        zones.find(body.tz)
        raise BadQuery("tz: it belongs to a step of d, w or mo and to ranges such as today; nothing else depends on it")
    if body.week_start is not None and not any(calendar.unit == WEEKS for calendar in used):
        raise BadQuery("week_start: it belongs to a step of weeks, or to this_week and last_week")


def _type(name: str) -> int:
    return TYPES.index("counter" if name == "sum" else name)


def _time(body: QueryBody, member: str) -> int | None:
    value = getattr(body, member)
    if value is None:
        return None
    return parse_moment({"start": "from", "end": "to"}.get(member, member), value, "bad_time_range")


def parse_moment(member: str, value: Moment, code: str) -> int:
    """Milliseconds of a time as people write it. Raises ApiError of that code, which names the member."""
    try:
        time = parse_time(value)
    except ValueError as error:
        raise ApiError(code, f"{member}: {error}") from None
    if not FIRST <= time <= LAST:
        raise ApiError(code, f"{member}: {value!r:.80} is not between 1970 and 2200")
    return time


class SavedQueries:
    """The saved queries: in memory for reading, in the store for good."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry
        self._documents: dict[str, dict[str, Any]] = {}
        self._parsed: dict[str, Query] = {}
        self.changed: Changed = nobody_else
        self.deleted: Callable[[str], None] = lambda query_id: None
        """Told the id of a query that another process has deleted."""

    def __len__(self) -> int:
        return len(self._documents)

    def load(self, decoded: list[dict[str, Any]]) -> list[str]:
        """Takes the stored documents; returns those whose query can no longer be read (a plugin is missing)."""
        unread = []
        for document in decoded:
            self._documents[document["id"]] = document
            try:
                self._parsed[document["id"]] = self.parse(document)
            except (BadQuery, ApiError) as error:
                unread.append(f"{document['id']}: {error}")
        return unread

    def reload(self, id: str, body: bytes | None) -> None:
        """Another process has saved a query, or deleted it (None)."""
        if body is not None:
            for fault in self.load([decode_json(body)]):
                logger.warning("saved query %s", fault)
        elif self._documents.pop(id, None) is not None:
            self._parsed.pop(id, None)
            self.deleted(id)

    def parse(self, document: dict[str, Any]) -> Query:
        """The query of a document or of a body."""
        own = ("id", "created_at")
        given = {name: value for name, value in document.items() if name not in own}
        return parse_query(parse_body(given), self._registry)

    def find(self, query_id: str) -> Query | None:
        """A saved query. Raises BadQuery when it is saved but cannot be read."""
        if query_id in self._documents and query_id not in self._parsed:
            return self.parse(self._documents[query_id])
        return self._parsed.get(query_id)

    def document(self, query_id: str) -> dict[str, Any] | None:
        """A saved query as it was given, with its id."""
        return self._documents.get(query_id)

    def documents(self) -> list[dict[str, Any]]:
        """All saved queries, oldest first."""
        return list(self._documents.values())

    async def save(self, body: QueryBody, encode: Any) -> dict[str, Any]:
        """Saves a query for good and returns it with its id. Raises BadQuery, and ApiError when there are too many."""
        query = parse_query(body, self._registry)
        if len(self._documents) >= MAX_SAVED:
            raise ApiError("conflict", f"{MAX_SAVED} queries are saved already; delete some first")
        given = body.model_dump(by_alias=True, exclude_none=True)
        now = format_time(time.time_ns() // 1_000_000)
        document = {"id": f"query_{secrets.token_hex(8)}", **given, "created_at": now}
        await asyncio.to_thread(self._store.put_document, KIND, document["id"], encode(document))
        self._documents[document["id"]] = document
        self._parsed[document["id"]] = query
        await self.changed(KIND, document["id"])
        return document

    async def delete(self, query_id: str) -> bool:
        """Deletes a saved query for good; whether there was one."""
        if query_id not in self._documents:
            return False
        await asyncio.to_thread(self._store.delete_document, KIND, query_id)
        self._documents.pop(query_id, None)
        self._parsed.pop(query_id, None)
        await self.changed(KIND, query_id)
        return True
