"""What every command of the command line shares: how it is declared, and how it fails."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: TypeAlias = Callable[[argparse.Namespace], int]


class Fault(Exception):
    """Why a command cannot go on; the message is a sentence for the person at the terminal."""


def add_command(
    commands: Commands, name: str, run: Run, *, help: str, description: str, examples: str = ""
) -> argparse.ArgumentParser:
    """A new command that calls `run` with its arguments and ends with the exit code it returns.

    help: its line in the list of commands; examples: lines, shown at the end of its own help.
    """
    shown = "".join(f"\n  {line.strip()}" for line in examples.strip().splitlines())
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"examples:{shown}" if shown else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser
