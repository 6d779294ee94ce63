"""The JSON that ingest answers with: the stored metric or event, and the receipt of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from engine.model import Event
from server.wire.json_metrics import Sample
from server.wire.rows import RowError
from server.wire.times import format_time

MAX_ERRORS_SHOWN = 100

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Receipt:
    """What became of the rows of one request. `offset` is None where nothing was appended."""

    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    """Of the accepted ones."""
    rejected: int = 0
    errors: Sequence[RowError] = field(default_factory=list)
    offset: str | None = None

    def json(self, detail: dict[str, object] | None = None) -> bytes:
        """The receipt as JSON; `detail` stands before it where the answer is an error."""
        shown = [{"index": e.at, "reason": e.reason, "message": e.message} for e in self.errors[:MAX_ERRORS_SHOWN]]
        answer: dict[str, object] = {} if detail is None else {"detail": detail}
        answer |= {"accepted": self.accepted, "duplicate": self.duplicate, "late": self.late}
        answer |= {"rejected": self.rejected, "errors": shown, "offset": self.offset}
        return _encode(answer)


def metric_json(sample: Sample, offset: str, row: int) -> bytes:
    """The stored metric; its id is made of the offset and row that hold it."""
    known = sample.known
    value = sample.value  # repr of a finite float is JSON
    return b'{"id":"metric_%b_%d"%b%b,"timestamp":"%b"%b' % (
        offset.encode(),
        row,
        known.head,
        repr(value).encode(),
        format_time(sample.time).encode(),
        known.tail,
    )


def event_json(event: Event, offset: str, index: int) -> bytes:
    """The stored event; its id is made of the offset and index that hold it."""
    head = _encode(
        {
            "id": f"event_{offset}_{index}",
            "event_type": event.type,
            "timestamp": format_time(event.time),
            "user_id": event.user_id,
            "session_id": event.session_id,
        }
    )
    return head[:-1] + b"," + event.body[1:]
