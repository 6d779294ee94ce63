"""The newest episodes of all rules, bounded by rule and in all."""

from __future__ import annotations

from collections import deque
from functools import partial
from heapq import nlargest
from typing import Any

from engine.rules.model import Episode
from engine.rules.saved import Texts, episodes_text, read_episode

MAX_EPISODES, MAX_OF_A_RULE = 5_000, 200


class History:
    """Episodes by rule, those that go on among them."""

    def __init__(self) -> None:
        self._of: dict[str, deque[Episode]] = {}
        self._held = 0
        self._texts = Texts()

    def of(self, rule: str) -> list[Episode]:
        """Of a rule, newest first, as far as they are kept."""
        return list(reversed(self._of.get(rule, ())))

    def add(self, episode: Episode) -> None:
        """One has begun."""
        kept = self._of.setdefault(episode.rule, deque())
        kept.append(episode)
        self._held += 1
        if len(kept) > MAX_OF_A_RULE:
            kept.popleft()
            self._held -= 1
        elif self._held > MAX_EPISODES:
            self._make_room()

    def changed(self, rule: str) -> None:
        """Episodes of a rule are not what they were."""
        self._texts.changed(rule)

    def _make_room(self) -> None:
        """The rules that have most give some; several at a time, as it is looking for them that takes time."""
        for rule in nlargest(max(1, MAX_EPISODES // 50), self._of, key=lambda rule: len(self._of[rule])):
            self._of[rule].popleft()
            self._held -= 1
            self._texts.changed(rule)
            if not self._of[rule]:
                del self._of[rule]

    def text(self) -> dict[str, str]:
        """All of it as JSON, by rule."""
        found = {rule: self._texts.of(rule, partial(episodes_text, kept)) for rule, kept in self._of.items()}
        self._texts.written()
        return found

    def restore(self, told: dict[str, Any], by_id: dict[str, Episode]) -> None:
        """What `text` gave, decoded, on a new history. by_id: takes each episode that is read."""
        self._of = {rule: deque(read_episode(each, by_id) for each in kept) for rule, kept in told.items()}
        self._held = sum(map(len, self._of.values()))
