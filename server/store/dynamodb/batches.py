"""How many items and keys go into one request, and how many requests are under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from server.store.dynamodb.values import Item, Key, as_json, item_size, key_of, to_wire, wire_key

T = TypeVar("T")

MAX_WRITES = 25
MAX_KEYS = 100
MAX_REQUEST_BYTES = 16_000_000
"""Of a BatchWriteItem as it is sent, where bytes take a third more room and the rest of the body a little."""
REST_OF_BODY = 1_024
"""Room for the table's name and the brackets."""
IN_FLIGHT = 8
"""Requests of one call that are under way at once."""


@dataclass(frozen=True, slots=True)
class Put:
    """One part of a BatchWriteItem, ready to be sent."""

    key: Key
    request: bytes
    """Its JSON."""
    size: int
    """Bytes of the item as DynamoDB counts them, 0 of a delete."""

    @classmethod
    def of(cls, item: Item) -> Put:
        """Writes an item that has been checked."""
        return cls(key_of(item), b'{"PutRequest":{"Item":%s}}' % as_json(to_wire(item)), item_size(item))

    @classmethod
    def delete(cls, key: Key) -> Put:
        """Deletes what is at a key that has been checked."""
        return cls(key, b'{"DeleteRequest":{"Key":%s}}' % as_json(wire_key(key)), 0)


def writing_batches(
    puts: Iterable[Put], most: int = MAX_WRITES, most_bytes: int = MAX_REQUEST_BYTES
) -> Iterator[list[Put]]:
    """The parts in batches of at most so many parts and bytes; one at a time, so that they need not all be there."""
    batch: list[Put] = []
    room = most_bytes - REST_OF_BODY
    for put in puts:
        need = len(put.request) + 1
        if batch and (len(batch) == most or need > room):
            yield batch
            batch, room = [], most_bytes - REST_OF_BODY
        batch.append(put)
        room -= need
    if batch:
        yield batch


def reading_batches(keys: Sequence[Key], most: int = MAX_KEYS) -> list[Sequence[Key]]:
    """The keys in batches of at most so many."""
    return [keys[start : start + most] for start in range(0, len(keys), most)]


async def side_by_side(tasks: Iterable[Callable[[], Awaitable[T]]], at_once: int = IN_FLIGHT) -> list[T]:
    """The results in order, at most `at_once` under way. The first failure ends the others and is raised.

    The next of `tasks` is asked for when there is room for it.
    """
    results: dict[int, T] = {}
    left = iter(enumerate(tasks))

    async def work() -> None:
        for number, task in left:
            results[number] = await task()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return [results[number] for number in range(len(results))]
