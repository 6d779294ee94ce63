"""The commands `backup` and `restore`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from server.cli.command import Commands, Fault, add_command
from server.cli.terminal import StatusLine

if TYPE_CHECKING:
    from server.backup import Manifest


def add(commands: Commands) -> None:
    """Adds the commands to the command line."""
    parser = add_command(
        commands,
        "backup",
        take,
        help="copy log and store to a folder",
        description="Copies the log and the store to a new folder, consistent, while a server runs on them or not.\n"
        "All that was acknowledged before the call is in it.\n"
        "Exit code: 0 done, 1 done, but something in the data does not agree, 2 not done.\n"
        "Settings (DATA_DIR, REDIS_URL, DATABASE_URL and the rest) are read as `serve` reads them.",
        examples="""
            streamgauge backup /backups/monday
            streamgauge verify --backup /backups/monday""",
    )
    parser.add_argument("directory", metavar="DIR", help="the folder; it must not be there, or be empty")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    parser = add_command(
        commands,
        "restore",
        put_back,
        help="put back what `backup` copied",
        description="Puts a backup where `serve` looks for its data, by the same settings; no server may run on them.\n"
        "The log gets a new epoch, so that clients do not take their old offsets for places in it.",
        examples="""
            DATA_DIR=/var/lib/streamgauge streamgauge restore /backups/monday
            streamgauge restore /backups/monday --replace""",
    )
    parser.add_argument("directory", metavar="DIR", help="a folder that `streamgauge backup` wrote")
    parser.add_argument("--replace", action="store_true", help="rename data that are there already; nothing is deleted")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def take(given: argparse.Namespace) -> int:
    """Makes a backup; the exit code."""
    from server import backup
    from server.config import ConfigError, load_settings
    from server.verify.words import time_of

    line = StatusLine()
    try:
        settings = load_settings()
        if not settings.enable_persistence:
            raise Fault("ENABLE_PERSISTENCE is false: nothing is kept that could be backed up.")
        directory = Path(given.directory).absolute()
        made = backup.take(settings, directory, (lambda _: None) if given.quiet else line.show)
    except (ConfigError, backup.BackupError) as error:
        line.clear()
        raise Fault(str(error)) from None
    line.clear()
    if not given.quiet:
        size = sum(int(file["bytes"]) for file in made.files.values())
        upto = f"up to {time_of(made.stamp)} UTC (offset {made.offset})"
        print(f"{directory}: {_rows(made)}, {size / 1e6:,.1f} MB, {upto}")
    for found in made.differences:
        print(f"streamgauge: backed up as it is, but: {found}", file=sys.stderr)
    return 1 if made.differences else 0


def put_back(given: argparse.Namespace) -> int:
    """Restores a backup; the exit code."""
    from server import backup
    from server.config import ConfigError, load_settings
    from server.verify.words import time_of

    logging.getLogger("server.log").setLevel(logging.ERROR)  # it warns of a gap, which is meant here
    line = StatusLine()
    try:
        settings = load_settings()
        directory = Path(given.directory).absolute()
        done = backup.restore(settings, directory, given.replace, (lambda _: None) if given.quiet else line.show)
    except (ConfigError, backup.BackupError) as error:
        line.clear()
        raise Fault(str(error)) from None
    line.clear()
    if not given.quiet:
        for name in done.aside:
            print(f"what was there is now {name}")
        print(f"restored {_rows(done.manifest)}, up to {time_of(done.manifest.stamp)} UTC")
    return 0


def _rows(manifest: Manifest) -> str:
    ledger = manifest.ledger
    return f"{ledger['accepted']:,} rows and {ledger['events']:,} events of {manifest.series:,} series"
