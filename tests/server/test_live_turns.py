"""Turns: many who become due at once leave room for requests, and the most urgent goes first."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from server.subscribers.live_turns import ROUNDS, Turns


async def test_queries_that_are_due_at_once_take_turns_with_everything_else() -> None:
    turns, order = Turns(), list[object]()

    async def evaluate(number: int) -> None:
        await turns.take(60 if number == 1 else 0.0)
        order.append(number)

    tasks = [asyncio.create_task(evaluate(number)) for number in range(6)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    for _ in range(8 * ROUNDS):
        order.append("request")
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [each for each in order if each != "request"] == [0, 3, 4, 5, 1], "the patient one comes last"
    assert not any(isinstance(one, int) and isinstance(other, int) for one, other in pairwise(order)), order
    await asyncio.wait_for(evaluate(7), 1)


async def test_a_turn_that_has_become_urgent_comes_before_others() -> None:
    turns, order = Turns(), list[str]()

    async def wait(name: str, turn: asyncio.Future[None]) -> None:
        await turn
        order.append(name)

    late, first, second = (turns.ask(patience) for patience in (60.0, 30.0, 40.0))
    tasks = [asyncio.create_task(wait(*each)) for each in (("late", late), ("first", first), ("second", second))]
    turns.hurry(late, 0.0)
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert order == ["late", "first", "second"]
    await asyncio.wait_for(turns.take(1), 5)  # what is left of the hurried one is nobody's turn
