"""The figures against each other: each difference is named as exactly as the data allow."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.model import Floats, Ints
from server.store import Snapshot
from server.verify.folds import sums_agree
from server.verify.recount import Recount, Refused
from server.verify.report import Place, Report
from server.verify.scratch import Held, Scratch
from server.verify.sealed import Stored
from server.verify.words import series_name, time_of
from server.verify.writers import Gap

ENGINE_ONLY = ("squeezed", "expired")
"""What depends on when panes are closed, for lack of memory too, and is left to the engine."""
REFUSED_BYTES = 4 << 20
"""Of the refused rows that are kept, whatever their number."""
_HEAD_BYTES = 640
"""More than a refused row takes besides its content, its message and the name of its field."""

REPAIRED = "damaged"
"""Why rows count as rejected that `streamgauge repair` has found missing."""


def check_log(report: Report, scratch: Scratch, recount: Recount) -> None:
    """The log after the checkpoint: the recount, the engine's replay and the server against one another."""
    held, engine = scratch.held, scratch.engine
    report.upto, report.last_stamp, report.entries = engine.position, engine.stamp, recount.entries
    report.recount, report.series = recount.total.as_dict(), len(recount.names.keys)
    report.engine = engine.ledger.as_dict()
    report.total = added(held.ledger, report.recount)
    report.total |= {name: report.engine.get(name, 0) for name in ENGINE_ONLY}
    for what, ledger in (("the checkpoint's ledger", held.ledger), ("the recount", report.total)):
        _check_sum(report, what, ledger)
    compare_ledgers(report, "replay", "the engine's replay", report.engine, report.total)
    if report.server is not None:
        compare_ledgers(report, "server", "the server", report.server, report.total)
    expired = engine.ledger.expired - held.ledger.get("expired", 0)
    expected = int(held.open_count.sum()) + recount.total.accepted - expired
    if scratch.in_panes != expected:
        report.differ(
            "panes", f"the engine's panes hold {scratch.in_panes:,} rows after the replay, they should {expected:,}",
            scratch.in_panes, expected,
        )  # fmt: skip
    _compare_series(report, scratch, recount)
    _compare_refused(report, scratch.refused(), list(recount.refused))
    _name_gaps(report, recount)


def _check_sum(report: Report, what: str, ledger: dict[str, Any]) -> None:
    """received = accepted + events + duplicate + rejected."""
    parts = ledger["accepted"] + ledger["events"] + ledger["duplicate"] + sum(ledger["rejected"].values())
    if parts != ledger["received"]:
        report.differ(
            "balance", f"{what}: {ledger['received']:,} rows received, but what became of them adds up to {parts:,}",
            parts, ledger["received"],
        )  # fmt: skip


def compare_ledgers(report: Report, kind: str, who: str, one: dict[str, Any], recounted: dict[str, Any]) -> None:
    """Each count of a ledger against the recount."""
    mine, theirs = flat(recounted), flat(one)
    for name in sorted(mine.keys() | theirs.keys()):
        if theirs.get(name, 0) != mine.get(name, 0):
            report.differ(
                kind, f"{who} counts {theirs.get(name, 0):,} {name}, the recount {mine.get(name, 0):,}",
                theirs.get(name, 0), mine.get(name, 0), count=name,
            )  # fmt: skip


def flat(ledger: dict[str, Any]) -> dict[str, int]:
    """The counts of a ledger by name; those of refused rows as `rejected: reason`."""
    plain = {name: value for name, value in ledger.items() if isinstance(value, int) and not isinstance(value, bool)}
    reasons = {f"rejected: {reason}": count for reason, count in ledger["rejected"].items()}
    return {**plain, **reasons}


def added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two ledgers in one."""
    reasons = {**dict.fromkeys(one["rejected"], 0), **dict.fromkeys(other["rejected"], 0)}
    rejected = {reason: one["rejected"].get(reason, 0) + other["rejected"].get(reason, 0) for reason in sorted(reasons)}
    names = [name for name in one if name != "rejected"]
    return {**{name: one[name] + other.get(name, 0) for name in names}, "rejected": rejected}


def _compare_series(report: Report, scratch: Scratch, recount: Recount) -> None:
    """What each series has come to, by the engine's own account after the replay and by the recount."""
    engine, held = scratch.engine, scratch.held
    if engine.catalogue.keys != recount.names.keys:
        report.differ(
            "series", f"the engine knows {len(engine.catalogue):,} series, the recount {len(recount.names.keys):,}, "
            "or not the same ones", len(engine.catalogue), len(recount.names.keys),
        )  # fmt: skip
        return
    size = len(engine.catalogue)
    count, total = _grown(held.ever_count, size), _grown(held.ever_sum, size)
    # The account of what came before was a sum as well, whose terms are not known here any more.
    scale = _grown(recount.magnitude.view(), size) + np.abs(total)
    count[: len(recount.count)] += recount.count.view()
    total[: len(recount.sum)] += recount.sum.view()
    _compare_columns(
        report, "replay_series", "in the engine's account after the replay", "in the recount", engine.catalogue.keys,
        (engine.lifetime.counts(), engine.lifetime.sums()), (count, total), scale,
    )  # fmt: skip


def _compare_refused(report: Report, kept: list[Refused], expected: list[Refused]) -> None:
    """The kept refused rows must be the newest ones of the log: as many as may be, or as fit."""
    for mine, theirs in zip(reversed(kept), reversed(expected), strict=False):
        if mine != theirs:
            place = f"row {theirs[1]:,} of those that entry {theirs[0]:,} says were refused"
            report.differ("refused", f"{place} is not kept as it stands in the log", first=theirs[0], row=theirs[1])
            return
    beyond = expected[-len(kept) - 1 :] if len(kept) < len(expected) else expected
    at_most = sum(len(row.content) + 6 * len(row.message + (row.field or "")) + _HEAD_BYTES for *_, row in beyond)
    if len(kept) > len(expected) or (len(kept) < len(expected) and at_most < REFUSED_BYTES):
        report.differ(
            "refused", f"{len(kept):,} refused rows are kept, they should be {len(expected):,}",
            len(kept), len(expected),
        )  # fmt: skip


def _grown(column: Any, size: int) -> Any:
    grown = np.zeros(size, column.dtype)
    grown[: len(column)] = column
    return grown


def _compare_columns(
    report: Report, kind: str, one_is: str, other_is: str, keys: list[bytes], one: tuple[Ints, Floats],
    other: tuple[Ints, Floats], magnitude: Floats,
) -> None:  # fmt: skip
    """Counts and sums by series."""
    counts_differ = one[0] != other[0]
    sums_differ = ~counts_differ & ~sums_agree(one[1], other[1], magnitude)
    for series in np.flatnonzero(counts_differ).tolist():
        mine, theirs = int(one[0][series]), int(other[0][series])
        name = series_name(keys[series])
        report.differ(kind, f"{name}: {mine:,} rows {one_is}, {theirs:,} {other_is}", mine, theirs, series=name)
    for series in np.flatnonzero(sums_differ).tolist():
        low, high = float(one[1][series]), float(other[1][series])
        name = series_name(keys[series])
        report.differ(kind, f"{name}: sum {low!r} {one_is}, {high!r} {other_is}", low, high, series=name)


def _name_gaps(report: Report, recount: Recount) -> None:
    """Entries that a writer handed to the log and that it does not hold."""
    writers = recount.writers
    report.missing_rows = writers.missing_rows
    for position, other in writers.forged:
        report.differ(
            "forged", f"the entries {other:,} and {position:,} of the log have the same number of the same writer, but "
            "not the same content: one of them is not its own", first=other, second=position,
        )  # fmt: skip
    repaired = report.recount["rejected"].get(REPAIRED, 0)
    if writers.missing_rows and writers.missing_rows <= repaired:
        report.notes.append(
            f"{writers.missing_rows:,} rows that were handed to the log are not there; a repair counted them as lost"
        )
        return
    for gap in writers.gaps:
        numbers = f"its {gap.first:,} to {gap.last:,}" if gap.entries > 1 else f"its number {gap.first:,}"
        where = f"{gap.entries:,} {'entries' if gap.entries > 1 else 'entry'} of writer {gap.epoch:x} ({numbers})"
        verb = "are" if gap.entries > 1 else "is"
        if gap.rows is None:
            report.notes.append(f"{where} {verb} not in the log before entry {gap.before:,}; of how many rows, unknown")
        elif writers.missing_rows:
            report.differ(
                "missing_rows",
                f"{where} {verb} not in the log: {gap.rows:,} rows{_when(gap)}",
                0, gap.rows, writer=f"{gap.epoch:x}", after=gap.after, before=gap.before, entries=gap.entries,
            )  # fmt: skip
    if writers.missing_rows and not any(found.kind == "missing_rows" for found in report.differences):
        text = f"writers handed {writers.missing_rows:,} rows to the log that it does not hold"
        report.differ("missing_rows", text, 0, writers.missing_rows)


def _when(gap: Gap) -> str:
    if not gap.after:
        return f", before entry {gap.before:,} of {time_of(gap.until)} UTC"
    return f", between the entries {gap.after:,} of {time_of(gap.since)} and {gap.before:,} of {time_of(gap.until)} UTC"


def check_store(report: Report, held: Held, stored: Stored, store: Snapshot) -> None:
    """The store as of the checkpoint: rows by place against what was accepted, series by series, and the events."""
    expired, let_go = held.ledger.get("expired", 0), store.number("let_go")
    report.places += [
        Place("open, in the checkpoint", int(held.open_count.sum())),
        Place("older than every retention when they came", expired),
        Place("let go of by the last retention", let_go),
    ]
    found, accepted = sum(place.rows for place in report.places), held.ledger["accepted"]
    if found != accepted:
        report.differ(
            "accepted", f"{found:,} rows are where accepted rows are kept, {accepted:,} were accepted up to the "
            f"checkpoint: {abs(found - accepted):,} too {'many' if found > accepted else 'few'}", found, accepted,
        )  # fmt: skip
    in_blocks = int(stored.count.sum()) + let_go
    if in_blocks != held.stored:
        report.differ(
            "stored", f"the store's panes hold {in_blocks:,} rows, the checkpoint counts {held.stored:,}",
            in_blocks, held.stored,
        )  # fmt: skip
    _check_series(report, held, stored, expired + let_go)
    _check_events(report, held, store)


def _check_series(report: Report, held: Held, stored: Stored, gone: int) -> None:
    """What is kept of each series against its account of all that ever came."""
    if len(stored.count) != len(held.keys):
        return  # no checkpoint, so no account
    ever = int(held.ever_count.sum())
    if ever != held.ledger["accepted"]:
        report.differ(
            "account", f"the accounts of the series come to {ever:,} rows, the checkpoint's ledger accepted "
            f"{held.ledger['accepted']:,}", ever, held.ledger["accepted"],
        )  # fmt: skip
    count, total = stored.count + held.open_count, stored.sum + held.open_sum
    expected, expected_sum = held.ever_count, held.ever_sum
    if gone:  # of which series is not kept, so those that have fewer pass
        fewer = count < expected
        expected, expected_sum = np.where(fewer, count, expected), np.where(fewer, total, expected_sum)
    _compare_columns(
        report, "series_rows", "in panes", "in its account", held.keys, (count, total), (expected, expected_sum),
        stored.magnitude + held.open_magnitude,
    )  # fmt: skip


def _check_events(report: Report, held: Held, store: Snapshot) -> None:
    kept, let_go, expected = store.event_count(held.position), store.number("events_let_go"), held.ledger["events"]
    report.events = {"stored": kept, "let_go": let_go, "accepted": expected}
    if kept + let_go != expected:
        report.differ(
            "events", f"{kept:,} events are stored and {let_go:,} were let go of by their retention, "
            f"{expected:,} were accepted", kept + let_go, expected,
        )  # fmt: skip
    beyond = store.event_count() - kept
    if beyond:
        text = f"{beyond:,} stored events come after the checkpoint at {time_of(held.stamp)}"
        report.differ("events", text, beyond, 0)
