"""Which rows of an entry came before: by the id their sender gave them, or by their request's Idempotency-Key."""

from __future__ import annotations

import numpy as np

from engine import dedup
from engine.dedup import Seen, Window
from engine.ledger import Ledger
from engine.model import Applied, Entry, Flags, KeyedRequest


def find(entry: Entry, applied: Applied, window: Window, ledger: Ledger) -> None:
    """Marks the repeated rows in `applied`, and remembers the new ones. Costs nothing where there are neither."""
    if not entry.requests and not (entry.batch and entry.batch.ids) and not any(event.id for event in entry.events):
        return
    applied.duplicate = np.zeros(len(entry.batch) if entry.batch else 0, np.bool_)
    applied.events_duplicate = np.zeros(len(entry.events), np.bool_)
    for index, request in enumerate(entry.requests):
        before = window.find(dedup.REQUEST, request.key)
        if before is None:
            window.add(dedup.REQUEST, request.key, applied.stamp, _first(entry, request, applied.position))
            continue
        (begin, end), (event_begin, event_end) = request.metrics, request.events
        applied.duplicate[begin:end] = True
        applied.events_duplicate[event_begin:event_end] = True
        if before.body == request.body:
            _point_to(before, request, applied)
        else:
            applied.conflicts.append(index)
            rows = end - begin + event_end - event_begin
            ledger.rejected["conflict"] += rows
            ledger.duplicate -= rows  # they are marked as repeats, but count as refused
    if entry.batch:
        ids = {row: (key, int(entry.batch.times[row])) for row, key in entry.batch.ids.items()}
        _find_ids(window, dedup.METRIC, ids, applied, applied.duplicate, (applied.first, applied.first_time))
    event_ids = {row: (event.id, event.time) for row, event in enumerate(entry.events) if event.id is not None}
    into = applied.events_first, applied.events_first_time
    _find_ids(window, dedup.EVENT, event_ids, applied, applied.events_duplicate, into)


def _first(entry: Entry, request: KeyedRequest, position: int) -> Seen:
    """What is remembered of a request that is new."""
    (begin, end), (event_begin, event_end) = request.metrics, request.events
    time = int(entry.batch.times[begin]) if entry.batch and begin < end else 0
    event_time = entry.events[event_begin].time if event_begin < event_end else 0
    return Seen(position, begin, event_begin, request.body, time, event_time)


def _point_to(before: Seen, request: KeyedRequest, applied: Applied) -> None:
    """Says of each row of a repeated request where it counted."""
    (begin, end), (event_begin, event_end) = request.metrics, request.events
    applied.first.update((row, (before.position, before.row + row - begin)) for row in range(begin, end))
    applied.events_first.update(
        (row, (before.position, before.second + row - event_begin)) for row in range(event_begin, event_end)
    )
    if begin < end:
        applied.first_time[begin] = before.time
    if event_begin < event_end:
        applied.events_first_time[event_begin] = before.second_time


def _find_ids(
    window: Window, kind: int, ids: dict[int, tuple[bytes, int]], applied: Applied, duplicate: Flags,
    into: tuple[dict[int, tuple[int, int]], dict[int, int]],
) -> None:  # fmt: skip
    """ids: row -> (hash of its id, its time). into: where a repeated row counted, and at which time."""
    first, first_time = into
    for row, (key, time) in ids.items():
        if duplicate[row]:
            continue
        before = window.find(kind, key)
        if before is None:
            window.add(kind, key, applied.stamp, Seen(applied.position, row, time=time))
        else:
            duplicate[row] = True
            first[row], first_time[row] = (before.position, before.row), before.time
