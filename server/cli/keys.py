"""The command `keys`: API keys, made here and kept by the server only as their SHA-256."""

from __future__ import annotations

import argparse
import hashlib
import secrets

from server.cli.command import Commands, Fault, add_command

SCOPES = ("ingest", "read", "admin")


def add(commands: Commands) -> None:
    """Adds the command to the command line."""
    parser = add_command(
        commands,
        "keys",
        new,
        help="make an API key",
        description="Makes an API key and the API_KEYS line that lets a server accept it.\n"
        "The line holds only the key's SHA-256. The key is shown this once and kept nowhere.",
        examples="""
            streamgauge keys new --scope ingest
            streamgauge keys new --scope ingest+read
            API_KEYS=ingest:sha256=…,admin:sha256=… streamgauge serve""",
    )
    parser.add_argument("action", choices=["new"], help="make one")
    parser.add_argument(
        "--scope",
        default="ingest+read",
        metavar="SCOPES",
        help=f"what it may do: {', '.join(SCOPES)}, joined by + (default ingest+read; admin may do all)",
    )


def new(given: argparse.Namespace) -> int:
    """Prints a new key and its API_KEYS line."""
    scopes = given.scope.split("+")
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise Fault(f"{unknown[0]!r} is no scope; scopes are {', '.join(SCOPES)}, joined by +.")
    key = f"sg_{secrets.token_urlsafe(24)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    print(f"key:      {key}")
    print(f"setting:  API_KEYS={'+'.join(dict.fromkeys(scopes))}:sha256={digest}")
    print("\nAdd the setting to the server's environment or .env (several keys: with commas between).")
    print("Clients send `Authorization: Bearer <key>`; the commands here take --key or STREAMGAUGE_KEY.")
    return 0
