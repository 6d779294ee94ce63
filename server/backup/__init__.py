"""Backups: a folder that holds the log and the store of one moment, and a manifest that says what is in it.

    DIR/manifest.json   what, when, totals, size and SHA-256 of each file
    DIR/entries.log     the log's entries from before the checkpoint on (see server.log.archive)
    DIR/store.db        the store, as a file of its own

The log is copied first, then the store. The log is trimmed only behind the checkpoint before the newest one, so all
that is trimmed while it is read lies in the checkpoint of the store that is copied later: between the two there is no
gap. Entries that the later checkpoint contains already do no harm, and an end that it has overtaken is not needed.
"""

from __future__ import annotations

from server.backup.manifest import BackupError, Manifest, read_manifest
from server.backup.restoring import rehearse, restore
from server.backup.taking import take

__all__ = ["BackupError", "Manifest", "read_manifest", "rehearse", "restore", "take"]
