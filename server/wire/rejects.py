"""Refused rows as they can be sent again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.limits import MAX_ID
from server.wire.rows import any_json
from server.wire.times import format_time


def row_again(content: bytes, stamp: int, id: str, replaced: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of a refused row's bytes; None where they are no JSON object.

    replaced: members it gets in place of its own. One without a timestamp gets `stamp` (ms), so that it counts at the
    time it came; one without a usable id gets `id`, so that it counts once however often it is sent.
    """
    try:
        row = any_json(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    row |= replaced
    if row.get("timestamp") is None:
        row["timestamp"] = format_time(stamp)
    own = row.get("id")
    if isinstance(own, bool) or not isinstance(own, str | int) or not 0 < len(str(own)) <= MAX_ID:
        row["id"] = id
    return row
