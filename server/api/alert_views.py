"""What the book knows of alerts, as JSON has it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from engine.rules.book import Book, Record
from engine.rules.model import (
    CAUSES,
    FIRING,
    INACTIVE,
    LEVELS,
    OK,
    PENDING,
    QUIET,
    STATUSES,
    Delivery,
    Episode,
    Incident,
    Readings,
    State,
)
from engine.terms import partition_of
from server.wire.times import format_time, parse_time

_RANK = {status: at for at, status in enumerate(STATUSES)}


def moment(ms: int | None) -> str | None:
    """A time; None for none, which 0 is too."""
    return format_time(ms) if ms else None


def standing(book: Book, readings: Readings | None, alert: dict[str, Any]) -> dict[str, Any]:
    """Where an alert stands, all its groups together. readings: of its newest evaluation, where it is known."""
    states = book.states(alert["id"])
    firing = [state for state in states.values() if state.status == FIRING]
    pending = len(states) - len(firing)
    status = FIRING if firing else PENDING if pending else INACTIVE
    groups = len(states if readings is None else {*readings.groups, *states})
    values = [state.last for state in states.values()] if readings is None else readings.values.tolist()
    return {
        "last_triggered": moment(book.triggered.get(alert["id"])),
        "state": status if alert["enabled"] else "disabled",
        "level": LEVELS[max((state.level for state in firing), default=OK)],
        "firing": len(firing), "pending": pending, "groups": groups,
        "value": _worst(values, alert.get("condition", ">")),
        "evaluated_at": moment(_looked(book, alert) if readings is None else readings.at),
        "error": None if readings is None else _error(readings),
    }  # fmt: skip


def _looked(book: Book, alert: dict[str, Any]) -> int:
    """Up to when another process has evaluated an alert, ms, as far as the log says; 0 for not yet."""
    made = alert.get("updated_at") or alert.get("created_at")
    looked = book.looks[partition_of(alert["id"])].at
    return looked if made and parse_time(made) < looked else 0


def _error(readings: Readings) -> str | None:
    beyond = f"{readings.over} groups beyond max_groups are not evaluated" if readings.over else None
    return readings.error or beyond


def _worst(values: list[float | None], condition: str) -> float | None:
    """The value farthest in the direction of the condition; None for none, and where it has no direction."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known or (len(known) > 1 and condition in ("==", "!=")):
        return None
    return (min if condition in ("<", "<=") else max)(known)


def group_rows(book: Book, readings: Readings | None, alert_id: str) -> Iterator[dict[str, Any]]:
    """The groups of an alert, those that fire first."""
    states = dict(book.states(alert_id))
    newest: dict[Any, tuple[float | None, int]] = {}
    if readings is not None:
        for group, value, cause in zip(readings.groups, readings.values, readings.causes, strict=True):
            newest[group] = None if math.isnan(value) else float(value), int(cause)
            states.setdefault(group, QUIET)
    ordered = sorted(states.items(), key=lambda item: (-_RANK[item[1].status], -item[1].level, item[0]))
    for group, state in ordered:
        value, cause = newest.get(group, (state.last, state.cause))
        yield _group_row(dict(group), state, value, cause if state.status == INACTIVE else state.cause)


def _group_row(group: dict[str, str], state: State, value: float | None, cause: int) -> dict[str, Any]:
    begun = [since for since in state.since if since]
    return {
        "group": group, "status": state.status, "level": LEVELS[state.level], "cause": CAUSES[cause],
        "since": moment(min(begun, default=state.fired)), "fired_at": moment(state.fired), "value": value,
        "peak": state.peak, "peak_at": moment(state.peak_at),
    }  # fmt: skip


def episode(of: Episode, now: int) -> dict[str, Any]:
    """An episode; one that goes on lasts until now, ms."""
    over = of.resolved is not None
    return {
        "id": of.id, "group": dict(of.group), "level": LEVELS[of.level], "worst": LEVELS[of.worst],
        "cause": CAUSES[of.cause], "since": moment(of.since), "fired_at": moment(of.fired),
        "resolved_at": moment(of.resolved), "duration": max(0, (of.resolved or now) - of.fired) / 1000,
        "value_at_fire": of.value, "peak": of.peak, "peak_at": moment(of.peak_at),
        "value_at_resolve": of.resolved_value, "why": (of.why or "recovered") if over else None,
    }  # fmt: skip


def incident(of: Incident, alert: str) -> dict[str, Any]:
    """An incident. alert: the name of its alert."""
    return {
        "id": of.id, "alert_id": of.rule, "alert": alert, "level": LEVELS[of.level], "worst": LEVELS[of.worst],
        "opened_at": moment(of.opened), "closed_at": moment(of.closed), "firing": len(of.firing), "total": of.fired,
        "acknowledged_by": of.acknowledged or None, "snoozed_until": moment(of.snoozed),
        "deliveries": [_delivery(channel, each, of.revision) for channel, each in of.deliveries.items()],
    }  # fmt: skip


def _delivery(channel: str, of: Delivery, revision: int) -> dict[str, Any]:
    gave_up = bool(of.error) and not of.tries
    if of.tries:
        status = "retrying"
    elif of.held or (of.ended and not of.told):
        status = "held"
    elif gave_up:
        status = "gave_up"
    else:
        status = "sent" if of.told >= revision or of.ended else "waiting"
    return {
        "channel": channel, "status": status, "sent_at": None if gave_up else moment(of.at), "tries": of.tries,
        "retry_at": moment(of.retry), "error": of.error or None, "held": of.held or None,
    }  # fmt: skip


def notification(of: Record, alert: str) -> dict[str, Any]:
    """A record of the book."""
    return {
        "at": moment(of.at), "alert_id": of.rule, "alert": alert, "incident_id": of.incident, "channel": of.channel,
        "kind": of.kind, "outcome": of.outcome, "reason": of.reason, "message_id": of.message, "tries": of.tries,
    }  # fmt: skip
