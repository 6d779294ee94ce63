"""A verification as lines of text."""

from __future__ import annotations

from typing import Any

from server.verify.report import MAX_LISTED, Report
from server.verify.words import time_of

_FIRST = ("received", "accepted", "events", "duplicate")
_LAST = ("late", "late_total", "squeezed", "folded", "expired", "repeated")


def lines(report: Report) -> list[str]:
    """All of it, for a terminal."""
    when = f", {time_of(report.stamp)} UTC" if report.stamp else ""
    out = [f"store  {report.store or 'none'}", f"log    {report.log or 'none'}", ""]
    if not report.generation:
        out += ["There is no checkpoint yet: everything is in the log.", ""]
    elif report.places:
        upto = f"checkpoint {report.generation} (entry {report.position:,}{when})"
        out += [f"Accepted up to {upto}, by where they are:", "", *_places(report), ""]
    out += [f"All rows up to entry {report.upto:,}{_at(report.last_stamp)}, "
            f"{report.entries:,} entries after the checkpoint:", "", *_ledgers(report), ""]  # fmt: skip
    out += [f"note: {note}" for note in report.notes]
    out += [f"damaged: {found}" for found in report.damage]
    if report.damaged > len(report.damage):
        out.append(f"damaged: {report.damaged - len(report.damage):,} more")
    out += [f"differs: {found.text}" for found in report.differences]
    for kind, count in report.counted.items():
        if count > MAX_LISTED:
            out.append(f"differs: {count - MAX_LISTED:,} more like these ({kind})")
    return [*out, _verdict(report)]


def _at(stamp: int) -> str:
    return f" ({time_of(stamp)} UTC)" if stamp else ""


def _places(report: Report) -> list[str]:
    rows: list[tuple[str, str, str]] = []
    for place in report.places:
        level = place.blocks is not None
        if level and not place.rows and not place.blocks:
            continue
        if not level and not place.rows and not place.name.startswith("open"):
            continue
        between = ""
        if place.start is not None and place.end is not None:
            between = f"{time_of(place.start)} to {time_of(place.end)}"
        name = f"stored, panes of {place.name}" if level else place.name
        rows.append((name, f"{place.rows:,}", between))
    total = sum(place.rows for place in report.places)
    accepted = report.sealed.get("accepted", 0)
    rows.append(("in all", f"{total:,}", ""))
    rows.append(("accepted, by the checkpoint", f"{accepted:,}", "" if total == accepted else f"{total - accepted:+,}"))
    kept = report.events
    if kept.get("accepted") or kept.get("stored"):
        rows.append(("events stored", f"{kept['stored']:,}", ""))
        if kept["let_go"]:
            rows.append(("events let go of by retention", f"{kept['let_go']:,}", ""))
        missing = kept["stored"] + kept["let_go"] - kept["accepted"]
        rows.append(("events accepted, by the checkpoint", f"{kept['accepted']:,}", f"{missing:+,}" if missing else ""))
    return _aligned(rows)


def _ledgers(report: Report) -> list[str]:
    columns: list[tuple[str, dict[str, Any]]] = [
        ("checkpoint", report.sealed), ("log", report.recount), ("together", report.total), ("replayed", report.engine),
    ]  # fmt: skip
    if report.server is not None:
        columns.append(("server", report.server))
    reasons = sorted({reason for _, ledger in columns for reason in ledger.get("rejected", {})})
    names = [*_FIRST, *(f"rejected: {reason}" for reason in reasons)]
    names += [name for name in _LAST if any(ledger.get(name) for _, ledger in columns)]
    rows = [("", *(title for title, _ in columns))]
    for name in names:
        values = [_value(ledger, name) for _, ledger in columns]
        rows.append((name, *("" if value is None else f"{value:,}" for value in values)))
    if report.missing_rows:
        rows.append(("not in the log", "", f"{report.missing_rows:,}", *[""] * (len(columns) - 2)))
    return _aligned(rows)


def _value(ledger: dict[str, Any], name: str) -> int | None:
    reason = name.removeprefix("rejected: ")
    return ledger.get(name) if reason == name else ledger.get("rejected", {}).get(reason, 0)


def _aligned(rows: list[Any]) -> list[str]:
    """Columns: the first to the left, those with numbers to the right, the rest to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    out = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        for text, width in zip(row[1:], widths[1:], strict=True):
            cells.append(text.ljust(width) if " to " in text else text.rjust(width))
        out.append("  " + "  ".join(cells).rstrip())
    return out


def _verdict(report: Report) -> str:
    compared = "the store, the log and the server" if report.server is not None else "the store and the log"
    if report.damaged:
        return f"{report.damaged:,} damaged: not everything could be counted."
    found = sum(report.counted.values())
    if found:
        return f"{found:,} {'difference' if found == 1 else 'differences'}."
    return f"Everything agrees: {compared}, {report.series:,} series."
