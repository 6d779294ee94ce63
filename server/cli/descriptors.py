"""File descriptors: as many as the system allows, and some of them kept for what is no connection.

A server whose connections have taken every descriptor can neither begin a segment of its log nor read its store, so
connections beyond what is left are refused.
"""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger("streamgauge")

RESERVED = 48
"""For the log, the store and its readers, Redis, and the event loop."""
FEWEST = 4
_MOST = 1 << 20


def room_for_connections() -> int:
    """Raises the soft limit to the hard one; how many connections may be open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError) as error:
            logger.warning("the limit of %d file descriptors cannot be raised: %s", soft, error)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    room = max(FEWEST, soft - RESERVED)
    if room < 200:
        logger.warning("%d file descriptors leave room for %d connections (ulimit -n)", soft, room)
    return room
