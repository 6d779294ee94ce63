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
    """What the store says of its log.

    epoch: of the log. complete: the position at which it was stopped in order with all of it stored. gap: (a position
    of the store, the first one of the log) between which entries are known to be missing, and that is accepted.
    """

    epoch: str
    complete: int | None = None
    gap: tuple[int, int] | None = None


def read_origin(store: Store) -> Origin | None:
    """What the store says of its log, None where it says nothing. Blocks."""
    body = store.get_document(_KIND, _ID)
    if body is None:
        return None
    known = decode_json(body)
    return Origin(known["epoch"], known["complete"], tuple(known["gap"]) if known["gap"] else None)


def write_origin(store: Store, origin: Origin) -> None:
    """Notes in the store which log fills it. Blocks; a store that takes nothing now keeps what it says."""
    try:
        store.put_document(_KIND, _ID, json.dumps(origin._asdict()).encode())
    except StoreUnavailable as error:
        logger.warning("which log fills the store could not be noted: %s", error)


async def join(log: Log, origin: Origin | None, position: int) -> Origin:
    """Makes the log go on after the store's checkpoint at `position`, 0 for a new store; what is to be noted then.

    Raises LogDamaged where entries above it are missing, or may be without anybody knowing.
    """
    noted = await check(log, origin, position)
    await log.start_after(position, origin is not None and origin.complete == position)
    return noted


async def check(log: Log, origin: Origin | None, position: int) -> Origin:
    """The part of `join` that changes nothing: whether it is the store's log, and reaches back to where that ends."""
    complete = origin is not None and origin.complete == position
    gap = None
    if origin is not None and origin.epoch != log.epoch and not await _is_meant_for(log, position, complete):
        raise LogDamaged(
            f"the store was filled from another log (epoch {origin.epoch}) than the one that is there now (epoch "
            f"{log.epoch}), so an unknown number of rows may be missing. Put the log back, or the setting that names it"
        )
    if not await log.reaches_back(position):
        gap = position, await log.first()
        if origin is None or origin.gap != gap:
            ends = f"the store ends with entry {position}" if position else "the store is empty"
            raise LogDamaged(f"the log begins with entry {gap[1]}, but {ends}: what lay between is not there any more")
    return Origin(log.epoch, None, gap)


async def _is_meant_for(log: Log, position: int, complete: bool) -> bool:
    """Whether a log of another epoch may follow the store: a new one after a stop in order, or one that a restore has
    made to begin exactly where the store ends."""
    last = await log.last()
    if not last:
        return complete
    return await log.reaches_back(position) and not (position and await log.reaches_back(position - 1))
