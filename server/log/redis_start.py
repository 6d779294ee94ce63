"""How a start goes on from a checkpoint on a Redis stream: is all above it kept, and what if it ends before."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from redis.exceptions import RedisError, ResponseError

from server.log import LogDamaged, LogUnavailable
from server.log.redis_names import Ends, format_id, lost_key

log = logging.getLogger(__name__)


async def is_kept_above(client: Any, stream: str, position: int, edges: tuple[int, int]) -> bool:
    """Whether nothing above a position has been trimmed. edges: the first and last position of the stream.

    The entry at the checkpoint's own position is kept unless all consumers have let it go; so where it is missing,
    somebody else has trimmed, and perhaps more than that.
    """
    try:
        cursors = await client.execute_command("HVALS", f"{stream}:cursors")
    except (RedisError, OSError) as error:
        raise LogUnavailable(f"Redis does not answer: {error}") from error
    return min(map(int, cursors), default=0) == position or min(edges) <= position


async def begin_after(
    client: Any, stream: str, consumer: str, position: int, complete: bool, ends: Ends
) -> None:
    """See `server.log.Log.start_after`. Redis may lose its end by its mode, so that is said and the start goes on."""
    cursor = ("HSET", f"{stream}:cursors", consumer, position)
    if position == ends.last and not ends.newest:  # trimming may have ended before the cursor was written
        with contextlib.suppress(ResponseError):  # out of memory
            await client.execute_command(*cursor)
    if position <= ends.last:
        await _refuse_deleted(client, stream, position, ends)
        return
    if not complete:
        log.error(
            "log: Redis has lost the end of %s: it ends before %s, with which the store ends. Entries after that, "
            "if there were any, are missing, with an unknown number of rows", stream, format_id(position),
        )  # fmt: skip
    # an entry is what makes the stream exist; it goes at once, its id stays the last one
    await client.execute_command("XADD", stream, format_id(position), "e", b"-")
    await client.execute_command("XTRIM", stream, "MINID", "=", format_id(position + 1))
    await client.execute_command(*cursor)


async def _refuse_deleted(client: Any, stream: str, position: int, ends: Ends) -> None:
    """Raises LogDamaged where entries above a position have been taken out of the stream by somebody.

    Those that Redis itself has lost under a server that lived on were noted (see redis_held): that is said only.
    """
    if ends.deleted > position:
        raise LogDamaged(
            f"entries of {stream} after entry {position}, with which the store ends, have been deleted by somebody, "
            f"the newest of them entry {ends.deleted}, with an unknown number of rows"
        )
    newest = max(ends.newest, position)
    if ends.last <= newest:
        return
    try:
        lost = int(await client.execute_command("GET", lost_key(stream)) or 0)
    except (RedisError, OSError) as error:
        raise LogUnavailable(f"Redis does not answer: {error}") from error
    if lost < ends.last:
        raise LogDamaged(
            f"{stream} ends with entry {newest}, but had reached entry {ends.last}: what came after it has been taken "
            "out by somebody, with an unknown number of rows"
        )
    log.error(
        "log: Redis has lost the entries of %s after %s, up to %s; they are missing, with an unknown number of rows",
        stream, format_id(newest), format_id(ends.last),
    )  # fmt: skip
