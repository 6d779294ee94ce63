"""A task that forgets a cancellation ends all the same."""

from __future__ import annotations

import asyncio

from server.tasks import end


async def forgetful(times: int) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


async def failing() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        raise ValueError("on its way out")


async def test_all_end_whatever_they_do_with_a_cancellation() -> None:
    tasks = [asyncio.create_task(work) for work in (forgetful(0), forgetful(2), failing(), asyncio.sleep(0))]
    await asyncio.sleep(0.01)
    await asyncio.wait_for(end(*tasks), 10)
    assert all(task.done() for task in tasks)
    await end(*tasks)
    await end()
