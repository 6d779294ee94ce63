"""What the table cannot say of itself: POST /api/metrics and /api/events, which are served before it, and /ws."""

from __future__ import annotations

from server.api.models import Event, Metric, NewEvent, NewMetric, Receipt
from server.api.spec import Parameter, Spec

_RECEIPT = {"accepted": 2, "duplicate": 0, "late": 0, "rejected": 0, "errors": [], "offset": "k3v9x2-42"}
_INGEST_ERRORS = (
    *("conflict", "invalid_rows", "too_many_requests", "log_full", "log_unavailable", "store_stalled", "shutting_down"),
)  # fmt: skip
_INGEST_PARAMETERS = (
    Parameter(
        "Idempotency-Key", "a repeated request with the same key and body counts once; another body is a 409",
        {"type": "string", "minLength": 1, "maxLength": 1024}, where="header",
    ),
    Parameter(
        "Content-Encoding", "how the body is compressed",
        {"type": "string", "enum": ["identity", "gzip", "deflate", "zstd"]}, where="header",
    ),
)  # fmt: skip
_MEANINGS = {
    201: "One object was sent: it is stored, as shown. A repeat of an `id` shows the first one's id and time.",
    202: "An array or lines were sent: a receipt. Bad rows are refused one by one, the good ones are kept.",
}
_INGEST = (
    "One JSON object, an array, or NDJSON (any Content-Type with ndjson or jsonl in it). The answer means: appended to "
    "the log, and applied. If no row can be taken the answer is 422, and its body has the members of the receipt too."
)

METRICS = Spec(
    "Send metrics", "send", _INGEST,
    body=NewMetric | list[NewMetric],
    body_examples={
        "one": {"name": "orders", "metric_type": "counter", "value": 1, "tags": {"shop": "berlin"}},
        "many": [
            {"name": "latency", "metric_type": "timer", "value": 12.5, "unit": "ms", "tags": {"route": "/"}},
            {"name": "cpu", "metric_type": "gauge", "value": 0.7, "source": "web-1"},
        ],
    },
    lines='{"name": "orders", "metric_type": "counter", "value": 2}\n'
    '{"name": "cpu", "metric_type": "gauge", "value": 0.6}\n',
    answer=Metric,
    answer_examples={
        201: {
            "id": "metric_k3v9x2-41_0", "name": "orders", "metric_type": "counter", "value": 1,
            "timestamp": "2026-01-31T12:00:00.000Z", "tags": {"shop": "berlin"}, "unit": None, "source": None,
        },
        202: _RECEIPT,
    },
    more_answers={202: Receipt}, meanings=_MEANINGS, parameters=_INGEST_PARAMETERS, errors=_INGEST_ERRORS,
)  # fmt: skip

EVENTS = Spec(
    "Send events", "send", _INGEST,
    body=NewEvent | list[NewEvent],
    body_examples={
        "one": {"event_type": "login", "user_id": "u1", "properties": {"plan": "pro"}},
        "many": [
            {"event_type": "purchase", "user_id": "u1", "properties": {"amount": 19.9}},
            {"event_type": "purchase", "user_id": "u2", "properties": {"amount": 5}},
        ],
    },
    lines='{"event_type": "login", "user_id": "u3"}\n'
    '{"event_type": "login", "user_id": "u4"}\n',
    answer=Event,
    answer_examples={
        201: {
            "id": "event_k3v9x2-43_0", "event_type": "login", "timestamp": "2026-01-31T12:00:00.000Z",
            "user_id": "u1", "session_id": None, "properties": {"plan": "pro"}, "metadata": None,
        },
        202: _RECEIPT,
    },
    more_answers={202: Receipt}, meanings=_MEANINGS, parameters=_INGEST_PARAMETERS, errors=_INGEST_ERRORS,
)  # fmt: skip

_WEBSOCKET = """JSON text messages, each with a `type`. The server greets with `hello`.

You send: `subscribe` {query_id or query, since?, delta?}; `unsubscribe` {subscription_id}; `configure` {firehose,
max_rate, own}, where `own` adds the server's own metrics; `ping`.

You get: `new_metric` and `new_event`, at most FIREHOSE_RATE of each per second, and `dropped` {count} for the rest;
`subscription_created`, then `realtime_update` {subscription_id, query_id, offset, at, data, timestamp} at each change,
whose data equal a query at that offset and `at`; `subscription_deleted`; `gap` where rows since an offset are not kept
any more; `alert_triggered` and `alert_resolved` {alert, metric, group, incident_id, level, timestamp}, `alert` being
its document; `pong`; `error` {code, message}. A bad message gets `error`, and the connection stays.

With `delta` an update may say `delta: true` and hold what changed since the one before: of rows the new and changed
ones, and `removed` [[group, time]]; of columns the steps from the first that changed, which follow those known from
`first` (ms) on, the series in the order known."""

WEBSOCKET = Spec(
    "Watch over a WebSocket", "watch", _WEBSOCKET,
    parameters=(
        Parameter(
            "client_id", "any name of your own", {"type": "string", "minLength": 1, "maxLength": 200}, "me", "path"
        ),
        Parameter("since", "an offset: the firehose is replayed from there"),
        Parameter("firehose", "0 starts without the firehose", {"type": "string"}, "0"),
        Parameter("token", "the API key, where headers cannot be set"),
    ),
    meanings={101: "The connection is a WebSocket now"},
    errors=("bad_request", "forbidden_origin", "not_found", "too_many_connections", "shutting_down"),
)  # fmt: skip
