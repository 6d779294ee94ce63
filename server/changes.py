"""Telling other processes that a document has been saved or deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Changed = Callable[[str, str], Awaitable[None]]
"""Told the kind and id of a document that has been saved or deleted here."""


async def nobody_else(kind: str, id: str) -> None:
    """Where no other process has to know."""
