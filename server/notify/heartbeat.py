"""A dead man's switch: a URL is called as long as all parts are well, so that who waits for the call notices when this
process, its machine or its network is gone, and not only what it can still tell itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from server.notify import NotSent
from server.notify.places import without_secrets

if TYPE_CHECKING:
    from server.notify.over_http import Caller

logger = logging.getLogger("streamgauge.heartbeat")

SECONDS = 10.0
"""A call may take."""


class Heartbeat:
    """url: http(s), of the operator's choice; interval: seconds between calls. well: why some part is not, None for all
    are; nothing is called meanwhile."""

    def __init__(self, url: str, interval: float, well: Callable[[], str | None]) -> None:
        self._url, self._interval, self._well = url, interval, well
        self.trouble: str | None = None
        """Why the last beat was left out or did not arrive, None where it did."""

    async def run(self) -> None:
        """Calls now, and then every interval; for ever."""
        from server.notify.over_http import Caller  # aiohttp takes 13 MB, and most servers have no such URL

        caller = Caller(None, (SECONDS, SECONDS))
        try:
            while True:
                self._note(self._well() or await self._beat(caller))
                await asyncio.sleep(self._interval)
        finally:
            await caller.close()

    async def _beat(self, caller: Caller) -> str | None:
        from server.notify.over_http import check

        try:
            check(await caller.call("GET", self._url), without_secrets(self._url))
        except NotSent as error:
            return error.reason
        return None

    def _note(self, trouble: str | None) -> None:
        """Says a change once."""
        if trouble is not None and self.trouble is None:
            logger.warning("no heartbeat: %s", trouble)
        elif trouble is None and self.trouble is not None:
            logger.info("the heartbeat goes on")
        self.trouble = trouble
