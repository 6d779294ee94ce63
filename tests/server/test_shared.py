"""A process on a shared log whose log has lost the beginning of a flush ends, instead of counting its rows twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.engine import Delivery, Engine, Options
from engine.flushes import BEGIN, DONE, OWNER
from engine.model import Entry, Mark
from server.log import LogDamaged
from server.shared import Shared


class Following:
    """The part of a pipeline that is looked at."""

    def __init__(self) -> None:
        self.engine = Engine(Options(shared=True))
        self.subscribers: list[Callable[[Delivery], None]] = []
        self.before_marks: Any = None
        self.stored = 0
        Shared(self, None, None, {}, self._look)  # type: ignore[arg-type]

    def _look(self) -> None:
        self.stored += 1

    def see(self, *marks: Mark) -> None:
        """Applies an entry with marks, as a pipeline does."""
        _, delivery = self.engine.apply(Entry(1_700_000_000_000, marks=list(marks)), self.engine.position + 1)
        for subscriber in self.subscribers:
            subscriber(delivery)


ROLLED = (0, 0, 0, 0)


def test_whole_flushes_and_new_owners_are_followed() -> None:
    following = Following()
    following.see(Mark(OWNER, 0, 5, ROLLED))
    following.see(Mark(BEGIN, 1, 5))
    following.see(Mark(DONE, 1, 5, ROLLED))
    following.see(Mark(BEGIN, 2, 5))
    following.see(Mark(OWNER, 2, 6, ROLLED))
    assert (following.engine.generation, following.stored) == (2, 3)
    following.see(Mark(DONE, 9, 5, ROLLED))  # of an owner that was replaced
    assert following.engine.generation == 2


@pytest.mark.parametrize("mark", [Mark(OWNER, 1, 6, ROLLED), Mark(DONE, 1, 5, ROLLED)])
def test_a_flush_whose_beginning_is_lost_ends_the_process(mark: Mark) -> None:
    following = Following()
    following.see(Mark(OWNER, 0, 5, ROLLED))
    with pytest.raises(LogDamaged, match="has lost where flush 1 begins"):
        following.see(mark)
