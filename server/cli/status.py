"""The command `status`: which processes share a log, which of them owns it, and whether all agree."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from server.cli.command import Commands, Fault, add_command
from server.cli.tables import table

HEADER = ("process", "role", "place", "log", "partitions", "behind, ms", "offset", "flush")
COUNTS = ("received", "accepted", "events", "duplicate", "rejected")
SLOW_MS = 5_000
"""A process that is further behind than this is not well: even an idle log moves each second."""


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "status",
        run,
        help="which gateways and engines there are, and who owns and holds what",
        description="Lists the gateways and engines on the log that REDIS_URL names, as they say themselves each\n"
        "second: who owns the log, which engine holds which of the 64 partitions of alerts and rollups, how\n"
        "far behind each is, the newest flush, and the ledger.\n"
        "Exit code: 0 all is well, 1 nobody owns the log or a partition, a process is far behind, or a ledger\n"
        "does not balance.",
        examples="""
            REDIS_URL=redis://redis streamgauge status
            streamgauge status --json""",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(given: argparse.Namespace) -> int:
    """Prints it; the exit code."""
    from server.config import ConfigError, load_settings
    from server.log import LogUnavailable

    try:
        settings = load_settings()
        if not settings.redis_url:
            raise Fault("REDIS_URL is not set: only processes that share a log on Redis have a status")
        found = as_of_the_newest(asyncio.run(_ask(settings.redis_url)))
    except (ConfigError, LogUnavailable) as error:
        raise Fault(str(error)) from None
    troubles = faults(found)
    if given.json:
        print(json.dumps({"processes": found, "troubles": troubles}, indent=2))
    else:
        print("\n".join([*shown(found), *(f"! {trouble}" for trouble in troubles)]))
    return 1 if troubles else 0


async def _ask(url: str) -> list[dict[str, Any]]:
    from server.log import open_members

    members = open_members(url, "status")
    try:
        return await members.listed()
    finally:
        await members.close()


def as_of_the_newest(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The processes, each with the partitions that it holds as the one that has come furthest in the log knows it: they
    spoke at different times, between which a partition may have gone from one to the other."""
    dealt = max(found, key=_position)["dealt"] if found else {}
    for each in found:
        each["partitions"] = dealt.get(each["name"], [])
        del each["dealt"]
    return found


def _position(said: dict[str, Any]) -> int:
    return int(said["offset"].rpartition("-")[2])


def shown(found: list[dict[str, Any]]) -> list[str]:
    """The lines: a table of the processes, and the ledger of the one that has come furthest."""
    if not found:
        return ["no gateway and no engine is there"]
    rows = [
        (each["name"], each["role"], each["place"], "owns" if each["owns"] else "", spans(each["partitions"]),
         each["behind_ms"], each["offset"], each["flush"])
        for each in found
    ]  # fmt: skip
    newest = max(found, key=_position)["ledger"]
    counts = ", ".join(f"{newest[name]:,} {name}" for name in COUNTS)
    return [*table(HEADER, rows), "", f"ledger: {counts}; {'balanced' if newest['balanced'] else 'NOT balanced'}"]


def spans(numbers: list[int]) -> str:
    """Ascending numbers, runs of them as first-last."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def faults(found: list[dict[str, Any]]) -> list[str]:
    """What is not as it should be, a sentence each."""
    from engine.terms import PARTITIONS

    owners = [each["name"] for each in found if each["owns"]]
    troubles = []
    if not any(each["role"] == "engine" for each in found):
        troubles.append("no engine is there, so nothing goes to the store; start `streamgauge engine`")
    elif not owners:
        troubles.append("no engine owns the log; one does within seconds, unless their logs say why not")
    if len(owners) > 1:
        troubles.append(f"{' and '.join(owners)} say that they own the log; for a moment that is so at a hand-over")
    held = sum(len(each["partitions"]) for each in found)
    if owners and held < PARTITIONS:
        troubles.append(f"{PARTITIONS - held} partitions are with no engine; they are dealt out within seconds")
    for each in found:
        if each["behind_ms"] > SLOW_MS:
            troubles.append(f"{each['name']} is {each['behind_ms'] / 1000:.0f} s behind")
        if not each["ledger"]["balanced"]:
            troubles.append(f"the ledger of {each['name']} does not balance; `streamgauge verify` says more")
    return troubles
