"""The command `rejects`: the rows that a server refused, to look at, or to mend and send again."""

from __future__ import annotations

import argparse
import sys
from urllib.parse import urlencode

from server.cli.client import Client, Lost, add_server_options, client_of, refusal
from server.cli.command import Commands, Fault, add_command
from server.cli.tables import columns_of, table
from server.cli.terminal import local_time, width

_MOST = 10_000


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "rejects",
        run,
        help="show the rows that the server refused",
        description="Shows the newest rows that the server refused, the newest first, and why.\n"
        "With --ndjson only the rows, oldest first, to be mended and sent again: one that had no timestamp has the\n"
        "one at which it came, and one that had no id has one, so that it counts once however often it is sent.",
        examples="""
            streamgauge rejects --reason bad_value
            streamgauge rejects --ndjson > rows.ndjson
            streamgauge send --file rows.ndjson""",
    )
    parser.add_argument("--reason", help="only those refused for it, such as bad_value")
    parser.add_argument("--kind", choices=["metric", "event", "body"], help="body: what held no rows at all")
    parser.add_argument("--limit", type=int, metavar="N", help="so many at most (default 20; with --ndjson all)")
    parser.add_argument("--ndjson", action="store_true", help="write the rows themselves")
    add_server_options(parser)


def run(given: argparse.Namespace) -> int:
    """Shows refused rows; the exit code: 1 where --ndjson had to leave some out."""
    if given.limit is not None and not 1 <= given.limit <= _MOST:
        raise Fault(f"--limit is a number from 1 to {_MOST:,}.")
    if given.ndjson and given.kind == "body":
        raise Fault("a body that held no rows cannot be sent again as rows; look at it without --ndjson.")
    client = client_of(given)
    try:
        return _write(client, given) if given.ndjson else _show(client, given)
    finally:
        client.close()


def _asked(given: argparse.Namespace, **more: object) -> str:
    wanted = {"reason": given.reason, "kind": given.kind, "limit": given.limit, **more}
    return "/api/rejects?" + urlencode({name: value for name, value in wanted.items() if value is not None})


def _show(client: Client, given: argparse.Namespace) -> int:
    found = client.call("GET", _asked(given, limit=given.limit or 20))
    rows = [
        (local_time(row["at"], dated=True), row["reason"], row["kind"], row["message"], row["content"])
        for row in found["rejects"]
    ]
    if rows:
        wide = width(160)
        print("\n".join(_fit(line, wide) for line in table(["time", "reason", "kind", "message", "content"], rows)))
    refused = sum(found["total_rejected"].values())
    print(f"{len(rows):,} shown, {found['kept']:,} kept of {refused:,} refused", file=sys.stderr)
    return 0


def _fit(line: str, wide: int) -> str:
    """The line, cut off where the terminal ends."""
    if columns_of(line) <= wide:
        return line
    while columns_of(line) > wide - 1:
        line = line[: -max(1, (columns_of(line) - wide) // 2)]
    return line + "…"


def _write(client: Client, given: argparse.Namespace) -> int:
    left_out = 0
    for kind in [given.kind] if given.kind else ["metric", "event"]:
        try:
            reply = client.request("GET", _asked(given, kind=kind, format="ndjson"))
        except Lost as error:
            raise Fault(str(error)) from None
        if reply.status != 200:
            raise refusal(reply)
        sys.stdout.buffer.write(reply.body)
        left_out += int(reply.headers.get("streamgauge-left-out", "0"))
    sys.stdout.flush()
    if left_out:
        print(f"streamgauge: {left_out:,} are no JSON objects, or not kept whole; they are left out.", file=sys.stderr)
    return 1 if left_out else 0
