"""A note in the data directory while a restore is under way, so that what a crash leaves of one is not served.

Between its first rename and its last there is a log without a store, a store without a log, or neither, which would
pass for a new and empty server.
"""

from __future__ import annotations

from pathlib import Path

from server.store import StoreDamaged

NAME = "restoring"
"""The note's name; it says which backup is put back, and is deleted at the end."""


def refuse_half_restored(data_dir: Path) -> None:
    """Raises StoreDamaged where a restore was begun and has not ended, with the way out."""
    note = data_dir / NAME
    if note.exists():
        backup = note.read_text(errors="replace").strip() or "<the backup>"
        raise StoreDamaged(
            f"a restore of {backup} was broken off, so the data in {data_dir} are not whole. Run `streamgauge restore "
            f"{backup} --replace` again: it deletes nothing. To go back to what was there before, rename what it has "
            f"named *.before-<time>, and delete {note}"
        )
