"""The manifest of a backup: what is in it, and whether its files are still those that were written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from server.config import Settings
from server.store import is_patient

FORMAT = 1
NAME = "manifest.json"
ENTRIES = "entries.log"
STORE = "store.db"
SETTINGS = (
    "lateness", "retention_5s", "retention_1min", "retention_1h", "retention_1d", "pane_memory", "metric_buffer_size",
    "max_series", "max_series_per_name", "dedup_keys", "dedup_hours",
)  # fmt: skip
"""What a recount depends on."""
_READ = 1 << 20


class BackupError(Exception):
    """Why a backup cannot be made or used; the message is a sentence for the person at the terminal."""


def check_kind(settings: Settings) -> None:
    """BackupError where the store is none that fits into a file."""
    if is_patient(settings.database):
        raise BackupError(
            "backups are made of a store in a file, and DATABASE_URL names DynamoDB: turn on point-in-time "
            "recovery of its tables instead"
        )


@dataclass(slots=True)
class Manifest:
    """All that it says.

    checkpoint, position: of the store's checkpoint and of the newest entry; stamp: arrival time of that, in ms.
    ledger: of the backed-up data, recounted; differences: what did not agree there, as sentences.
    """

    version: str
    made: str
    offset: str
    checkpoint: int
    position: int
    stamp: int
    entries: int
    series: int
    ledger: dict[str, Any]
    settings: dict[str, Any]
    files: dict[str, dict[str, Any]]
    """name -> bytes, sha256."""
    differences: list[str] = field(default_factory=list)
    format: int = field(default=FORMAT)

    def write(self, directory: Path) -> None:
        """Writes it, on the disk when it returns."""
        with (directory / NAME).open("x") as file:
            json.dump(asdict(self), file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())

    def applied_to(self, settings: Settings, data_dir: Path) -> Settings:
        """Settings for the data in a folder of its own, with those of the backup that a recount depends on."""
        known = {name: value for name, value in self.settings.items() if name in SETTINGS}
        return settings.model_copy(update={**known, "data_dir": data_dir, "redis_url": "", "database_url": ""})


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a backup. Raises BackupError."""
    try:
        found = json.loads((directory / NAME).read_text())
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise BackupError(f"{directory / NAME} is of a format that this release does not read")
        return Manifest(**found)
    except FileNotFoundError:
        raise BackupError(f"{directory} is no backup: it has no {NAME}") from None
    except (OSError, ValueError, TypeError) as error:
        raise BackupError(f"{directory / NAME} cannot be read: {error}") from error


def check_files(directory: Path, manifest: Manifest, progress: Callable[[str], None]) -> None:
    """Reads every file. Raises BackupError where one is not as it was written."""
    for name, wanted in manifest.files.items():
        path = directory / name
        try:
            size = path.stat().st_size
            if size != wanted["bytes"]:
                raise BackupError(f"{path} has {size:,} bytes, the manifest says {wanted['bytes']:,}")
            if digest(path, progress) != wanted["sha256"]:
                raise BackupError(f"{path} is damaged: its SHA-256 is not the one in the manifest")
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror}") from error


def described(path: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """A file as the manifest has it."""
    return {"bytes": path.stat().st_size, "sha256": digest(path, progress)}


def digest(path: Path, progress: Callable[[str], None]) -> str:
    """SHA-256 of a file, in hex."""
    total, done = path.stat().st_size, 0
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ):
            seen.update(part)
            done += len(part)
            progress(f"checking {path.name}: {done >> 20:,} of {total >> 20:,} MB")
    return seen.hexdigest()


def sync_directory(path: Path) -> None:
    """Brings the names in a directory to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
