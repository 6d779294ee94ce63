"""The answers, and the rows that ingest takes, as models: they say what goes over the wire, and check nothing there.

The bodies that are checked by a model have it where they are read: `server.questions`, and the files of this folder.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.errors import CODES
from server.questions import Moment, QueryBody

Time = str
"""ISO 8601 UTC with milliseconds."""
MetricType = Literal["counter", "gauge", "histogram", "timer", "average"]
Offset = str
_TIME = "2026-01-31T12:00:00.000Z"
_OFFSET = "k3v9x2-41"
_LABEL = str | int | float | bool | None


class NewMetric(BaseModel):
    """One sample. Name, type and tags make its series. Members that are not known are ignored."""

    name: str = Field(min_length=1, max_length=200, examples=["orders"])
    metric_type: Literal["counter", "gauge", "histogram", "timer", "average", "sum"] = Field(
        description="`sum` is taken as counter"
    )
    value: int | float
    tags: dict[str, _LABEL] | None = Field(None, description="labels", examples=[{"shop": "berlin"}])
    unit: str | None = Field(None, max_length=200, description="belongs to the name", examples=["ms"])
    source: str | None = Field(None, description="becomes the label `source`")
    timestamp: Moment | None = Field(
        None, description="ISO 8601 (without a zone: UTC) or epoch (below 1e11 seconds, else ms); absent: arrival"
    )
    temporality: Literal["delta", "cumulative"] | None = Field(None, description="of a counter")
    id: str | int | None = Field(None, description="a repeat of it counts once")


class NewEvent(BaseModel):
    """One event. Members that are not known are ignored."""

    event_type: str = Field(min_length=1, max_length=200, examples=["login"])
    user_id: str | int | float | None = None
    session_id: str | int | float | None = None
    properties: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    timestamp: Moment | None = Field(None, description="as of a metric")
    id: str | int | None = Field(None, description="a repeat of it counts once")


class Metric(BaseModel):
    """A stored sample. Its id is its place in the log."""

    id: str = Field(examples=[f"metric_{_OFFSET}_0"])
    name: str
    metric_type: MetricType
    value: int | float | None = Field(description="as sent; null where it has no JSON form")
    timestamp: Time
    tags: dict[str, str]
    unit: str | None
    source: str | None


class Event(BaseModel):
    """A stored event. Its id is its place in the log."""

    id: str = Field(examples=[f"event_{_OFFSET}_0"])
    event_type: str
    timestamp: Time
    user_id: str | None
    session_id: str | None
    properties: dict[str, Any] | None
    metadata: dict[str, Any] | None


class RefusedRow(BaseModel):
    """A row that was refused."""

    index: int = Field(description="from 0: element of the array, or line")
    reason: str = Field(examples=["bad_value"])
    message: str


class Receipt(BaseModel):
    """What became of the rows of one body: received = accepted + duplicate + rejected."""

    accepted: int
    duplicate: int
    late: int = Field(description="of the accepted ones")
    rejected: int
    errors: list[RefusedRow] = Field(description="the first 100")
    offset: Offset | None = Field(description="place in the log; null where nothing was appended")


class Detail(BaseModel):
    """What went wrong. Some codes bring more members, such as `position` of bad_json."""

    code: str = Field(json_schema_extra={"enum": list(CODES)})
    message: str


class Error(BaseModel):
    """Every error. Where rows were refused (invalid_rows), the members of the receipt stand beside `detail`."""

    detail: Detail


class Deleted(BaseModel):
    """What is gone."""

    message: str
    id: str


class SavedQuery(QueryBody):
    """A saved query: as it was given, with its id."""

    id: str
    created_at: Time


class ResultRow(BaseModel):
    """One group, or one group and step."""

    model_config = ConfigDict(extra="forbid")

    group: str | None = Field(None, description="the label values, joined; where the query groups")
    labels: dict[str, str | None] | None = None
    value: int | float | None = Field(description="null where it is unknown, never zero for that")
    count: int | float
    time: Time | None = Field(None, description="where the query has a step")
    partial: bool = Field(False, description="true where a step of the calendar is not over as of `at`; else absent")


class RawRow(BaseModel):
    """A raw sample, where the query has no aggregation."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: int | float | None
    timestamp: Time
    tags: dict[str, str]


class RawGroup(BaseModel):
    """The raw values of a group, where the query groups and has no aggregation."""

    model_config = ConfigDict(extra="forbid")

    group: str
    labels: dict[str, str | None]
    values: list[int | float | None]
    count: int


class ColumnSeries(BaseModel):
    """One group of an answer in columns; `values` and `counts` are as long as `times`."""

    group: str
    labels: dict[str, str | None]
    values: list[int | float | None]
    counts: list[int | float]


class Columns(BaseModel):
    """An answer for charts. times: ms."""

    times: list[int]
    partial: list[int] = Field(
        default_factory=list, description="of the times, those whose step is not over; of a calendar's steps only"
    )
    series: list[ColumnSeries]


class ResultMetadata(BaseModel):
    """About an answer."""

    total_metrics: int = Field(description="samples or events that it rests on")
    time_range: str | None
    aggregation: str | None
    notes: list[str] = []
    complete_from: Time = Field(_TIME, description="raw samples before it are not all kept any more")


class QueryResult(BaseModel):
    """The answer of a query, and what it rests on. `data`, or `columns` with `format: columns`."""

    query_id: str | None
    data: list[ResultRow | RawRow | RawGroup] = []
    columns: Columns = Field(default_factory=lambda: Columns(times=[], series=[]))
    metadata: ResultMetadata
    execution_time: float = Field(description="seconds")
    timestamp: Time
    offset: Offset = Field(description="place in the log that the answer contains")
    at: Time
    from_: Time = Field(alias="from")
    to: Time
    resolution: str
    step: str | None
    tz: str = Field("UTC", description="whose days, weeks or months the steps are; where they are some")
    error_bound: float = Field(description="relative, of percentiles and unique counts; 0 = exact")


class Subscription(BaseModel):
    """A subscription of a client, made from outside its connection."""

    id: str
    query_id: str
    client_id: str
    created_at: Time


class Name(BaseModel):
    """What answers here."""

    name: str
    version: str


class Health(Name):
    """The process is alive."""

    status: Literal["ok"]


class Ready(BaseModel):
    """The replay has ended."""

    status: Literal["ready"]
    offset: Offset


class Counts(BaseModel):
    """Rows of the log: received = accepted + events + duplicate + the sum of rejected."""

    received: int
    accepted: int = Field(description="samples")
    events: int
    duplicate: int
    late: int
    late_total: int = Field(description="late running totals, which do not count in `increase`")
    squeezed: int = Field(description="running totals whose pane was closed early for lack of memory")
    folded: int = Field(description="went to an __other__ series")
    expired: int
    repeated: int = Field(description="log entries that were appended twice and skipped")
    rejected: dict[str, int] = Field(description="by reason")


class InPanes(BaseModel):
    """Where the accepted samples are: accepted = open + pending + stored + expired."""

    open: int = Field(description="in panes that still take samples in time")
    pending: int = Field(description="in closed panes that are not stored yet, but in the log")
    stored: int = Field(description="in panes that were handed to the store")


class Ledger(Counts):
    """Accounts for every row up to an offset."""

    offset: Offset
    in_panes: InPanes
    balanced: bool = Field(description="false where rows are missing, or counted twice")


class MetricName(BaseModel):
    """A metric name that has been sent."""

    name: str
    type: MetricType
    types: list[MetricType]
    unit: str | None
    series: int
    labels: list[str] = Field(description="the first 50")
    cumulative: bool
    last_time: Time | None
    last_value: int | float | None
    own: bool = Field(False, description="true where it is one of the server's own")


class Stats(BaseModel):
    """Counts of everything, and what is in force."""

    offset: Offset
    time: Time | None = Field(description="the newest arrival, null before the first")
    total_metrics: int
    own_metrics: int = Field(description="of them, samples that the server sent about itself")
    total_events: int
    total_series: int
    total_names: int
    total_dashboards: int
    total_queries: int
    total_alerts: int
    metric_distribution: dict[MetricType, int] = Field(description="series by type")
    recent_metrics_1h: int
    recent_events_1h: int
    supported_metric_types: list[MetricType]
    supported_aggregations: list[str]
    metrics: list[MetricName] = Field(description="at most 1000, the newest first; the server's own last")
    event_types: dict[str, int]
    ledger: Counts
    warnings: list[str]
    deduplication: dict[str, int | float]
    memory: dict[str, int] = Field(description="bytes")
    connections: int
    active_subscriptions: int
    firehose_dropped: int
    modes: dict[str, Any] = Field(description="how durable the log is, whether data are kept, who may call")
