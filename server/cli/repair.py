"""The command `repair`: making a damaged log good while no server runs."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING

from server.cli.command import Commands, Fault, add_command

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Settings
    from server.repair import Plan
    from server.store import Store


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "repair",
        run,
        help="make a damaged log good, keeping what is damaged aside",
        description="Shows what is damaged in the log and how many rows that costs; with --yes makes it good: every\n"
        "sound row stays, the missing ones count as rejected (reason: damaged), and the damaged files are kept in a\n"
        "folder of their own. Only while no server runs. A damaged store is restored from a backup instead.\n"
        "Settings (DATA_DIR, REDIS_URL, DATABASE_URL) are read as `serve` reads them.\n"
        "Exit code: 0 nothing is damaged or all is made good, 1 something is damaged, 2 it cannot be made good.",
        examples="""
            streamgauge repair
            streamgauge repair --yes""",
    )
    parser.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")


def run(given: argparse.Namespace) -> int:
    """Repairs; the exit code."""
    from server.config import ConfigError, load_settings
    from server.log import LogError
    from server.repair import CannotMend
    from server.store import StoreError

    try:
        return asyncio.run(_repair(load_settings(), given.yes))
    except (ConfigError, CannotMend, LogError, StoreError, OSError) as error:
        raise Fault(str(error)) from None


async def _repair(settings: Settings, yes: bool) -> int:
    from server.half_restored import refuse_half_restored
    from server.log import log_owner
    from server.origin import read_origin, write_origin
    from server.repair import carry_out, look_whether_it_fits, make_plan
    from server.store import open_store

    refuse_half_restored(settings.data_dir)
    owner = await asyncio.to_thread(log_owner, settings.log)
    if owner:
        raise Fault(f"{owner}; stop it first")
    store = await asyncio.to_thread(open_store, settings.database, aws=settings.aws)
    try:
        position, origin = _store_end(store), read_origin(store)
        plan = await asyncio.to_thread(make_plan, settings.log, position)
        await look_whether_it_fits(plan, origin)
        for line in plan.sentences():
            print(f"- {line}.")
        if not plan.changes:
            print("Nothing is damaged.")
            return 0
        if not yes:
            print(_proposal(plan))
            return 1
        aside = settings.data_dir.absolute() / f"damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        write_origin(store, await carry_out(plan, aside, origin))
        print(_report(plan, aside))
        return 0
    finally:
        store.close()


def _store_end(store: Store) -> int:
    """Where the store's newest sound checkpoint is, which must be one that a server can start from."""
    from engine.engine import Engine
    from server.subscribers.rollups import restore

    engine = Engine()
    restore(engine, store)
    return engine.position


def _proposal(plan: Plan) -> str:
    return (
        "Nothing has been changed. `streamgauge repair --yes` keeps every sound row and copies what is damaged aside; "
        f"{_rows(plan)}. A backup that has them is the better way, if there is one."
    )


def _report(plan: Plan, aside: Path) -> str:
    kept = f" What was damaged is kept in {aside}." if aside.exists() else ""
    return f"Made good: {_rows(plan)}.{kept} `streamgauge serve` starts with every sound row."


def _rows(plan: Plan) -> str:
    known = plan.lost_rows
    unsure = any(loss.most is None for loss in plan.losses) or bool(plan.misfit)
    if unsure and not known:
        return "how many rows are lost is not known"
    if unsure:
        return f"at least {known:,} rows are lost and count as rejected; how many more is not known"
    return f"{known:,} rows are lost and count as rejected" if known else "no row is lost"
