"""Where a process begins: the engine as the store's newest checkpoint has it, on the log that goes on from there."""

from __future__ import annotations

import asyncio
from typing import cast

from engine.engine import Engine
from server.config import Settings
from server.log import Log, LogDamaged
from server.options import engine_options
from server.origin import join, read_origin, write_origin
from server.roles import SERVE, Role
from server.store import SharedStore, Store, StoreUnavailable
from server.subscribers.rollups import restore

TRIES = 20


def restored_engine(settings: Settings, store: Store, role: Role) -> Engine:
    """An engine, put where the store's newest checkpoint was taken. Raises StoreError.

    Where others write to the store meanwhile, all that was read has to be of one of their flushes.
    """
    for _ in range(TRIES):
        engine = Engine(engine_options(settings, shared=role != SERVE))
        if role != SERVE:
            cast(SharedStore, store).refresh(0)
        restore(engine, store)
        if role == SERVE or cast(SharedStore, store).generation == engine.generation:
            return engine
    raise StoreUnavailable("the store was written to again and again while it was read; start again")


async def joined(log: Log, engine: Engine, settings: Settings, store: Store, role: Role) -> Engine:
    """The engine, or one of a newer checkpoint, once the log is seen to go on where it stands.

    Another process may trim the log meanwhile, up to a newer checkpoint than the one that was read. Raises LogError
    and StoreError.
    """
    for left in reversed(range(TRIES)):
        try:
            origin = await join(log, await asyncio.to_thread(read_origin, store), engine.position)
            break
        except LogDamaged:
            if role == SERVE or not left:
                raise
            before = engine.generation
            engine = await asyncio.to_thread(restored_engine, settings, store, role)
            if engine.generation == before:
                raise
    await asyncio.to_thread(write_origin, store, origin)
    return engine
