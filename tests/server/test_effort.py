"""The effort of a task is what it does, not what it waits for."""

from __future__ import annotations

import asyncio
import time

from server.effort import Effort, on_thread


async def test_waiting_for_room_on_a_thread_and_for_the_loop_is_no_effort() -> None:
    room = asyncio.Semaphore(1)

    async def one() -> tuple[float, float]:
        effort = Effort()
        await on_thread(room, time.sleep, 0.3)
        return effort.seconds, effort.elapsed

    asyncio.get_running_loop().call_later(0.2, time.sleep, 0.5)  # nobody else goes on meanwhile
    first, second = await asyncio.gather(one(), one())
    for seconds, elapsed in (first, second):
        assert 0.29 < seconds < elapsed - 0.3


async def test_what_fails_on_a_thread_is_raised_and_counted_too() -> None:
    effort = Effort()
    try:
        await on_thread(asyncio.Semaphore(1), int, "x")
    except ValueError as error:
        assert "'x'" in str(error)
    else:
        raise AssertionError("it was not raised")
    assert 0 <= effort.seconds <= effort.elapsed


async def test_a_thread_without_an_effort() -> None:
    assert await on_thread(asyncio.Semaphore(1), lambda a, b: a + b, 1, b=2) == 3
