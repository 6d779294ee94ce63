"""The command `streamgauge`. One file per command; only those that serve load the server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from server.cli import backup, bench, demo, keys, query, rejects, repair, send, status, tail, verify
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
    add_command(
        commands,
        "gateway",
        _serve,
        help="run one of several: ingest, API and live screens",
        description="Run a process that takes what is sent, answers and shows, and leaves the history to an engine.\n"
        "Any number of gateways and engines share one Redis (REDIS_URL) and one DynamoDB (DATABASE_URL).",
        examples="""
            REDIS_URL=redis://redis DATABASE_URL=dynamodb://eu-central-1/streamgauge streamgauge gateway""",
    )
    add_command(
        commands,
        "engine",
        _serve,
        help="run one of several: alerts and the history",
        description="Run a process that evaluates its part of the alerts and writes its part of the history; with\n"
        "others it shares them, and takes over from them within seconds. See `gateway`.",
        examples="""
            REDIS_URL=redis://redis DATABASE_URL=dynamodb://eu-central-1/streamgauge PORT=8001 streamgauge engine""",
    )
    for module in (send, tail, query, rejects, demo, bench, keys, status, verify, repair, backup):
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
