"""A webhook: each message as JSON, POSTed to a URL, with a signature and a key by which a repeat can be told.

    POST <url>
    Content-Type: application/json
    Idempotency-Key: <the message's id, the same through all tries>
    Streamgauge-Signature: t=<unix seconds>,v1=<hex of HMAC-SHA256 of "<t>.<body>" under ALERT_WEBHOOK_SECRET>

The body is version 1 of what `body` gives. Any 2xx means taken.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import time
from collections.abc import Mapping
from typing import Any

from server.notify import GroupLine, Message
from server.notify.over_http import Caller, check
from server.notify.places import without_secrets
from server.notify.words import plain
from server.wire.times import format_time

VERSION = 1
"""Of the body's shape: members may be added to it, none is taken away or means something else."""


class Webhook:
    """A web service. secret: what signs, "" for nothing."""

    kind = "webhook"

    def __init__(self, name: str, caller: Caller, url: str, secret: str = "") -> None:
        self.name, self._caller, self._url, self._secret = name, caller, url, secret

    async def send(self, message: Message, ids: Mapping[str, str]) -> dict[str, str]:
        """See Channel.send; there are no ids."""
        sent = body(message)
        headers = {"Content-Type": "application/json", "Idempotency-Key": plain(message.id, 200)}
        if self._secret:
            headers["Streamgauge-Signature"] = signature(sent, self._secret, int(time.time()))
        check(await self._caller.call("POST", self._url, sent, headers), without_secrets(self._url))
        return {}

    async def close(self) -> None:
        """The connections are others' too."""


def signature(sent: bytes, secret: str, at: int) -> str:
    """The header over a body. at: unix seconds; a receiver refuses what is older than a few minutes."""
    code = hmac.new(secret.encode(), f"{at}.".encode() + sent, hashlib.sha256).hexdigest()
    return f"t={at},v1={code}"


def body(message: Message) -> bytes:
    """All that a message says. Times are ISO 8601 UTC, those of `points` ms, as in a query's columns; a value is null
    where it is unknown."""
    said = {
        "version": VERSION, "id": message.id, "kind": message.kind, "incident": message.incident,
        "rule_id": message.rule_id, "rule": message.rule, "severity": message.severity, "level": message.level,
        "labels": dict(message.labels or {}), "title": message.title, "text": message.text,
        "condition": message.condition, "threshold": _known(message.threshold), "unit": message.unit,
        "value": _known(message.value), "fired_value": _known(message.fired_value), "peak": _known(message.peak),
        "opened": format_time(message.opened), "at": format_time(message.at), "closed": _time(message.closed),
        "firing": message.firing, "groups": message.groups, "lines": [_line(line) for line in message.lines],
        "changes": list(message.changes), "points": [[at, _known(value)] for at, value in message.points],
        "link": message.link, "acknowledged": message.acknowledged,
    }  # fmt: skip
    return json.dumps(said, separators=(",", ":"), allow_nan=False).encode()


def _line(line: GroupLine) -> dict[str, Any]:
    return {
        "labels": dict(line.labels), "level": line.level, "cause": line.cause, "value": _known(line.value),
        "peak": _known(line.peak), "since": format_time(line.since), "until": _time(line.until),
    }  # fmt: skip


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_time(ms)
