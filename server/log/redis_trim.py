"""How the stream on Redis is trimmed: by anybody, or by its owner only, who is checked in the same step."""

from __future__ import annotations

from typing import Any

from redis.exceptions import RedisError

from server.log import Lease, LogMissed, LogUnavailable
from server.log.redis_client import TROUBLE
from server.log.redis_lease import owner_text
from server.log.redis_names import SEQUENCE_BITS, format_id, text

QUIET_MS = 100

FENCED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local function less(a, b) return #a < #b or (#a == #b and a < b) end
local least = ARGV[3]
local cursors = redis.call('HGETALL', KEYS[2])
for i = 1, #cursors, 2 do
    if cursors[i] ~= ARGV[2] and less(cursors[i + 1], least) then least = cursors[i + 1] end
end
if least ~= '0' then
    local ms, sequence = '', 0
    for digit in string.gmatch(least, '%d') do
        sequence = sequence * 10 + tonumber(digit)
        ms = ms .. math.floor(sequence / 1048576)
        sequence = sequence % 1048576
    end
    redis.call('XTRIM', KEYS[3], 'MINID', '=', string.gsub(ms, '^0+(%d)', '%1') .. '-' .. sequence + 1)
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
"""
"""Positions are decimal texts here: Lua's numbers end at 53 bits. So they are compared as texts without leading zeros
and divided digit by digit. The id above a position may have a sequence of 2^20, which no entry has: it means the same
as the next ms. XTRIM comes first because it needs no memory; after it Redis lets HSET pass too."""


async def trim(client: Any, stream: str, consumer: str, upto: int, lease: Lease | None) -> None:
    """See `server.log.Log.trim`. With a lease, raises LogUnavailable where another owns the stream."""
    if lease is None:
        await _by_anybody(client, stream, consumer, upto)
        return
    fence, done = lease.fence, 0
    if fence:
        keys = (f"{stream}:lease", f"{stream}:cursors", stream)
        owner = owner_text(lease.name, fence)
        done = await client.execute_command("EVAL", FENCED, len(keys), *keys, owner, consumer, upto)
    if not done:
        raise LogUnavailable("the stream cannot be trimmed: another engine owns the stream, or none does")


async def _by_anybody(client: Any, stream: str, consumer: str, upto: int) -> None:
    cursors = f"{stream}:cursors"
    answer = await client.execute_command("HGETALL", cursors)
    others = [int(at) for name, at in answer.items() if text(name) != consumer]
    least = min([upto, *others])
    if least > 0:  # before the cursor is written, which a Redis without memory refuses
        await client.execute_command("XTRIM", stream, "MINID", "=", format_id(least + 1))
    await client.execute_command("HSET", cursors, consumer, upto)


async def check_nothing_was_trimmed(client: Any, stream: str, after: int, first: int) -> None:
    """Raises LogMissed where entries between two that were read one after the other may have been trimmed.

    Whoever owns a stream does not wait for one that has stood still. Asked only where the two are QUIET_MS apart: an
    owner's flushes, of which it trims behind the last but one, are further apart than that.
    """
    if first - after <= QUIET_MS << SEQUENCE_BITS:
        return
    try:
        cursors = await client.execute_command("HVALS", f"{stream}:cursors")
    except (RedisError, *TROUBLE) as error:
        raise LogUnavailable(f"Redis does not answer: {error}") from error
    if after < min(map(int, cursors), default=0) < first:
        raise LogMissed(
            f"{stream} has been trimmed beyond entry {after}, up to which this process had read: it was away for too "
            "long"
        )
