"""Which log the store was filled from, and whether the log that is there now can go on where the store ends.

The store keeps a small document of it: the log's epoch, and after a stop in order the position at which it ended. So a
store under another log is noticed, and a log that is gone does no harm where all of it had been stored.
"""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

from server.log import Log, LogDamaged
from server.store import Store, StoreUnavailable
from server.wire.messages import decode_json

logger = logging.getLogger("streamgauge")

_KIND, _ID = "log", "origin"


class Origin(NamedTuple):
    """epoch: of the log. complete: the position at which it was stopped in order with all of it stored, else None."""

    epoch: str
    complete: int | None


def read_origin(store: Store) -> Origin | None:
    """What the store says of its log, None where it says nothing. Blocks."""
    body = store.get_document(_KIND, _ID)
    if body is None:
        return None
    known = decode_json(body)
    return Origin(known["epoch"], known["complete"])


def write_origin(store: Store, epoch: str, complete: int | None) -> None:
    """Notes in the store which log fills it. Blocks; a store that takes nothing now keeps what it says."""
    try:
        store.put_document(_KIND, _ID, json.dumps({"epoch": epoch, "complete": complete}).encode())
    except StoreUnavailable as error:
        logger.warning("which log fills the store could not be noted: %s", error)


async def join(log: Log, origin: Origin | None, position: int) -> None:
    """Makes the log go on after the store's checkpoint at `position`; 0 for a new store.

    Raises LogDamaged where entries above it are missing, or may be without anybody knowing.
    """
    complete = origin is not None and origin.complete == position
    if origin is not None and origin.epoch != log.epoch and not (complete and await log.last() == 0):
        raise LogDamaged(
            f"the store was filled from another log (epoch {origin.epoch}) than the one that is there now (epoch "
            f"{log.epoch}), so an unknown number of rows may be missing. Put the log back, or the setting that names it"
        )
    if not await log.reaches_back(position):
        first = await log.first()
        ends = f"the store ends with entry {position}" if position else "the store is empty"
        raise LogDamaged(f"the log begins with entry {first}, but {ends}: what lay between is not there any more")
    await log.start_after(position, complete)
