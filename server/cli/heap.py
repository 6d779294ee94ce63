"""The heap: the C library's, and Python's collector of cycles.

Of the first, freed memory stays at hand while the server is busy, and goes back when it is not.

A page that is given back and wanted again costs a fault and its clearing, about 2 µs; at full load that was a tenth of
all CPU time. Kept for ever, what one burst needed would stay. So it is kept, and trimmed when the load has gone.
glibc only (mallopt(3), malloc_trim(3)); other C libraries do as they like.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT = 64 << 20
"""Free bytes at the end of the heap that stay."""
_MAPPED = 16 << 20
"""Arrays from this size on are mapped each by itself, and go back at once."""
LOOK_SECONDS = 2.0
IDLE_BYTES = 1 << 20
"""Appended between two looks at most by a server that is idle."""
_SELDOM = 100_000
"""New objects before a look; the entries that a replay holds at once have fewer, and are dropped without one."""
_usual = gc.get_threshold()


def tame() -> None:
    """Sets the heap up: one for all threads. To be called before there are any."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED)
        libc.mallopt(_M_ARENA_MAX, 1)


def collect_seldom() -> None:
    """To be called before a replay: it makes and drops so many objects that looking for cycles would take a fifth of
    its time."""
    gc.set_threshold(_SELDOM, *_usual[1:])


def collect_as_usual() -> None:
    """After the replay. What lives then lives for ever: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_usual)


async def trim_when_idle(appended: Callable[[], int]) -> None:
    """Gives free memory back once after each busy time; for ever. appended: bytes the log has been given so far."""
    try:
        trim = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return
    before, used = appended(), IDLE_BYTES  # the start and its replay count as a busy time
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = appended()
        grown, before = now - before, now
        used += grown
        if grown < IDLE_BYTES <= used:
            await asyncio.to_thread(trim, 0)
            used = 0
