"""What was told to whom, and the ways to tell people."""

from __future__ import annotations

from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from engine.rules.book import Book
from server.api import alert_views as views
from server.api.alert_models import ChannelOf, Notification, Sent
from server.api.alerting import Alerting, Channels
from server.api.http import check_parameters, route, whole_number
from server.api.saved_alerts import SavedAlerts
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.notify import NotSent
from server.rule_parts import KINDS_OF_CHANNELS, check_channel

OUTCOMES = ("sent", "failed", "gave_up", "held")

_LIMIT = {"type": "integer", "minimum": 1, "maximum": 2_000, "default": 100}
RECORDS = Spec(
    "What was told to whom, newest first", "alert", answer=list[Notification], errors=("bad_request",),
    parameters=(
        Parameter("alert_id", "of this alert"),
        Parameter("outcome", "only what came out so", {"type": "string", "enum": list(OUTCOMES)}),
        Parameter("limit", "at most so many", _LIMIT),
    ),
)  # fmt: skip
LISTING = Spec(
    "List the channels", "alert", "Those that there are, and those with a target that an alert names.",
    answer=list[ChannelOf],
)  # fmt: skip
TEST = Spec(
    "Send a test message", "alert", answer=Sent, errors=("not_found", "bad_request", "not_sent"),
    parameters=(
        Parameter("channel_id", "its name, such as slack or email:ops@example.com", where="path"),
        Parameter("target", "what would stand after the colon, where a path cannot hold it"),
    ),
)  # fmt: skip


def routes(saved: SavedAlerts, alerting: Alerting, channels: Channels, gate: Gate) -> list[Route]:
    """The routes."""

    async def records(request: Request) -> Any:
        check_parameters(request, {"alert_id", "outcome", "limit"})
        alert_id, outcome = request.query_params.get("alert_id"), request.query_params.get("outcome")
        if outcome not in (None, *OUTCOMES):
            raise ApiError("bad_request", f"outcome must be one of {', '.join(OUTCOMES)}")
        limit = whole_number(request, "limit", 100, 1, 2_000)
        found = reversed(alerting.book.records)
        wanted = (each for each in found if alert_id in (None, each.rule) and outcome in (None, each.outcome))
        return [views.notification(each, saved.name(each.rule)) for each in islice(wanted, limit)]

    async def listing(request: Request) -> Any:
        named = {name for rule in saved.rules().values() for name in rule.channels}
        names = [*KINDS_OF_CHANNELS, *sorted(named - {*KINDS_OF_CHANNELS})]
        sent, errors = _newest(alerting.book)
        return [_shown(channels, name, sent.get(name), errors.get(name)) for name in names]

    async def test(request: Request) -> Any:
        check_parameters(request, {"target"})
        name, target = request.path_params["channel_id"], request.query_params.get("target")
        if name.partition(":")[0] not in KINDS_OF_CHANNELS:
            raise ApiError("not_found", f"there is no channel {name[:100]!r}")
        name = name if target is None else f"{name}:{target}"
        check_channel(name, "target")
        problem = channels.problem(name)
        if problem is not None:
            raise ApiError("bad_request", problem)
        try:
            ids = await channels.test(name)
        except NotSent as error:
            raise ApiError("not_sent", error.reason, retry_after=error.after) from None
        return {"sent": True, "ids": dict(ids)}

    return [
        route("/api/notifications", records, "GET", gate, "read", spec=RECORDS),
        route("/api/channels", listing, "GET", gate, "read", spec=LISTING),
        route("/api/channels/{channel_id}/test", test, "POST", gate, "read", spec=TEST),
    ]


def _newest(book: Book) -> tuple[dict[str, int], dict[str, str]]:
    """(channel -> when a message was last sent, channel -> what was wrong since)."""
    sent: dict[str, int] = {}
    errors: dict[str, str] = {}
    for record in book.records:
        if record.outcome == "sent":
            sent[record.channel] = record.at
            errors.pop(record.channel, None)
        elif record.outcome in ("failed", "gave_up"):
            errors[record.channel] = record.reason
    return sent, errors


def _shown(channels: Channels, name: str, sent: int | None, error: str | None) -> dict[str, Any]:
    problem = channels.problem(name)
    return {
        "name": name, "kind": name.partition(":")[0], "configured": problem is None, "problem": problem,
        "target": channels.target(name), "last_sent_at": views.moment(sent), "last_error": error,
    }  # fmt: skip
