"""The vocabulary everyone shares: series keys, batches, events, log entries and what applying them gave.

Times are int milliseconds UTC. A position is the int64 place of an entry in its log; outside the server it is
written as an offset, an opaque string made of the log's epoch and the position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Flags = NDArray[np.bool_]
Labels = tuple[tuple[str, str], ...]

TYPES = ("counter", "gauge", "histogram", "timer", "average")
COUNTER, GAUGE, HISTOGRAM, TIMER, AVERAGE = range(5)
TEMPORALITIES = ("unspecified", "delta", "cumulative")
UNSPECIFIED, DELTA, CUMULATIVE = range(3)

OWN_PREFIX = "streamgauge_"
"""How the names of the server's own metrics begin."""
OTHER_LABEL = "__other__"
"""The label of the series that takes the samples of series beyond the cardinality budget."""

REJECT_KINDS = ("metric", "event", "body")
MAX_REJECT_BYTES = 2048
"""Of a refused row, as much is kept."""

_TYPE_CODES = b"cghta"
_TEMPORALITY_CODES = b"udm"
_FIELD = b"\xff"  # neither byte occurs in UTF-8, so no name or value needs escaping
_PAIR = b"\xfe"


class SeriesKey(NamedTuple):
    """A series as people see it. `unit` belongs to the name: it travels in the key but is no part of the identity."""

    name: str
    type: int
    temporality: int
    unit: str
    labels: Labels


def pack_series_key(
    name: str, type: int, temporality: int = UNSPECIFIED, unit: str = "", labels: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The bytes of a series key, equal for equal series whatever the order of their labels."""
    head = bytes((_TYPE_CODES[type], _TEMPORALITY_CODES[temporality])) + unit.encode() + _FIELD + name.encode()
    return head + b"".join(_FIELD + k.encode() + _PAIR + v.encode() for k, v in sorted(labels))


def parse_series_key(key: bytes) -> SeriesKey:
    """The inverse of `pack_series_key`."""
    unit, name, *pairs = key[2:].split(_FIELD)
    labels = tuple((k.decode(), v.decode()) for k, v in (pair.split(_PAIR) for pair in pairs))
    type, temporality = _TYPE_CODES.index(key[0]), _TEMPORALITY_CODES.index(key[1])
    return SeriesKey(name.decode(), type, temporality, unit.decode(), labels)


class Table(NamedTuple):
    """How the rows of an entry name their series: by numbers of a table of the entry's writer (see engine.tables).

    id: of the table, from 1; numbers: int32, what each key of the batch is called from here on.
    """

    id: int
    numbers: Codes


@dataclass(slots=True)
class Batch:
    """Samples as columns, in arrival order; row numbers index the columns.

    keys: distinct packed series keys; codes: int32[n] into keys; values: float64[n]; times: int64[n] in ms;
    ids: row number -> 16-byte hash of the id its sender gave it, for the rows that have one;
    table: where there is one, codes are numbers in it, and keys only those that it does not know yet;
    whole: keys is all that a parser knows, a list that only grows; never in a log entry.
    """

    keys: list[bytes]
    codes: Codes
    values: Floats
    times: Ints
    ids: dict[int, bytes] = field(default_factory=dict)
    table: Table | None = None
    whole: bool = False

    def __len__(self) -> int:
        return len(self.codes)


class Event(NamedTuple):
    """One event. `body` is a JSON object {"properties": …, "metadata": …}, each as it was sent."""

    time: int
    type: str
    user_id: str | None
    session_id: str | None
    body: bytes
    id: bytes | None = None
    """16-byte hash of the id its sender gave it."""


class KeyedRequest(NamedTuple):
    """A request with an Idempotency-Key: the rows it brought, and hashes of the key and of the body."""

    key: bytes
    """16 bytes, of the key."""
    body: bytes
    """8 bytes, of the body."""
    metrics: tuple[int, int]
    """First and end row in the entry's batch."""
    events: tuple[int, int]
    """First and end index in the entry's events."""


class Reject(NamedTuple):
    """A row that was refused at the edge, as it came, so that it can be mended and sent again."""

    kind: str
    """metric, event, or body for one that could not be read as rows."""
    row: int | None
    """Its number within its request; None for a body."""
    reason: str
    message: str
    field: str | None
    """The field at fault, where that is known."""
    content: bytes
    """At most MAX_REJECT_BYTES of it."""
    cut: bool
    """Whether the content is only the beginning."""
    origin: bytes | None = None
    """Of a request with an Idempotency-Key: a hash that the same row has whenever the request is repeated."""


class Mark(NamedTuple):
    """What the processes that follow one log tell one another in it; see engine.flushes for the flushes' kinds."""

    kind: str
    number: int = 0
    fence: int = 0
    bounds: tuple[int, ...] = ()
    text: str = ""


@dataclass(slots=True)
class Entry:
    """One log entry: all that arrived in one tick of the writer's event loop. An entry with nothing in it is a tick.

    epoch and sequence name the writer's life and count its entries, so that a repeated append is seen and skipped.
    stamp is the arrival time, never decreasing within a log. rejected counts the rows refused at the edge by reason;
    rejects are some of them as they came. sketched names the metrics for which `unique` is asked from here on. marks
    are for the processes that follow the log.
    written is how many rows the writer had handed to the log before this entry in its life, without those of appends
    that it knew to have failed; None where the entry does not say.
    """

    stamp: int
    epoch: int = 0
    sequence: int = 0
    batch: Batch | None = None
    events: list[Event] = field(default_factory=list)
    requests: list[KeyedRequest] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    sketched: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    written: int | None = 0
    marks: list[Mark] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All rows it accounts for: samples, events and refused ones."""
        batch = 0 if self.batch is None else len(self.batch)
        return batch + len(self.events) + sum(self.rejected.values())


@dataclass(slots=True)
class Applied:
    """What applying one entry gave. None stands for "no row": nothing late, nothing repeated.

    late, duplicate: bool[n] over the batch rows; events_duplicate: bool[m] over the events.
    first: for duplicate rows, row -> (position, row) where it counted; first_time: the time it counted at, known for
    repeated ids and for the first row of a repeated request; events_first and events_first_time likewise.
    conflicts: indices into entry.requests whose key came before with another body; their rows count as rejected.
    """

    position: int
    stamp: int
    late: Flags | None = None
    duplicate: Flags | None = None
    events_duplicate: Flags | None = None
    first: dict[int, tuple[int, int]] = field(default_factory=dict)
    events_first: dict[int, tuple[int, int]] = field(default_factory=dict)
    first_time: dict[int, int] = field(default_factory=dict)
    events_first_time: dict[int, int] = field(default_factory=dict)
    conflicts: list[int] = field(default_factory=list)


def format_offset(epoch: str, position: int) -> str:
    """The opaque offset of a position, as it leaves the server."""
    return f"{epoch}-{position}"


def parse_offset(offset: str) -> tuple[str, int]:
    """(epoch, position) of an offset; ValueError where it is none."""
    epoch, _, position = offset.rpartition("-")
    if not epoch or not position.isdigit():
        raise ValueError(f"{offset!r} is no offset; use one that a receipt or an answer gave")
    return epoch, int(position)
