"""The tables as threads see them: items are put, read, looked through and deleted by key.

Every table has the key (pk, sk), both text, and may have an `expires` (whole seconds since 1970): from then on no
reading call returns the item, and DynamoDB deletes it when it gets to it. Reads are consistent. StoreUnavailable means
that DynamoDB has not said yes in time: what was to be written may have been written, wholly or in part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from server.store import Aws
from server.store.dynamodb.batches import Put, reading_batches, side_by_side, writing_batches
from server.store.dynamodb.failures import Passing, Stale
from server.store.dynamodb.tables import EXPIRES, open_tables
from server.store.dynamodb.transport import BUDGET_SECONDS, Patience, Transport
from server.store.dynamodb.usage import Usage
from server.store.dynamodb.values import (
    Item,
    Key,
    Value,
    Wire,
    as_json,
    check_item,
    check_key,
    check_keys,
    from_wire,
    item_size,
    key_of,
    read_units,
    same,
    to_wire,
    wire_key,
    wire_value,
    write_units,
)

__all__ = ["Client", "Item", "Key", "Stale", "Usage", "Value"]

Range = tuple[str, str, str | None]
"""(pk, first sk, last sk), both ends inside; "" and None leave them open."""

LEFT_OVER = Passing("items were left over because the table is too busy", throttled=True, doubtful=False)


class Client:
    """A set of tables. Blocking; any number of threads may use it, an event loop must not."""

    def __init__(self, transport: Transport, usage: Usage, clock: Callable[[], float] = time.time) -> None:
        self.usage = usage
        self._transport = transport
        self._clock = clock

    @classmethod
    def open(
        cls, region: str, prefix: str, aws: Aws, tables: Sequence[str], *, budget: float = BUDGET_SECONDS,
        to_read: bool = False,
    ) -> Client:  # fmt: skip
        """The tables `{prefix}-{table}` of a region, looked at first, and made where `aws` says so.

        budget: seconds a request may take while nothing of it gets done. to_read: nothing is made or written.
        StoreUnavailable where AWS or a table cannot
        be reached, StoreVersion where a table is not one of ours; each says what to do.
        """
        usage = Usage(tables)
        transport = Transport(region, prefix, aws, usage, budget)
        try:
            create = aws.create_tables and not to_read
            transport.run(open_tables(transport, tables, create=create, to_read=to_read))
        except BaseException:
            transport.close()
            raise
        return cls(transport, usage)

    def get(self, table: str, key: Key) -> Item | None:
        """The item of a key, None where there is none."""
        check_key(key)
        wire = self._transport.run(self._get(table, key))
        item = from_wire(wire) if wire else None
        return item if item and self._lives(item) else None

    async def _get(self, table: str, key: Key) -> Wire | None:
        body = {"TableName": self._transport.full_name(table), "Key": wire_key(key), "ConsistentRead": True}
        wire: Wire | None = (await self._transport.send("GetItem", table, body)).get("Item")
        self._has_read(table, [from_wire(wire)] if wire else [], each=True, asked=1)
        return wire

    def get_many(self, table: str, keys: Iterable[Key]) -> dict[Key, Item]:
        """key -> item, in the order asked for; those without an item are absent. ValueError for a repeat."""
        wanted = list(keys)
        check_keys(wanted)
        batches = reading_batches(wanted)
        found = self._transport.run(side_by_side(partial(self._get_batch, table, batch) for batch in batches))
        items = {key_of(item): item for batch in found for item in batch if self._lives(item)}
        return {key: items[key] for key in wanted if key in items}

    async def _get_batch(self, table: str, keys: Sequence[Key]) -> list[Item]:
        name = self._transport.full_name(table)
        patience = self._transport.patience("BatchGetItem", table)
        waiting = [wire_key(key) for key in keys]
        found: list[Item] = []
        while waiting:
            body = {"RequestItems": {name: {"Keys": waiting, "ConsistentRead": True}}}
            answer = await self._transport.send("BatchGetItem", table, body, patience)
            items = [from_wire(wire) for wire in answer.get("Responses", {}).get(name, [])]
            left = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", [])
            self._has_read(table, items, each=True, asked=len(waiting) - len(left))
            found += items
            if left:
                await self._left_over(table, patience, done=len(left) < len(waiting))
            waiting = left
        return found

    def query(
        self, table: str, pk: str, first: str = "", last: str | None = None, *,
        backwards: bool = False, limit: int | None = None,
    ) -> list[Item]:  # fmt: skip
        """The items of a pk whose sk lies between first and last, both inside, in order of sk or the reverse of it."""
        return self._transport.run(self._query(table, (pk, first, last), backwards, limit))

    def query_many(self, table: str, ranges: Iterable[Range]) -> list[list[Item]]:
        """The items of each range, in the order of the ranges; they are asked for side by side."""
        return self._transport.run(side_by_side(partial(self._query, table, each) for each in ranges))

    async def _query(
        self, table: str, range: Range, backwards: bool = False, limit: int | None = None
    ) -> list[Item]:
        body = self._query_body(table, range, backwards)
        found: list[Item] = []
        while body is not None and (limit is None or len(found) < limit):
            if limit is not None:
                body["Limit"] = limit - len(found)
            answer = await self._transport.send("Query", table, body)
            items = [from_wire(wire) for wire in answer["Items"]]
            self._has_read(table, items, each=False)
            found += filter(self._lives, items)
            after = answer.get("LastEvaluatedKey")
            body = body | {"ExclusiveStartKey": after} if after else None
        return found

    def _query_body(self, table: str, range: Range, backwards: bool) -> dict[str, Any] | None:
        pk, first, last = range
        check_key((pk, first or "-"))
        condition, values = "pk = :pk", {":pk": pk}
        if last is not None:
            check_key((pk, last or "-"))
            if last < first or not last:
                return None
            # "" is no sk for DynamoDB, even in a condition, so an open beginning has no place in it.
            condition += " AND sk BETWEEN :first AND :last" if first else " AND sk <= :last"
            values[":last"] = last
        elif first:
            condition += " AND sk >= :first"
        if first:
            values[":first"] = first
        return {
            "TableName": self._transport.full_name(table),
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": to_wire(values),
            "ConsistentRead": True,
            "ScanIndexForward": not backwards,
        }

    def put(self, table: str, item: Item, expected: Mapping[str, Value | None] | None = None) -> None:
        """Write an item over what is at its key.

        expected: attributes that must have these values there now, or not be there where the value is None; Stale when
        they have not, and nothing is written. An answer that was lost on its way makes no false Stale: what is found at
        the key is compared with what was sent.
        """
        size = check_item(item)
        wire = to_wire(item)
        body = {"TableName": self._transport.full_name(table), "Item": wire, **_condition(expected or {})}
        self._transport.run(self._put(table, wire, size, as_json(body)))

    async def _put(self, table: str, wire: Wire, size: int, body: bytes) -> None:
        patience = self._transport.patience("PutItem", table)
        try:
            await self._transport.send("PutItem", table, body, patience)
        except Stale:
            self.usage.add(table, write_units=write_units(size))  # a refused put is billed as well
            if not patience.doubtful:
                raise
            there = await self._get(table, (wire["pk"]["S"], wire["sk"]["S"]))
            if there is None or not same(there, wire):
                raise
        else:
            self.usage.add(table, write_units=write_units(size))
        self.usage.add(table, items=1, bytes=size)

    def put_many(self, table: str, items: Iterable[Item]) -> None:
        """Write items over what is at their keys, in no order. ValueError for a key that occurs twice."""
        wanted = list(items)
        for item in wanted:
            check_item(item)
        check_keys(map(key_of, wanted))
        self._write(table, map(Put.of, wanted))

    def delete_many(self, table: str, keys: Iterable[Key]) -> None:
        """Delete what is at these keys, in no order; one without an item is passed over. ValueError for a repeat."""
        wanted = list(keys)
        check_keys(wanted)
        self._write(table, map(Put.delete, wanted))

    def _write(self, table: str, puts: Iterable[Put]) -> None:
        batches = writing_batches(puts)
        self._transport.run(side_by_side(partial(self._write_batch, table, batch) for batch in batches))

    async def _write_batch(self, table: str, puts: list[Put]) -> None:
        name = self._transport.full_name(table)
        patience = self._transport.patience("BatchWriteItem", table)
        waiting = {put.key: put for put in puts}
        while waiting:
            parts = b",".join(put.request for put in waiting.values())
            body = b'{"RequestItems":{%s:[%s]}}' % (as_json(name), parts)
            answer = await self._transport.send("BatchWriteItem", table, body, patience)
            left = {_request_key(each) for each in answer.get("UnprocessedItems", {}).get(name, [])}
            done = [put for key, put in waiting.items() if key not in left]
            self.usage.add(
                table, write_units=sum(write_units(put.size) for put in done), items=len(done),
                bytes=sum(put.size for put in done),
            )  # fmt: skip
            waiting = {key: put for key, put in waiting.items() if key in left}
            if waiting:
                await self._left_over(table, patience, done=bool(done))

    async def _left_over(self, table: str, patience: Patience, *, done: bool) -> None:
        self.usage.add(table, throttled=1, retries=1)
        if done:
            patience.progress()
        await patience.pause(LEFT_OVER)

    def _lives(self, item: Item) -> bool:
        expires = item.get(EXPIRES)
        return not isinstance(expires, int | float) or expires > self._clock()

    def _has_read(self, table: str, items: Sequence[Item], *, each: bool, asked: int = 0) -> None:
        """Count what was read. each: every item is rounded up by itself, and an absent one costs a unit."""
        sizes = [item_size(item) for item in items]
        units = sum(map(read_units, sizes)) + asked - len(items) if each else read_units(sum(sizes))
        self.usage.add(table, read_units=units, items=len(items), bytes=sum(sizes))

    def close(self) -> None:
        """Break off what is under way, its callers get StoreClosed, and end the thread. Twice does nothing."""
        self._transport.close()


def _request_key(request: dict[str, Any]) -> Key:
    """The key that an unprocessed part of a BatchWriteItem is about."""
    wire = request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
    return wire["pk"]["S"], wire["sk"]["S"]


def _condition(expected: Mapping[str, Value | None]) -> dict[str, Any]:
    """The members of a PutItem that make it depend on what is there. No name stands in the text: it may be reserved."""
    if not expected:
        return {}
    terms, names, values = [], {}, {}
    for number, (name, value) in enumerate(expected.items()):
        names[f"#n{number}"] = name
        if value is None:
            terms.append(f"attribute_not_exists(#n{number})")
        else:
            terms.append(f"#n{number} = :v{number}")
            values[f":v{number}"] = wire_value(value)
    condition = {"ConditionExpression": " AND ".join(terms), "ExpressionAttributeNames": names}
    return condition | ({"ExpressionAttributeValues": values} if values else {})
