"""Recounting what the server says: from the store's blocks and the log's entries, in code of its own.

    Snapshot of the store ─┬─▶ sealed     rows in blocks and open panes against what the checkpoint says
                           └─▶ scratch    an engine put where the checkpoint was taken
    log after it ──────────┬─▶ recount    names, window, writers: what became of each row, read plainly
                           └─▶ scratch    the same entries through the engine
    balance: all of these against each other, and against a server that runs

What recounts shares the decoding of entries, keys and blocks with the server, and nothing that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.config import Settings
from server.log import LogReader, open_reader
from server.store import Snapshot, is_patient, open_snapshot, store_path
from server.verify.report import Report

Ask = Callable[[], dict[str, Any] | None]


def verify_settings(settings: Settings, ask: Ask, progress: Callable[[str], None]) -> Report:
    """Verifies the data that a server with these settings keeps.

    ask: the answer of GET /api/ledger, None where no server runs; progress: told what is being done.
    Raises Unchecked where nothing can be verified.
    """
    from server.options import engine_options
    from server.verify.check import verify

    options = engine_options(settings)
    report = verify(
        lambda: open_snapshot(settings.database, settings.aws), lambda: open_reader(settings.log), options, ask,
        progress,
    )  # fmt: skip
    report.store = settings.database if is_patient(settings.database) else str(store_path(settings.database))
    return report


def recount_ledger(
    settings: Settings, store: Callable[[], Snapshot | None], log: Callable[[], LogReader | None],
    progress: Callable[[str], None],
) -> Report:  # fmt: skip
    """The ledger of what these open, recounted as far as the store's blocks are not needed. Raises Unchecked."""
    from server.options import engine_options
    from server.verify.check import verify

    return verify(store, log, engine_options(settings), lambda: None, progress, blocks=False)
