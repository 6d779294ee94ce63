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
    meaning: str
    """For readers, in a line."""


CODES: dict[str, Code] = {
    "bad_json": Code(400, 4400, False, "The body is no JSON; `position` and `line` say where it breaks"),
    "bad_request": Code(400, 4400, False, "A member, parameter or header is wrong; the message names it"),
    "bad_query": Code(400, 4400, False, "The query cannot be understood"),
    "bad_time_range": Code(400, 4400, False, "Its range, step or `at` can hold nothing"),
    "unauthorized": Code(401, 4401, False, "No API key, or an unknown one"),
    "forbidden": Code(403, 4403, False, "The key lacks the scope; without keys: the host is not loopback"),
    "forbidden_origin": Code(403, 4403, False, "A page of this origin may not open a WebSocket; see ALLOWED_ORIGINS"),
    "not_found": Code(404, 4404, False, "There is nothing of this name"),
    "method_not_allowed": Code(405, 4405, False, "The path exists, the method does not"),
    "timeout": Code(408, 4408, True, "The body took too long to arrive"),
    "conflict": Code(409, 4409, False, "An Idempotency-Key with another body, a document changed since, a full list"),
    "body_too_large": Code(413, 1009, False, "The body, decoded, is over its limit"),
    "message_too_large": Code(413, 1009, False, "The WebSocket message is over MAX_MESSAGE_BYTES"),
    "unsupported_encoding": Code(415, 4415, False, "A Content-Encoding other than gzip, deflate and zstd"),
    "invalid_rows": Code(422, 4422, False, "No row can be taken; `errors` says why, row by row"),
    "query_too_expensive": Code(422, 4422, False, "The query is over a limit; the message says what would fit"),
    "out_of_reach": Code(422, 4422, False, "Raw values are asked for further back than they are kept"),
    "too_many_requests": Code(429, 4429, True, "Faster than the limit; wait as long as Retry-After says"),
    "too_many_subscriptions": Code(429, 4429, False, "The connection has MAX_SUBSCRIPTIONS already"),
    "internal": Code(500, 1011, False, "A fault of the server; its log has more"),
    "not_sent": Code(502, 4502, True, "The far side of a channel did not take the message; it says why"),
    "too_many_connections": Code(503, 1013, True, "MAX_WEBSOCKET_CONNECTIONS are open, or no file descriptor is left"),
    "log_full": Code(503, 1013, True, "The log is at LOG_MAX_BYTES; nothing was taken"),
    "log_unavailable": Code(503, 1013, True, "The log cannot be written; nothing is known to be taken"),
    "store_unavailable": Code(503, 1013, True, "The store cannot be read or written; nothing was changed"),
    "store_stalled": Code(503, 1013, True, "The store has stood still too long (STORE_STALL); nothing was taken"),
    "starting": Code(503, 1013, True, "The log is being replayed"),
    "shutting_down": Code(503, 1012, True, "The server is ending; connect again"),
    "query_timeout": Code(504, 4504, True, "The query took over MAX_QUERY_EXECUTION_TIME"),
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
