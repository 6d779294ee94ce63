"""The command `verify`: whether store, log and server agree about every row."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.cli.client import Lost, client_of, refusal
from server.cli.command import Commands, Fault, add_command
from server.cli.terminal import StatusLine

if TYPE_CHECKING:
    from server.config import Settings
    from server.verify.report import Report


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "verify",
        run,
        help="recount everything, and compare it with what the server says",
        description="Recounts every row from the store and the log, independently of the server's own totals, and\n"
        "prints the balance. Reads only. A server may be running on the same data; then its ledger is compared too.\n"
        "Settings (DATA_DIR, REDIS_URL, DATABASE_URL and the rest) are read as `serve` reads them.\n"
        "With --backup a backup is restored to a temporary folder (under TMPDIR) and verified there.\n"
        "Exit code: 0 all agrees, 1 something differs, 2 something could not be read.",
        examples="""
            streamgauge verify
            streamgauge verify --json
            DATA_DIR=/var/lib/streamgauge streamgauge verify
            streamgauge verify --backup /backups/monday""",
    )
    parser.add_argument("--backup", metavar="DIR", help="a folder that `streamgauge backup` wrote")
    parser.add_argument("--json", action="store_true", help="all figures as JSON")
    group = parser.add_argument_group("the server")
    group.add_argument("--url", default=os.environ.get("STREAMGAUGE_URL"), help="else STREAMGAUGE_URL, HOST and PORT")
    group.add_argument("--key", default=os.environ.get("STREAMGAUGE_KEY", ""), help="an API key; else STREAMGAUGE_KEY")


def run(given: argparse.Namespace) -> int:
    """Verifies; the exit code."""
    from server.backup import BackupError
    from server.config import ConfigError, load_settings
    from server.verify.report import Unchecked
    from server.verify.show import lines

    line = StatusLine()
    try:
        settings = load_settings()
        report = _rehearse(given, settings, line) if given.backup else _verify(given, settings, line)
    except (ConfigError, Unchecked, BackupError) as error:
        line.clear()
        raise Fault(str(error)) from None
    line.clear()
    print(json.dumps(report.as_dict(), indent=2) if given.json else "\n".join(lines(report)))
    return report.code


def _verify(given: argparse.Namespace, settings: Settings, line: StatusLine) -> Report:
    from server.verify import verify_settings

    if not settings.enable_persistence:
        raise Fault("ENABLE_PERSISTENCE is false: nothing is kept that could be verified.")
    notes: list[str] = []
    report = verify_settings(settings, _asker(given, settings, notes), line.show)
    report.notes += dict.fromkeys(notes)
    return report


def _rehearse(given: argparse.Namespace, settings: Settings, line: StatusLine) -> Report:
    from server.backup import rehearse

    logging.getLogger("server.log").setLevel(logging.ERROR)  # it warns of a gap, which is meant here
    return rehearse(Path(given.backup).absolute(), settings, line.show)


def _asker(
    given: argparse.Namespace, settings: Settings, notes: list[str]
) -> Callable[[], dict[str, Any] | None]:
    """Asks the server for its ledger: None where none listens at an address that nobody named."""
    named = given.url is not None
    if not named:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
        given.url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port or 8000}"
    client = client_of(given)

    def ask() -> dict[str, Any] | None:
        try:
            reply = client.request("GET", "/api/ledger")
        except Lost as lost:
            if named:
                raise Fault(str(lost)) from None
            return None
        if reply.status == 200 and isinstance(found := reply.json(), dict) and "offset" in found:
            return found
        if named:
            raise refusal(reply)
        if reply.status != 404:
            notes.append(f"the server at {client.url} was not compared: {reply.message()}")
        return None

    return ask


