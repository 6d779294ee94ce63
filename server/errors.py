"""Every error that leaves the server: one closed table of codes, and the exception that carries one of them.

Body of an HTTP error: {"detail": {"code": "…", "message": "…", …details}}. A WebSocket gets the same code and message
in an `error` message, or the close code where the connection itself ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Code(NamedTuple):
    """What one error code means at each edge."""

    http: int
    """HTTP status."""
    websocket: int
    """Close code: an RFC 6455 one where it fits, else 4000 + HTTP status."""
    temporary: bool
    """True where the same request may succeed later without being changed."""


CODES: dict[str, Code] = {
    "bad_json": Code(400, 4400, False),
    "bad_request": Code(400, 4400, False),
    "bad_query": Code(400, 4400, False),
    "bad_time_range": Code(400, 4400, False),
    "unauthorized": Code(401, 4401, False),
    "forbidden": Code(403, 4403, False),
    "forbidden_origin": Code(403, 4403, False),
    "not_found": Code(404, 4404, False),
    "method_not_allowed": Code(405, 4405, False),
    "timeout": Code(408, 4408, True),
    "conflict": Code(409, 4409, False),
    "body_too_large": Code(413, 1009, False),
    "message_too_large": Code(413, 1009, False),
    "unsupported_encoding": Code(415, 4415, False),
    "invalid_rows": Code(422, 4422, False),
    "query_too_expensive": Code(422, 4422, False),
    "out_of_reach": Code(422, 4422, False),
    "too_many_requests": Code(429, 4429, True),
    "too_many_subscriptions": Code(429, 4429, False),
    "internal": Code(500, 1011, False),
    "too_many_connections": Code(503, 1013, True),
    "log_full": Code(503, 1013, True),
    "log_unavailable": Code(503, 1013, True),
    "starting": Code(503, 1013, True),
    "shutting_down": Code(503, 1012, True),
    "query_timeout": Code(504, 4504, True),
}


class ApiError(Exception):
    """An error to be answered. `code` is a key of CODES (KeyError otherwise, so that a typing slip shows at once).

    retry_after: seconds until a retry makes sense, for the Retry-After header; details: more members of the body.
    """

    def __init__(
        self, code: str, message: str, retry_after: float | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.meaning = CODES[code]
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.details: dict[str, Any] = dict(details or {})

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.meaning.http

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        return {"detail": {"code": self.code, "message": self.message, **self.details}}

    def json(self) -> bytes:
        """`body()` as bytes."""
        return json.dumps(self.body(), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")

    def headers(self) -> dict[str, str]:
        """Headers that belong to the answer besides its content type."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.code == "unauthorized":
            headers["WWW-Authenticate"] = "Bearer"
        return headers
