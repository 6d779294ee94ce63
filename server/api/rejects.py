"""The refused rows that are kept: GET /api/rejects, and POST /api/rejects/resend, which takes them in again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model import parse_offset
from engine.rejects import Kept
from server.answers import Answers
from server.api.http import check_parameters, read_model, route, whole_number
from server.api.models import Offset, Time
from server.api.spec import NDJSON, Parameter, Spec
from server.auth import Gate
from server.errors import ApiError
from server.wire.messages import encode
from server.wire.rejects import row_again
from server.wire.times import format_time

MAX_LIMIT = 10_000
MAX_SET_BYTES = 4096
MAX_ERRORS_SHOWN = 100
PART_BYTES = 128 << 10
"""Of rows that are sent again at once."""
LEFT_OUT = "Streamgauge-Left-Out"
KINDS = ("metric", "event", "body")

SendAgain = Callable[[str, bytes], Awaitable[dict[str, Any]]]
"""(kind, NDJSON) -> the receipt. Raises ApiError where nothing was taken."""


class KeptReject(BaseModel):
    """A refused row, or the body that held none."""

    id: str = Field(examples=["reject_k3v9x2-41_0"])
    offset: Offset
    at: Time = Field(description="when it came")
    kind: Literal["metric", "event", "body"] = Field(description="body: one that could not be read as rows")
    index: int | None = Field(description="its place in its request, from 0; null for a body")
    reason: str = Field(examples=["bad_value"])
    message: str
    field: str | None = Field(description="the one at fault, where that is known")
    content: str = Field(description="as it came; what is no UTF-8 is replaced")
    cut: bool = Field(description="whether the content is only the first 2 KiB")


class RejectList(BaseModel):
    """The newest refused rows first."""

    rejects: list[KeptReject]
    next: str | None = Field(description="`before` of the page that follows, null after the last")
    kept: int = Field(description="refused rows that are kept in all")
    total_rejected: dict[str, int] = Field(description="refused rows ever, by reason, kept or not")


class Resend(BaseModel):
    """Which kept rows to take in again; all where nothing is named."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["metric", "event"] | None = None
    reason: str | None = Field(None, max_length=100)
    ids: list[str] | None = Field(None, max_length=MAX_LIMIT)
    set: dict[str, Any] = Field({}, description="members that every row gets in place of its own; not `id`")


class ResendError(BaseModel):
    """A row that was refused again."""

    id: str
    reason: str
    message: str


class Resent(BaseModel):
    """What became of the rows: sent = accepted + duplicate + rejected."""

    sent: int
    left_out: int = Field(description="chosen, but no JSON object as far as it is kept")
    accepted: int
    duplicate: int = Field(description="sent again before")
    late: int = Field(description="of the accepted ones")
    rejected: int = Field(description="refused again; they are counted, and kept as they are")
    errors: list[ResendError] = Field(description="the first 100")
    offset: Offset | None


LIST = Spec(
    "The newest refused rows", "status",
    "As far back as MAX_REJECTS reaches. With `format=ndjson` only the rows, oldest first, one JSON object a line, to "
    "be mended and sent again: a row that had no timestamp has the one at which it came, and one that had no id has "
    f"one, so that it counts once. Those that are no JSON objects are left out; the header {LEFT_OUT} says how many.",
    answer=RejectList, or_media=NDJSON, errors=("bad_request",),
    parameters=(
        Parameter("limit", "rows at most; without it 100, or all with `format=ndjson`",
                  {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, 10),
        Parameter("kind", "of the row; `metric` where `format=ndjson` and nothing is said",
                  {"type": "string", "enum": [*KINDS]}),
        Parameter("reason", "why it was refused", example="bad_value"),
        Parameter("before", "only older ones than the one of this id"),
        Parameter("format", "what to answer with", {"type": "string", "enum": ["json", "ndjson"]}),
    ),
)  # fmt: skip
RESEND = Spec(
    "Take refused rows in again", "send",
    "After a limit of the server has changed, or with `set` in place of what was wrong. A row counts at the time it "
    "came where it has no timestamp, and once however often this is done. The key needs the scope `read` as well.",
    body=Resend, answer=Resent,
    body_examples={
        "after a limit was raised": {"reason": "too_long"},
        "with a field mended": {"kind": "metric", "reason": "bad_type", "set": {"metric_type": "gauge"}},
    },
    errors=("too_many_requests", "log_full", "log_unavailable", "store_stalled", "shutting_down"),
)  # fmt: skip


def routes(answers: Answers, gate: Gate, send_again: SendAgain) -> list[Route]:
    """The two routes."""
    engine = answers.engine

    async def listing(request: Request) -> Any:
        check_parameters(request, {"limit", "kind", "reason", "before", "format"})
        asked = request.query_params
        form = _one_of(request, "format", ("json", "ndjson")) or "json"
        kind = _one_of(request, "kind", KINDS[:2] if form == "ndjson" else KINDS)
        limit = whole_number(request, "limit", 100 if form == "json" else len(engine.rejects), 1, MAX_LIMIT)
        before = _place(answers, asked["before"]) if "before" in asked else None
        kind = kind or ("metric" if form == "ndjson" else None)
        older = (kept for kept in _chosen(engine.rejects.newest_first(), kind, asked.get("reason"))
                 if before is None or (kept.position, kept.number) < before)  # fmt: skip
        found = list(islice(older, limit + 1))
        if form == "ndjson":
            return _lines(found[:limit])
        return {
            "rejects": [_shown(answers, kept) for kept in found[:limit]],
            "next": _id(answers, found[limit - 1]) if len(found) > limit else None,
            "kept": len(engine.rejects),
            "total_rejected": dict(sorted(engine.ledger.rejected.items())),
        }

    async def resend(request: Request) -> Any:
        gate.require(request.headers.raw, "read")
        body = await read_model(request, Resend)
        if "id" in body.set or len(encode(body.set)) > MAX_SET_BYTES:
            raise ApiError("bad_request", f"set: every member but id, and at most {MAX_SET_BYTES} bytes")
        ids = None if body.ids is None else set(body.ids)
        chosen = [kept for kept in _chosen(engine.rejects.newest_first(), body.kind, body.reason)
                  if ids is None or _id(answers, kept) in ids]  # fmt: skip
        return await _resend(answers, chosen[::-1], body.set, send_again)

    return [
        route("/api/rejects", listing, "GET", gate, "read", spec=LIST),
        route("/api/rejects/resend", resend, "POST", gate, "ingest", spec=RESEND),
    ]


def _chosen(newest: Iterable[Kept], kind: str | None, reason: str | None) -> Iterator[Kept]:
    for kept in newest:
        if kind in (None, kept.reject.kind) and reason in (None, kept.reject.reason):
            yield kept


def _one_of(request: Request, name: str, known: tuple[str, ...]) -> str | None:
    value = request.query_params.get(name)
    if value is not None and value not in known:
        raise ApiError("bad_request", f"{name} must be one of {', '.join(known)}")
    return value


def _id(answers: Answers, kept: Kept) -> str:
    return f"reject_{answers.offset(kept.position)}_{kept.number}"


def _place(answers: Answers, id: str) -> tuple[int, int]:
    """(position, number) of an id. ApiError bad_request where it is none of this log."""
    head, _, offset = id.partition("_")
    offset, _, number = offset.rpartition("_")
    try:
        position = parse_offset(offset)[1]
        if head != "reject" or answers.offset(position) != offset or not number.isdecimal():
            raise ValueError
        return position, int(number)
    except ValueError:
        raise ApiError("bad_request", f"before: {id[:80]!r} is no id that a list of refused rows gave") from None


def _shown(answers: Answers, kept: Kept) -> dict[str, Any]:
    kind, row, reason, message, field, content, cut, _ = kept.reject
    return {
        "id": _id(answers, kept), "offset": answers.offset(kept.position), "at": format_time(kept.stamp),
        "kind": kind, "index": row, "reason": reason, "message": message, "field": field,
        "content": content.decode(errors="replace"), "cut": cut,
    }  # fmt: skip


def _row_id(kept: Kept) -> str:
    """What a refused row is called when it is sent again: the same after a restore, or where its request came twice."""
    place = b"%d %d %d " % (kept.stamp, kept.position, kept.number)
    return f"reject_{blake2b(kept.reject.origin or place + kept.reject.content, digest_size=12).hexdigest()}"


def _again(kept: Kept, replaced: Mapping[str, Any]) -> bytes | None:
    """One line of NDJSON; None where there is none to be had."""
    if kept.reject.cut or kept.reject.kind == "body":
        return None
    row = row_again(kept.reject.content, kept.stamp, _row_id(kept), replaced)
    return None if row is None else encode(row) + b"\n"


def _lines(newest: list[Kept]) -> Response:
    made = [_again(kept, {}) for kept in reversed(newest)]
    lines = [line for line in made if line is not None]
    headers = {LEFT_OUT: str(len(made) - len(lines)), "Content-Disposition": 'attachment; filename="rejects.ndjson"'}
    return Response(b"".join(lines), media_type=NDJSON, headers=headers)


async def _resend(
    answers: Answers, oldest_first: list[Kept], replaced: Mapping[str, Any], send_again: SendAgain
) -> dict[str, Any]:
    counts = dict.fromkeys(("sent", "left_out", "accepted", "duplicate", "late", "rejected"), 0)
    errors: list[dict[str, str]] = []
    offset = None
    for kind in KINDS:
        of_kind = [kept for kept in oldest_first if kept.reject.kind == kind]
        made = [(_id(answers, kept), _again(kept, replaced)) for kept in of_kind]
        rows = [(id, line) for id, line in made if line is not None]
        counts["left_out"] += len(made) - len(rows)
        for part in _parts(rows):
            receipt = await send_again(kind, b"".join(line for _, line in part))
            counts["sent"] += len(part)
            for name in ("accepted", "duplicate", "late", "rejected"):
                counts[name] += receipt[name]
            for error in receipt["errors"]:
                errors.append({"id": part[error["index"]][0], "reason": error["reason"], "message": error["message"]})
            offset = receipt["offset"]
    return {**counts, "errors": errors[:MAX_ERRORS_SHOWN], "offset": offset}


def _parts(rows: list[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """The rows in parts of about PART_BYTES."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for row in rows:
        if part and size + len(row[1]) > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row[1])
    if part:
        yield part
