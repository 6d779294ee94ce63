"""Silences as documents: which alerts tell nobody, from when to when, and why."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.routing import Route

from engine.query.value import parse_duration
from engine.rules.model import Silence
from server.api.documents import Documents
from server.api.http import check_parameters, read_model, route
from server.api.models import Deleted, Time
from server.api.spec import Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.questions import Moment, parse_moment
from server.rule_bodies import Duration
from server.rule_parts import matchers_of
from server.store import Store
from server.wire.times import format_time, parse_time

KIND = "silence"
MAX_SAVED = 1_000
MAX_LENGTH = 366 * 86_400_000
STATES = ("pending", "active", "expired")


class NewSilence(BaseModel):
    """Body of POST /api/silences."""

    model_config = ConfigDict(extra="forbid")

    matchers: str = Field(
        min_length=1, max_length=4_000, examples=['{host=~"web.*"}'],
        description="on the labels of alerts: those of their group and of the alert, `alert` (its name), `alert_id`, "
        "`severity`",
    )  # fmt: skip
    start: Moment | None = Field(None, alias="from", description="ISO 8601 or epoch; now where absent")
    end: Moment | None = Field(None, alias="to", description="this, or `for`")
    span: Duration | None = Field(None, alias="for", examples=["2h"])
    reason: str = Field(min_length=1, max_length=1_000, examples=["the disks are exchanged"])
    author: str = Field("", max_length=200, examples=["ada"])


class SilenceOf(BaseModel):
    """A silence."""

    id: str
    created_at: Time
    matchers: str
    start: Time = Field(alias="from")
    end: Time = Field(alias="to")
    reason: str
    author: str
    state: Literal["pending", "active", "expired"]


_EXAMPLE = {"matchers": '{host=~"web.*"}', "for": "2h", "reason": "the disks are exchanged", "author": "ada"}
CREATE = Spec(
    "Silence alerts", "alert", "They are evaluated as ever; nobody is told of them meanwhile.",
    body=NewSilence, body_examples={"hosts": _EXAMPLE}, answer=SilenceOf, errors=("conflict", "store_unavailable"),
)  # fmt: skip
LISTING = Spec(
    "List the silences, oldest first", "alert", answer=list[SilenceOf], errors=("bad_request",),
    parameters=(Parameter("state", "only those that are so", {"type": "string", "enum": list(STATES)}),),
)  # fmt: skip
ONE = Spec("Read a silence", "alert", answer=SilenceOf, errors=("not_found",))
END = Spec(
    "End a silence now", "alert", "It stays in the list as expired. One that has not begun is deleted.",
    answer=Deleted, errors=("not_found", "store_unavailable"),
)  # fmt: skip


class SavedSilences(Documents):
    """The saved silences. Where there are too many, the oldest of those that have ended make room."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, KIND, MAX_SAVED)
        self._silences: dict[str, Silence] = {}

    async def open(self) -> None:
        """Reads what is stored."""
        await super().open()
        for id in self._documents:
            self._read(id)

    def silences(self, now: int) -> list[Silence]:
        """Those that have not ended by now, ms."""
        return [each for each in self._silences.values() if each.end > now]

    def _notice(self, id: str) -> None:
        self._read(id)
        super()._notice(id)

    def _read(self, id: str) -> None:
        self._silences.pop(id, None)
        found = self._documents.get(id)
        if found is not None:
            matchers = matchers_of(found["matchers"], "matchers")
            times = parse_time(found["from"]), parse_time(found["to"])
            self._silences[id] = Silence(id, matchers, *times, found["reason"], found["author"])

    async def save(self, body: NewSilence) -> dict[str, Any]:
        """Saves a silence for good and returns it. Raises ApiError for one that cannot be."""
        now = _now()
        matchers_of(body.matchers, "matchers")
        start, end = _interval(body, now)
        if len(self) >= MAX_SAVED:
            expired = [each for each in self._documents.values() if parse_time(each["to"]) <= now]
            if expired:
                await self.delete(min(expired, key=lambda each: each["to"])["id"])
        times = {"from": format_time(start), "to": format_time(end)}
        return await self.add({"matchers": body.matchers, **times, "reason": body.reason, "author": body.author})

    async def end(self, silence_id: str) -> None:
        """Ends a silence now. Raises ApiError not_found, also for one that has ended."""
        now, found = _now(), self.find(silence_id)
        if _state(found, now) == "pending":
            await self.delete(silence_id)
            return

        def ended(before: dict[str, Any]) -> dict[str, Any]:
            if _state(before, now) == "expired":
                raise ApiError("not_found", f"the silence {silence_id[:100]!r} has ended already")
            return {**before, "to": format_time(now)}

        await self.update(silence_id, ended)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _interval(body: NewSilence, now: int) -> tuple[int, int]:
    start = now if body.start is None else parse_moment("from", body.start, "bad_request")
    if (body.end is None) == (body.span is None):
        raise ApiError("bad_request", "to: a silence needs either `to` or `for`")
    span = parse_duration(body.span or "1s")
    end = start + span if body.end is None else parse_moment("to", body.end, "bad_request")
    if end <= start:
        raise ApiError("bad_request", "to: the silence ends before it starts")
    if end <= now:
        raise ApiError("bad_request", "to: the silence would have ended already")
    if end - start > MAX_LENGTH:
        raise ApiError("bad_request", "to: a silence lasts at most 366 days; an alert can be switched off instead")
    return start, end


def _state(document: dict[str, Any], now: int) -> str:
    if parse_time(document["to"]) <= now:
        return "expired"
    return "pending" if parse_time(document["from"]) > now else "active"


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "state": _state(document, _now())}


def routes(silences: SavedSilences, gate: Gate) -> list[Route]:
    """The routes."""

    async def create(request: Request) -> Any:
        return _shown(await silences.save(await read_model(request, NewSilence)))

    async def listing(request: Request) -> Any:
        check_parameters(request, {"state"})
        state = request.query_params.get("state")
        if state not in (None, *STATES):
            raise ApiError("bad_request", f"state must be one of {', '.join(STATES)}")
        return [each for each in map(_shown, silences.all()) if state in (None, each["state"])]

    async def one(request: Request) -> Any:
        return _shown(silences.find(request.path_params["silence_id"]))

    async def end(request: Request) -> Any:
        silence_id = request.path_params["silence_id"]
        await silences.end(silence_id)
        return {"message": "silence ended", "id": silence_id}

    path = "/api/silences/{silence_id}"
    return [
        route("/api/silences", create, "POST", gate, "read", 201, spec=CREATE),
        route("/api/silences", listing, "GET", gate, "read", spec=LISTING),
        route(path, one, "GET", gate, "read", spec=ONE),
        route(path, end, "DELETE", gate, "read", spec=END),
    ]
