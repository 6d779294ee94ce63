"""Fields of events, picked from their bodies as the store picks them from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.model import Event

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def pick_fields(event: Event, fields: Sequence[str]) -> tuple[Any, ...]:
    """(time, user_id, session_id, *fields): numbers and text as they are, true and false as text, objects as JSON."""
    own = {"event_type": event.type, "user_id": event.user_id, "session_id": event.session_id}
    body = _decode(event.body) if any(field not in own for field in fields) else None
    picked = (own[field] if field in own else _pick(body, field) for field in fields)
    return (event.time, event.user_id, event.session_id, *picked)


def _pick(body: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(body, dict) or part not in body:
            return None
        body = body[part]
    if isinstance(body, bool):
        return "true" if body else "false"
    if isinstance(body, dict | list):
        return _encode(body).decode()
    return body
