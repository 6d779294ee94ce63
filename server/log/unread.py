"""Appends under way, and how their attachments find the records when these come back from a server."""

from __future__ import annotations

import asyncio
from collections import deque


class Append:
    """One append: its answer, and until it is followed, its attachment.

    position: 0 until it is known. repeated: it was sent more than once. payload: kept while it may be looked for.
    """

    __slots__ = ("answer", "attachment", "length", "payload", "position", "repeated")

    def __init__(self, payload: bytes, attachment: object | None, answer: asyncio.Future[int]) -> None:
        self.payload: bytes | None = payload
        self.length = len(payload)
        self.attachment = attachment
        self.answer = answer
        self.position = 0
        self.repeated = False


class Unread:
    """The appends with attachments that no follower has seen, in the order of the calls, which is that of the log."""

    def __init__(self) -> None:
        self._appends: deque[Append] = deque()

    def __len__(self) -> int:
        return len(self._appends)

    def add(self, append: Append) -> None:
        """One more was called."""
        self._appends.append(append)

    def take(self, position: int, payload: bytes) -> object | None:
        """The attachment of the record at `position`, None when it is not one of ours.

        The answer to an append may come after the record itself, so the payload tells it too.
        """
        while self._appends:
            head = self._appends[0]
            if head.position == position or (head.payload is not None and head.payload == payload):
                return self._appends.popleft().attachment
            if not 0 < head.position < position:
                return None
            self._appends.popleft()  # its record was passed: trimmed before it was followed
        return None

    def drop_refused(self) -> None:
        """Forget those that were answered with an error."""
        self._appends = deque(item for item in self._appends if item.position or not item.answer.done())
