"""The command `query`: one question, answered as a table, a chart, CSV or JSON."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from datetime import UTC, datetime, tzinfo
from typing import Any

from engine.errors import BadQuery
from server import zones
from server.cli.client import add_server_options, client_of
from server.cli.command import Commands, Fault, add_command
from server.cli.tables import chart, span, sparkline, squeeze, table
from server.cli.terminal import BOLD, CYAN, DIM, has_colours, local_time, number, paint, safe, width

_MOST_SPARKLINES = 40
_RAW = ("timestamp", "name", "metric_type", "value", "unit", "source")


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "query",
        run,
        help="ask what has arrived",
        description="Asks one question. Without --aggregation: the newest raw rows. With --step: a chart in the "
        "terminal.\nTimes in tables are local, or those of --tz; in CSV and JSON they are UTC.",
        examples="""
            streamgauge query orders --aggregation sum --range 15m
            streamgauge query 'metric:latency{route=~"/api.*"}' --aggregation percentile_99 --by route
            streamgauge query orders --aggregation rate --step 10s --range 15m
            streamgauge query orders --aggregation sum --range this_month --step 1d --tz Europe/Berlin
            streamgauge query event:purchase --aggregation unique --range 1d --format csv""",
    )
    parser.add_argument("what", help="metric:NAME or event:TYPE, with {label matchers} if wanted; bare: a metric")
    parser.add_argument(
        "--aggregation",
        "-a",
        help="sum, average, min, max, count, median, percentile_NN, rate, increase, first, last, stddev, unique, …",
    )
    parser.add_argument("--range", "-r", metavar="15m", help="how far back (default 1h), or today, last_week, …")
    parser.add_argument("--from", dest="start", metavar="TIME", help="ISO 8601 or epoch, instead of --range")
    parser.add_argument("--to", dest="end", metavar="TIME")
    parser.add_argument("--at", metavar="TIME", help="as of when (default: the newest arrival)")
    parser.add_argument("--step", "-s", metavar="10s", help="a time series, one value per step; 1d, 1w, 1mo: by --tz")
    parser.add_argument("--tz", metavar="ZONE", help="whose days, weeks and months: Europe/Berlin (default UTC)")
    parser.add_argument("--week-start", choices=["monday", "sunday"], help="of weeks (default monday)")
    parser.add_argument(
        "--by", "-b", action="append", default=[], metavar="LABEL", help="group by a label; may be repeated"
    )
    parser.add_argument(
        "--filter", "-f", action="append", default=[], metavar="LABEL=VALUE", help="only this; may be repeated"
    )
    parser.add_argument("--field", help="of events: the property to aggregate")
    parser.add_argument(
        "--format", choices=["chart", "table", "csv", "json"], help="default: chart with --step, else table"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="show so many rows")
    add_server_options(parser)


def run(given: argparse.Namespace) -> int:
    """Asks and prints; the exit code."""
    stepped = given.step is not None
    form = given.format or ("chart" if stepped else "table")
    if form == "chart" and not stepped:
        raise Fault("a chart needs a --step, such as --step 10s.")
    body = question(given)
    zone = _zone(given.tz)
    if form == "chart":
        body["format"] = "columns"
    answer = client_of(given).call("POST", "/api/query", body)
    if form == "json":
        print(json.dumps(answer, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
    elif form == "chart":
        _print_chart(answer, given, zone)
    else:
        header, rows = as_cells(answer["data"], given.by)
        rows = rows[: given.limit]
        if form == "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        else:
            _print_table(header, rows, zone)
            _print_basis(answer, zone)
    return 0


def question(given: argparse.Namespace) -> dict[str, Any]:
    """The body of the query that the arguments ask."""
    what = given.what if given.what.startswith(("metric:", "event:")) else f"metric:{given.what}"
    filters: dict[str, Any] = {}
    for text in given.filter:
        label, equals, value = text.partition("=")
        if not equals:
            raise Fault(f"--filter {text!r} is no filter; write it like --filter country=DE")
        filters[label] = [*filters[label], value] if label in filters else [value]
    body = {
        "query_string": what,
        "aggregation": given.aggregation,
        "time_range": given.range,
        "from": given.start,
        "to": given.end,
        "at": given.at,
        "step": given.step,
        "tz": given.tz,
        "week_start": given.week_start,
        "group_by": [label for text in given.by for label in text.split(",")],
        "filters": filters,
        "field": given.field,
    }
    for name in ("from", "to", "at"):
        text = body[name] or ""
        body[name] = float(text) if text.replace(".", "", 1).isdigit() else text
    return {name: value for name, value in body.items() if value not in (None, "", [], {})}


def as_cells(data: list[dict[str, Any]], by: list[str]) -> tuple[list[str], list[list[object]]]:
    """(header, rows) of an answer's rows: aggregated ones with the labels asked for, or raw ones."""
    if data and "name" in data[0]:
        labels = sorted({label for row in data for label in row.get("tags") or {}})
        own = [name for name in _RAW if any(row.get(name) is not None for row in data)]
        rows = [[*(row.get(n) for n in own), *((row.get("tags") or {}).get(n) for n in labels)] for row in data]
        return [*own, *labels], rows
    labels = [label for text in by for label in text.split(",")]
    timed = any("time" in row for row in data)
    marked = any("partial" in row for row in data)
    header = [*(["time"] if timed else []), *labels, "value", "count", *(["partial"] if marked else [])]
    return header, [
        [
            *([row["time"]] if timed else []),
            *((row.get("labels") or {}).get(n) for n in labels),
            row["value"],
            row["count"],
            *(["partial" if row.get("partial") else None] if marked else []),
        ]
        for row in data
    ]


def _zone(name: str | None) -> tzinfo | None:
    """The zone that times are shown in, None for the local one. The server says it where there is none of the name."""
    try:
        return None if name is None else zones.find(name)
    except BadQuery:
        return None


def _print_table(header: list[str], rows: list[list[object]], zone: tzinfo | None) -> None:
    if not rows:
        print("no rows", file=sys.stderr)
        return
    for place in [i for i, name in enumerate(header) if name in ("time", "timestamp")]:
        rows = [[*row[:place], local_time(str(row[place]), True, zone), *row[place + 1 :]] for row in rows]
    on = has_colours(sys.stdout)
    for i, line in enumerate(table(header, rows)):
        print(paint(line, BOLD, on=on) if i == 0 else line)


def _print_chart(answer: dict[str, Any], given: argparse.Namespace, zone: tzinfo | None) -> None:
    times, series = answer["columns"]["times"], answer["columns"]["series"][: given.limit]
    if not times or not series or not any(count for one in series for count in one["counts"]):
        print("no data in the range", file=sys.stderr)
        _print_basis(answer, zone)
        return
    on, wide = has_colours(sys.stdout), width()
    day = times[-1] - times[0] >= 86_400_000
    first, last = (_clock(moment, day, zone) for moment in (times[0], times[-1]))
    if len(series) == 1:
        name = _name(series[0])
        print(paint(f"{given.aggregation or ''} of {safe(given.what)}{f' {name}' if name else ''}", BOLD, on=on))
        lines = chart(series[0]["values"], first, last, min(wide, 120))
        print("\n".join(paint(line, CYAN, on=on) if i < len(lines) - 2 else line for i, line in enumerate(lines)))
        print("   ".join(f"{what} {number(value)}" for what, value in _summary(series[0]["values"])))
    else:
        print(paint(f"{given.aggregation or ''} of {safe(given.what)}, {first} to {last}", BOLD, on=on))
        shown = series[:_MOST_SPARKLINES]
        bottom, top = span([value for one in shown for value in one["values"]])
        summaries = [[number(value) for _, value in _summary(one["values"])] for one in shown]
        taken = max(len(_name(one)) for one in shown) + sum(
            max(4, *map(len, cells)) + 2 for cells in zip(*summaries, strict=True)
        )
        room = max(10, min(100, wide - taken - 3))
        rows = []
        for one in shown:
            line, _ = squeeze(one["values"], room)
            rows.append([_name(one), sparkline(line, bottom, top), *(value for _, value in _summary(one["values"]))])
        print("\n".join(table([",".join(given.by), "", "min", "mean", "max", "last"], rows)))
        if len(series) > len(shown):
            print(f"… and {len(series) - len(shown):,} more groups; --format table shows all", file=sys.stderr)
    _print_basis(answer, zone)


def _print_basis(answer: dict[str, Any], zone: tzinfo | None) -> None:
    """What the answer rests on, on stderr, so that a pipe gets the answer only."""
    parts = [f"{local_time(answer['from'], True, zone)} to {local_time(answer['to'], True, zone)}"]
    step = f", step {answer['step']}" if answer["step"] else ""
    parts.append(f"resolution {answer['resolution']}{step}" + (f" in {answer['tz']}" if "tz" in answer else ""))
    if answer.get("columns", {}).get("partial"):
        parts.append("the last step is not over")
    if answer["error_bound"]:
        parts.append(f"within {answer['error_bound']:.2%}")
    parts.append(f"{answer['metadata']['total_metrics']:,} rows in {answer['execution_time'] * 1000:.1f} ms")
    on = has_colours(sys.stderr)
    print(paint(" · ".join(parts), DIM, on=on), file=sys.stderr)
    if since := answer["metadata"].get("complete_from"):
        print(paint(f"Older raw rows than {local_time(since, True, zone)} are not kept.", DIM, on=on), file=sys.stderr)
    for note in answer["metadata"].get("notes") or ():
        print(paint(safe(note), DIM, on=on), file=sys.stderr)


def _summary(values: list[float | None]) -> list[tuple[str, float | None]]:
    known = [value for value in values if value is not None]
    if not known:
        return [("min", None), ("mean", None), ("max", None), ("last", None)]
    mean = math.fsum(known) / len(known)
    return [("min", min(known)), ("mean", mean), ("max", max(known)), ("last", known[-1])]


def _name(series: dict[str, Any]) -> str:
    return ", ".join(safe(value) for value in (series["labels"] or {}).values())


def _clock(ms: float, dated: bool, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).strftime("%d %b %H:%M" if dated else "%H:%M:%S")
