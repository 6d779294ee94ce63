"""Places for stores of every kind, each as one text that a child process can be given too."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from server.store import Snapshot, Store, open_snapshot, open_store
from tests.dynamodb_support import REGION, StandIn, aws_at

BACKENDS = ("dynalite", "moto", "sqlite")


def new_place(backend: str, directory: Path, request: pytest.FixtureRequest) -> str:
    """Where a store may lie that nobody else uses. The stand-ins for DynamoDB are processes that tests share."""
    if backend == "sqlite":
        return f"sqlite:///{directory}/store.db"
    server: StandIn = request.getfixturevalue(backend)
    return f"dynamodb://{REGION}/t{secrets.token_hex(6)} {server.url}"


def rounds(place: str, many: int, few: int) -> int:
    """How often to do what a process that stands in for DynamoDB is slow at."""
    return few if place.startswith("dynamodb:") else many


def open_at(place: str) -> Store:
    """The store at a place."""
    url, _, endpoint = place.partition(" ")
    return open_store(url, aws=aws_at(endpoint)) if endpoint else open_store(url)


def snapshot_at(place: str) -> Snapshot | None:
    """The store at a place as it is now."""
    url, _, endpoint = place.partition(" ")
    return open_snapshot(url, aws_at(endpoint)) if endpoint else open_snapshot(url)
