"""Writing marks of alerts into the log, until it has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from engine.engine import Engine
from engine.model import Applied, Entry, Mark
from server.errors import ApiError
from server.log import LogError

logger = logging.getLogger("streamgauge.alerts")

RETRY_SECONDS = 1.0

Submit = Callable[[Entry], Awaitable[Applied]]


async def write(submit: Submit, engine: Engine, marks: Sequence[Mark]) -> None:
    """Returns when the log has them and they are applied. Tries again and again: a book ignores what it has already."""
    while marks:
        try:
            await submit(Entry(engine.stamp, marks=list(marks)))
            return
        except (LogError, ApiError) as error:
            logger.error("what alerts have come to is not in the log yet, trying again: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
