"""The command `send`: one metric, or the rows of a file or of standard input."""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from server.cli.client import add_server_options, client_of
from server.cli.command import Commands, Fault, add_command
from server.cli.rows import FORMATS, BadRow, Row, Source, Unreadable, number_of
from server.cli.sender import Batches, Sender, row_of
from server.cli.terminal import StatusLine, number, safe

TYPES = ("counter", "gauge", "histogram", "timer", "average", "sum")
_HELD = 10_000
"""Rows read ahead from a stream."""
_PATIENCE = 0.5
"""Seconds a row of a stream waits for others."""


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "send",
        run,
        help="send one metric, or a file of them",
        description="Sends one metric, or with --file many rows: NDJSON, a JSON array, or CSV with a header.\n"
        "Rows with event_type are events. CSV columns: name, type, value, timestamp, unit, source, id; "
        "all others are labels.\n"
        "With --file, NAME and the options of a metric stand in for what rows do not have.\n"
        "Exit code: 0 all accepted, 1 some rows refused, 2 nothing more could be sent.",
        examples="""
            streamgauge send orders 1 --tag shop=berlin
            streamgauge send cpu 0.7 --type gauge --unit %
            streamgauge send --file metrics.ndjson --gzip
            streamgauge send latency --type timer --unit ms --file timings.csv
            tail -f metrics.ndjson | streamgauge send --file -""",
    )
    parser.add_argument("name", nargs="?", help="the metric's name")
    parser.add_argument("value", nargs="?", help="its value")
    one = parser.add_argument_group("the metric")
    one.add_argument("--type", choices=TYPES, help="its type (default counter)")
    one.add_argument("--tag", action="append", default=[], metavar="LABEL=VALUE", help="a label; may be repeated")
    one.add_argument("--unit", help="its unit")
    one.add_argument("--source", help="where it comes from")
    one.add_argument("--time", help="ISO 8601 or epoch (default now)")
    one.add_argument("--id", help="a repeat of it counts once")
    many = parser.add_argument_group("many rows")
    many.add_argument("--file", metavar="PATH", help="the file; - is standard input, .gz is decompressed")
    many.add_argument("--format", choices=FORMATS, help="what the file holds (default: by its name, or its first byte)")
    many.add_argument("--batch", type=_positive, default=1000, metavar="ROWS", help="rows per request (default 1000)")
    many.add_argument("--gzip", action="store_true", help="compress what is sent")
    many.add_argument("--quiet", action="store_true", help="no progress, no sum")
    parser.add_argument(
        "--retry",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long a request is repeated while the server is busy or away (default 60); nothing is counted twice",
    )
    add_server_options(parser)


def run(given: argparse.Namespace) -> int:
    """Sends; the exit code."""
    fixed = _fixed(given)
    if given.file is None:
        return _send_one(given, fixed)
    if given.value is not None or given.id is not None:
        raise Fault("with --file the values and ids come from the file; leave them out here.")
    return _send_file(given, fixed)


def _send_one(given: argparse.Namespace, fixed: dict[str, Any]) -> int:
    if given.name is None or given.value is None:
        raise Fault("give a name and a value, as in `streamgauge send orders 1`, or a --file; see --help.")
    value = number_of(given.value)
    if isinstance(value, str):
        raise Fault(f"the value {given.value!r} is no number; write it like 12, 0.5 or 1e3.")
    row = {"metric_type": "counter"} | fixed | {"value": value} | ({"id": given.id} if given.id else {})
    sender = Sender(client_of(given), patience=given.retry, waiting=_tell)
    sender.send([row_of(row)])
    total = sender.total
    if total.rejected:
        reason = "; ".join(error.partition(": ")[2] for error in total.errors)
        print(f"streamgauge: refused: {safe(reason)}", file=sys.stderr)
        return 1
    if not given.quiet:
        labels = "".join(f" {name}={text}" for name, text in row.get("tags", {}).items())
        unit = f" {row['unit']}" if "unit" in row else ""
        done = "counted before, not again" if total.duplicate else "accepted"
        print(f"{done}: {row['name']} {row['metric_type']} {number(value)}{unit}{labels}")
    return 0


def _send_file(given: argparse.Namespace, defaults: dict[str, Any]) -> int:
    source = Source(given.file, given.format, defaults)
    line = StatusLine()
    show = line.show if not given.quiet else lambda *_, **__: None
    sender = Sender(
        client_of(given),
        compress=given.gzip,
        patience=given.retry,
        waiting=lambda why, pause: show(f"waiting {pause:.1f} s: {why}", now=True),
    )
    batches = Batches(sender, given.batch)
    begun = time.monotonic()
    ended, code = "", 0
    try:
        try:
            for row in _read_ahead(source.rows()) if source.waits else source.rows():
                if row is None:
                    batches.flush()
                else:
                    batches.put(row)
                show(_progress(source, sender.total.rows, time.monotonic() - begun))
        except Unreadable as fault:
            ended, code = str(fault), 2
        except KeyboardInterrupt:
            ended, code = "interrupted", 130
        batches.flush()
    except Fault as fault:
        ended, code = str(fault), 2
    finally:
        line.clear()
        if not source.waits:
            source.close()
    total, seconds = sender.total, time.monotonic() - begun
    if not given.quiet:
        rate = f" ({total.rows / seconds:,.0f} rows/s)" if seconds > 0.2 and total.rows else ""
        print(f"{total} in {seconds:.1f} s{rate}")
    for error in total.errors:
        print(f"refused: {safe(error)}", file=sys.stderr)
    if total.rejected > len(total.errors):
        print(f"refused: {total.rejected - len(total.errors):,} more", file=sys.stderr)
    if ended:
        print(f"streamgauge: {ended}", file=sys.stderr)
    return code or (1 if total.rejected else 0)


def _fixed(given: argparse.Namespace) -> dict[str, Any]:
    """The members of a metric that the arguments give."""
    tags = {}
    for text in given.tag:
        label, equals, value = text.partition("=")
        if not equals or not label:
            raise Fault(f"--tag {text!r} is no label; write it like --tag shop=berlin")
        tags[label] = value
    fixed = {"name": given.name, "metric_type": given.type, "unit": given.unit, "source": given.source, "tags": tags}
    if given.time is not None:
        fixed["timestamp"] = number_of(given.time)
    return {name: value for name, value in fixed.items() if value}


def _read_ahead(rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow | None]:
    """The rows, read by a thread; None when none has come for a moment, so that what is gathered can go out."""
    ahead: queue.Queue[Row | BadRow | BaseException | None] = queue.Queue(_HELD)

    def read() -> None:
        try:
            for row in rows:
                ahead.put(row)
            ahead.put(None)
        except BaseException as error:
            ahead.put(error)

    threading.Thread(target=read, name="reader", daemon=True).start()
    since = time.monotonic()
    while True:
        try:
            row = ahead.get(timeout=_PATIENCE)
        except queue.Empty:
            yield None
            since = time.monotonic()
            continue
        if row is None:
            return
        if isinstance(row, BaseException):
            raise row
        yield row
        if time.monotonic() - since > _PATIENCE and ahead.empty():
            yield None
            since = time.monotonic()


def _progress(source: Source, rows: int, seconds: float) -> str:
    rate = f"{rows / seconds:,.0f} rows/s" if seconds > 0.5 else ""
    if not source.size:
        return f"{rows:,} rows  {rate}"
    part = source.read
    bar = "█" * int(part * 24)
    left = f"  {seconds / part - seconds:.0f} s left" if part > 0.02 and seconds > 1 else ""
    return f"[{bar:·<24}] {part:4.0%}  {rows:,} rows  {rate}{left}"


def _tell(why: str, pause: float) -> None:
    print(f"streamgauge: {why} Trying again in {pause:.1f} s.", file=sys.stderr)


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError("must be from 1 to 100000")
    return number
