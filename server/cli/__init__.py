"""The command `streamgauge`. One file per command; only `serve` loads the server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from server.cli import backup, bench, demo, keys, query, rejects, repair, send, tail, verify
from server.cli.command import Fault, add_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 1 where not all was done, 2 where nothing could be."""
    parser = argparse.ArgumentParser(
        prog="streamgauge", description="Real-time streaming analytics: POST metrics and events, watch, query, keep."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    add_command(
        commands,
        "serve",
        _serve,
        help="run the server",
        description="Run the server. Settings come from the environment and .env; the README lists them all.",
        examples="""
            streamgauge serve
            PORT=9000 DATA_DIR=/var/lib/streamgauge streamgauge serve""",
    )
    for module in (send, tail, query, rejects, demo, bench, keys, verify, repair, backup):
        module.add(commands)
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except Fault as fault:
        print(f"streamgauge: {fault}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(given: argparse.Namespace) -> int:
    from server.cli.serve import run  # loads the server, which the other commands do without

    return run(given)
