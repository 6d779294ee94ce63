"""Conditions: which level each value reaches, and which one it still keeps; as columns, whatever their shape.

A level is reached where the value compares with its threshold as the rule says, and kept where it compares so with the
level's recovery threshold. A recovery that lies on the wrong side of the threshold changes nothing: what is reached is
kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.model import Flags, Floats
from engine.rules.model import CONDITION, CRITICAL, ERROR, FIRE, KEEP, NO_DATA, OK, SILENT, WARNING, Rule

Levels = NDArray[np.int8]

AS_BEFORE = -1
"""In place of a level: the condition is what it was."""
TOLERANCE = 1e-9
"""How far apart equal values may be, as a part of the threshold, or of 1 where that is larger."""


def levels(rule: Rule, values: Floats, causes: Levels) -> tuple[Levels, Levels]:
    """(level reached, highest level kept) by each value: OK, WARNING, CRITICAL or AS_BEFORE, the second never lower.

    values: nan for unknown, which is no data whatever its cause says; causes: CONDITION, SILENT or ERROR.
    """
    silent = (causes == SILENT) | ((causes == CONDITION) & np.isnan(values))
    up, hold = np.zeros(values.shape, np.int8), np.zeros(values.shape, np.int8)
    if rule.kind != NO_DATA:
        for level, threshold, recovery in (
            (WARNING, rule.warning, rule.warning_recovery),
            (CRITICAL, rule.critical, rule.critical_recovery),
        ):
            if threshold is not None:
                up[compare(rule.op, values, threshold)] = level
                hold[compare(rule.op, values, threshold if recovery is None else recovery)] = level
        np.maximum(up, hold, out=hold)
    for found, meaning in (
        (silent, FIRE if rule.kind == NO_DATA else rule.on_no_data),
        (causes == ERROR, rule.on_error),
    ):
        level = {FIRE: top(rule), KEEP: AS_BEFORE}.get(meaning, OK)
        up[found] = hold[found] = level
    return up, hold


def compare(op: str, values: Floats, threshold: float) -> Flags:
    """Where `value op threshold` holds; nowhere for nan."""
    if op in ("==", "!="):
        equal = np.abs(values - threshold) <= TOLERANCE * max(1.0, abs(threshold))
        return equal if op == "==" else ~equal & ~np.isnan(values)
    ways: dict[str, Any] = {">": np.greater, "<": np.less, ">=": np.greater_equal, "<=": np.less_equal}
    return np.asarray(ways[op](values, threshold), np.bool_)


def worse(rule: Rule, values: Floats, peaks: Floats) -> Flags:
    """Which values are worse than the worst so far, of alerts that fire: farther in the direction of the condition.
    peaks: nan for none, than which any value is worse. Of `==` none is worse than the first."""
    if rule.op == "!=":
        farther = np.abs(values - reference(rule)) > np.abs(peaks - reference(rule))
    elif rule.op == "==":
        farther = np.zeros(values.shape, np.bool_)
    else:
        farther = values < peaks if rule.op in ("<", "<=") else values > peaks
    return np.asarray(farther | (np.isnan(peaks) & ~np.isnan(values)))


def reference(rule: Rule) -> float:
    """The threshold to measure by: the critical one where there is one."""
    return next((each for each in (rule.critical, rule.warning) if each is not None), 0.0)


def patience(rule: Rule) -> int | None:
    """How many ms after a group's last reading with data its silence is a reading; None for never.

    A window without data has been silent for its whole length already. Where each value counts there is no window.
    """
    if rule.each:
        return rule.silence_after
    return 0 if rule.kind == NO_DATA else max(0, (rule.silence_after or 0) - rule.query.range)


def top(rule: Rule) -> int:
    """The highest level a rule has, at which it fires when there is no data, or an error, and that is to be told."""
    return WARNING if rule.critical is None and rule.kind != NO_DATA else CRITICAL
