"""Ending tasks, so that they really end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

logger = logging.getLogger("streamgauge")

PATIENCE = 0.5


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks until all have ended, however they do.

    Once is not enough: `asyncio.wait_for` before Python 3.12 forgets a cancellation that comes together with what it
    waits for (https://github.com/python/cpython/issues/86296), and redis-py sends its commands by it.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=PATIENCE)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.debug("%s has ended with %r", task.get_name(), error)
