"""Putting a backup back, and rehearsing it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from server import half_restored
from server.backup.manifest import (
    ENTRIES,
    STORE,
    BackupError,
    Manifest,
    check_files,
    check_kind,
    read_manifest,
    sync_directory,
)
from server.config import Settings
from server.log import Log, LogError, LogReader, Record, log_owner, open_archive, open_log, open_reader, set_log_aside
from server.store import StoreError, open_snapshot, set_store_aside, store_path
from server.verify import verify_settings
from server.verify.balance import compare_ledgers
from server.verify.report import Report

Progress = Callable[[str], None]
_AT_ONCE = 8 << 20
"""Bytes of entries that are appended together."""
_NO_BOUND = 1 << 62


@dataclass(slots=True)
class Restored:
    """What was put back, and where what was there before is now."""

    manifest: Manifest
    aside: list[str]


def restore(settings: Settings, directory: Path, replace: bool, progress: Progress) -> Restored:
    """Puts a backup where a server with these settings looks for its data. Raises BackupError.

    replace: what is there already is renamed; without it, it is a reason to refuse. The log gets a new epoch, so that
    offsets which clients have kept are not taken for places in it.
    """
    check_kind(settings)
    manifest = read_manifest(directory)
    check_files(directory, manifest, progress)
    try:
        _check_room(settings, replace)
        with _noted(settings.data_dir, directory):
            mark = _mark(settings)
            # The store last: as long as it has its name, a log that is gone is missed.
            aside = [set_log_aside(settings.log, mark), set_store_aside(settings.database, mark)]
            _put_back(settings, directory, progress)
    except (LogError, StoreError) as error:
        raise BackupError(str(error)) from error
    except OSError as error:
        raise BackupError(f"the data cannot be written: {error}") from error
    return Restored(manifest, [name for name in aside if name])


def _mark(settings: Settings) -> str:
    """What names are given that were there before; a new one, for an earlier restore may have been broken off."""
    while True:
        mark = f"before-{time.strftime('%Y%m%d-%H%M%S')}"
        names = Path(f"{store_path(settings.database)}.{mark}"), settings.data_dir / f"log.{mark}"
        if not any(name.exists() for name in names):
            return mark
        time.sleep(0.1)


def _check_room(settings: Settings, replace: bool) -> None:
    """Raises BackupError where a server holds the data, or where there are any that may not be renamed."""
    owner = log_owner(settings.log)
    if owner:
        raise BackupError(f"{owner}; stop it first")
    log, store = open_reader(settings.log), store_path(settings.database)
    there = [log.place] if log is not None else []
    if log is not None:
        log.close()
    there += [str(store)] if store.exists() else []
    if there and not replace:
        raise BackupError(f"there are data already: {' and '.join(there)}; --replace renames them")


@contextmanager
def _noted(data_dir: Path, backup: Path) -> Iterator[None]:
    """Leaves a note of the restore until all of it is done: what is there before that must not be served."""
    data_dir.mkdir(parents=True, exist_ok=True)
    note = data_dir / half_restored.NAME
    with note.open("w") as file:
        file.write(f"{backup}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(data_dir)
    yield
    note.unlink()
    sync_directory(data_dir)


def _put_back(settings: Settings, directory: Path, progress: Progress) -> None:
    store = store_path(settings.database)
    store.parent.mkdir(parents=True, exist_ok=True)
    copy = store.with_name(f"{store.name}.partial")
    progress("copying the store")
    shutil.copyfile(directory / STORE, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    snapshot = open_snapshot(f"sqlite:///{directory / STORE}")
    newest = snapshot.newest_checkpoint() if snapshot is not None else None
    if snapshot is not None:
        snapshot.close()
    entries = open_archive(directory / ENTRIES)
    after = newest.position if newest is not None else 0
    # The log first: a store without the entries after its checkpoint would pass for whole.
    if settings.redis_url:
        asyncio.run(_write_log(settings.redis_url, entries, after, progress))
    else:
        log = settings.data_dir.absolute() / "log"
        partial = log.with_name("log.partial")
        shutil.rmtree(partial, ignore_errors=True)
        asyncio.run(_write_log(f"file://{quote(str(partial))}", entries, after, progress))
        partial.rename(log)
    copy.rename(store)
    sync_directory(store.parent)
    sync_directory(settings.data_dir)


async def _write_log(url: str, entries: LogReader, after: int, progress: Progress) -> None:
    """A new log of the entries that come after a position; what lies before it is in the store."""
    log = await open_log(url, max_bytes=_NO_BOUND)
    try:
        await log.start_after(after)
        waiting: list[bytes] = []
        done = 0
        for found in entries.read(after):
            if isinstance(found, Record):
                waiting.append(found.payload)
                if sum(map(len, waiting)) >= _AT_ONCE or len(waiting) >= 1000:
                    done += await _append(log, waiting)
                    progress(f"log: {done:,} entries")
        await _append(log, waiting)
        await log.sync()
    finally:
        await log.close()


async def _append(log: Log, waiting: list[bytes]) -> int:
    await asyncio.gather(*map(log.append, waiting))
    count = len(waiting)
    waiting.clear()
    return count


def rehearse(directory: Path, settings: Settings, progress: Progress) -> Report:
    """Restores a backup to a temporary folder, verifies the data there, and compares them with the manifest.

    Raises BackupError, and Unchecked where nothing can be verified.
    """
    with tempfile.TemporaryDirectory(prefix="streamgauge-restore-") as folder:
        manifest = read_manifest(directory)
        there = manifest.applied_to(settings, Path(folder) / "data")
        restore(there, directory, False, progress)
        report = verify_settings(there, lambda: None, progress)
    compare_ledgers(report, "manifest", "the manifest", manifest.ledger, report.total)
    report.log, report.store = str(directory / ENTRIES), str(directory / STORE)
    return report
