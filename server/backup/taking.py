"""Making a backup, while a server runs on the data or when none does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from engine.model import format_offset
from server.api.status import VERSION
from server.backup.manifest import (
    ENTRIES,
    NAME,
    SETTINGS,
    STORE,
    BackupError,
    Manifest,
    check_kind,
    described,
    sync_directory,
)
from server.config import Settings
from server.half_restored import refuse_half_restored
from server.log import LogError, LogReader, Record, open_archive, open_reader, write_archive
from server.store import StoreError, open_snapshot
from server.verify import recount_ledger
from server.verify.report import Unchecked

Progress = Callable[[str], None]


def take(settings: Settings, directory: Path, progress: Progress) -> Manifest:
    """Writes a backup to a new folder: whole, or not at all. Raises BackupError.

    All that was acknowledged before the call is in it.
    """
    check_kind(settings)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BackupError(f"{directory} is there already and not empty; name a new folder")
    partial = directory.with_name(f"{directory.name}.partial")
    try:
        refuse_half_restored(settings.data_dir)
        _make_room(partial)
        manifest = _fill(settings, partial, progress)
        sync_directory(partial)
        partial.rename(directory)
        sync_directory(directory.parent)
    except (LogError, StoreError, Unchecked) as error:
        raise BackupError(str(error)) from error
    except OSError as error:
        raise BackupError(f"{partial} cannot be written: {error.strerror or error}") from error
    return manifest


def _make_room(partial: Path) -> None:
    """Makes the folder; one that an earlier try left is made anew."""
    if partial.exists():
        foreign = [path.name for path in partial.iterdir() if not path.name.startswith((NAME, ENTRIES, STORE))]
        if foreign:
            raise BackupError(f"{partial} is in the way, and holds {foreign[0]}, which is of no backup")
        shutil.rmtree(partial)
    partial.mkdir(parents=True)


def _fill(settings: Settings, partial: Path, progress: Progress) -> Manifest:
    log = open_reader(settings.log)
    if log is None:
        raise BackupError(f"there is no log at {_place(settings)}; are the settings those of the server?")
    try:
        copied = _Copied(log, _needed_after(settings), progress)
        entries = write_archive(partial / ENTRIES, log.epoch, copied.records())
    finally:
        log.close()
    store = open_snapshot(settings.database)
    if store is None:
        raise BackupError("there is a log, but no store; are the settings those of the server?")
    try:
        store.copy(partial / STORE, lambda done, total: progress(f"store: {done:,} of {total:,} pages"))
    finally:
        store.close()
    report = recount_ledger(
        settings, lambda: open_snapshot(f"sqlite:///{partial / STORE}"), lambda: open_archive(partial / ENTRIES),
        progress,
    )  # fmt: skip
    copied.check_gaps(report.position)
    manifest = Manifest(
        VERSION, datetime.now(UTC).isoformat(timespec="milliseconds"), format_offset(log.epoch, report.upto),
        report.position, report.upto, report.last_stamp, entries, report.series, report.total,
        {name: getattr(settings, name) for name in SETTINGS},
        {name: described(partial / name, progress) for name in (ENTRIES, STORE)},
        [*report.damage, *(found.text for found in report.differences)],
    )  # fmt: skip
    manifest.write(partial)
    return manifest


def _needed_after(settings: Settings) -> int:
    """The position up to which every checkpoint that is there, and so every later one, contains the log."""
    store = open_snapshot(settings.database)
    if store is None:
        return 0
    try:
        kept = store.checkpoints()
        return kept[1][1] if len(kept) > 1 else 0
    finally:
        store.close()


class _Copied:
    """The entries of a log above a position, and where some were missing between them."""

    def __init__(self, log: LogReader, after: int, progress: Progress) -> None:
        self._log, self._after, self._progress = log, after, progress
        self._gaps: list[tuple[int, int]] = []
        """(position before, position after) of each."""

    def records(self) -> Iterator[Record]:
        """The entries; a damaged log is not backed up as if it were whole."""
        count, last = 0, self._after
        for found in self._log.read(self._after):
            if isinstance(found, Record):
                if self._log.dense and found.position != last + 1:
                    self._gaps.append((last, found.position))
                count, last = count + 1, found.position
                self._progress(f"log: {count:,} entries")
                yield found
            elif not found.torn and found.last > self._after:
                raise BackupError(f"{found.path} {found.why}; `streamgauge verify` says more")

    def check_gaps(self, checkpoint: int) -> None:
        """What is missing must lie in the checkpoint: it was trimmed."""
        for before, behind in self._gaps:
            if behind > checkpoint + 1:
                raise BackupError(
                    f"the entries {max(before, checkpoint) + 1:,} to {behind - 1:,} are neither in the log nor in the "
                    "store's checkpoint; `streamgauge verify` says more"
                )


def _place(settings: Settings) -> str:
    return "REDIS_URL" if settings.redis_url else str(settings.data_dir / "log")
