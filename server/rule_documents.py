"""The document of an alert, read into a rule: what its members mean together, and which of them contradict.

body (rule_bodies: shapes) ─▶ query (rule_queries), parts (rule_parts) ─▶ engine.rules.model.Rule
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from engine.aggregates import Registry
from engine.anomaly import threshold_for
from engine.levels import DAY
from engine.query.value import UNITS, parse_duration
from engine.rules.model import ANOMALY, CHANGE, CRITICAL, FIRE, IGNORE, KEEP, LEVELS, NO_DATA, THRESHOLD, WARNING, Rule
from server.questions import SavedQueries
from server.rule_bodies import MAX_BUDGET, MIN_BUDGET, AlertMembers, NewAlert, is_nothing
from server.rule_parts import OWN_LABELS, channels_of, inhibitors_of, labels_of, message_of, mute_of
from server.rule_queries import query_of, refused

MIN_REPEAT = UNITS["m"]
BUDGET = 0.2
ANOMALY_STEP = 5_000
"""ms, of the finest panes that are stored: the past that an anomaly is told by."""
_COMPARING = (THRESHOLD, CHANGE)
_KINDS_OF = {
    "condition": (*_COMPARING, ANOMALY), "threshold": (*_COMPARING, ANOMALY), "warning": _COMPARING,
    "recovery": _COMPARING, "warning_recovery": _COMPARING, "change_over": (CHANGE,), "relative": (CHANGE,),
    "budget": (ANOMALY,), "no_data": (*_COMPARING, ANOMALY),
}  # fmt: skip
"""Member -> the kinds of alerts that it belongs to; others belong to all."""
_MEANINGS = {"ok": IGNORE, "keep": KEEP, "alert": FIRE}
_SIGN = {">": 1, ">=": 1, "<": -1, "<=": -1, "==": 0, "!=": 0}
"""Which way a value gets worse."""
_MEMBERS = frozenset(field.alias or name for name, field in NewAlert.model_fields.items())


def parse_rule(document: Mapping[str, Any], registry: Registry, saved: SavedQueries) -> Rule:
    """The rule of an alert's document, or of the body of a new one, which has no id yet.

    registry: the aggregations there are; saved: the queries that `query_id` may name. Raises ApiError, and BadQuery of
    its query; the message names the member that is wrong, or contradicts another.
    """
    body = _body({name: value for name, value in document.items() if name in _MEMBERS})
    kind = body.alert_type or THRESHOLD
    for member, kinds in _KINDS_OF.items():
        if getattr(body, member) is not None and kind not in kinds:
            raise refused(member, f"an alert of type {kind} has none")
    query, each = query_of(body, kind, registry, saved)
    _check_silence(body, kind, each)
    if kind == CHANGE and body.change_over is None:
        raise refused("change_over", "an alert of type rate_of_change needs it: back to what it is compared with")
    if body.repeat_interval is not None and parse_duration(body.repeat_interval) < MIN_REPEAT:
        raise refused("repeat_interval", "it is shorter than 1m")
    labels = labels_of(body.labels or {}, query.group_by)
    # Where each arriving value counts and no labels are named, every series is a group, with all its labels.
    known = None if each and not query.group_by else (*query.group_by, *(name for name, _ in labels), *OWN_LABELS)
    levels = _levels(body, kind, query.range)
    worst = WARNING if "warning" in levels and "critical" not in levels else CRITICAL
    more: dict[str, Any] = {
        "hold": _ms(body.hold), "keep": _ms(body.keep_firing_for), "silence_after": _ms(body.no_data_after),
        "over": _ms(body.change_over), "repeat": _ms(body.repeat_interval), "interval": _ms(body.update_interval),
        "on_no_data": _MEANINGS.get(body.no_data or ""), "on_error": _MEANINGS.get(body.on_error or ""),
        "relative": body.relative, "severity": body.severity or LEVELS[worst], "listed": body.listed,
        "max_groups": body.max_groups, "enabled": body.enabled,
    }  # fmt: skip
    return Rule(
        document.get("id", ""), body.name or "", kind, query, each, **levels, labels=labels,
        message=message_of(body.message or "", known), channels=channels_of(body.notification_channels or ()),
        inhibited_by=inhibitors_of(body.inhibited_by), version=document.get("version", 1),
        mute=tuple(mute_of(mute, f"mute.{at}") for at, mute in enumerate(body.mute or ())),
        **{name: value for name, value in more.items() if value is not None},
    )  # fmt: skip


def _body(members: dict[str, Any]) -> AlertMembers:
    try:
        return NewAlert.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise refused(".".join(str(part) for part in first["loc"]), first["msg"]) from None


def _ms(text: str | None) -> int | None:
    """Milliseconds of a duration; None where none is given."""
    return None if text is None else 0 if is_nothing(text) else parse_duration(text)


def _check_silence(body: AlertMembers, kind: str, each: bool) -> None:
    if kind == NO_DATA:
        return
    if body.no_data_after is not None and body.no_data in (None, "ok"):
        raise refused("no_data_after", "no data mean nothing here; say with no_data what they mean, keep or alert")
    if each and body.no_data == "alert" and body.no_data_after is None:
        raise refused("no_data", "where each arriving value counts by itself it needs no_data_after too")


def _levels(body: AlertMembers, kind: str, window: int) -> dict[str, Any]:
    """Operator and thresholds, as members of a Rule. window: ms, of an anomaly the time from point to point."""
    if kind == NO_DATA:
        return {}
    # With the severity warning alone, `threshold` is that of the level warning.
    level = "warning" if body.severity == "warning" and body.warning is None else "critical"
    if kind == ANOMALY:
        if window % ANOMALY_STEP:
            raise refused("window", "of an anomaly it is a multiple of 5s, as what is stored")
        return {"op": ">=", level: threshold_for(_budget(body), DAY / window)}
    op, threshold, warning = body.condition or ">", body.threshold, body.warning
    if threshold is None and warning is None:
        raise refused("threshold", f"an alert of type {kind} needs a threshold, or a warning")
    _check_recovery("recovery", body.recovery, threshold, op)
    _check_recovery("warning_recovery", body.warning_recovery, warning, op)
    found: dict[str, Any] = {"op": op}
    if threshold is not None:
        found |= {level: float(threshold), f"{level}_recovery": body.recovery}
    if warning is not None:
        found |= {"warning": float(warning), "warning_recovery": body.warning_recovery}
    if threshold is not None and warning is not None:
        if not _SIGN[op]:
            raise refused("warning", f"with {op} there is one threshold only")
        if (warning - threshold) * _SIGN[op] >= 0:
            raise refused("warning", f"with {op} {warning} is not reached before the threshold {threshold}")
    return found


def _check_recovery(member: str, recovery: float | None, threshold: float | None, op: str) -> None:
    if recovery is None:
        return
    if threshold is None:
        raise refused(member, "there is no threshold that it belongs to")
    if not _SIGN[op]:
        raise refused(member, f"with {op} a level is left where the value is no longer so")
    if (recovery - threshold) * _SIGN[op] > 0:
        side = "at most" if _SIGN[op] > 0 else "at least"
        raise refused(member, f"with {op} it is {side} the threshold {threshold}; {recovery} lies on the other side")


def _budget(body: AlertMembers) -> float:
    """False alarms per series and day; S4's `threshold` is another name of it."""
    if body.condition not in (None, ">"):
        raise refused("condition", "an anomaly is one whichever way it goes")
    if body.threshold is None:
        return BUDGET if body.budget is None else body.budget
    if body.budget is not None:
        raise refused("budget", "of an anomaly, threshold says it already")
    if not MIN_BUDGET <= body.threshold <= MAX_BUDGET:
        bounds = f"from {MIN_BUDGET} to {MAX_BUDGET:g}"
        raise refused("threshold", f"of an anomaly it is the number of false alarms per series and day, {bounds}")
    return body.threshold
