"""The client of DynamoDB with its tables in a dict, so that what happens at every single item can be tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from server.store.dynamodb.client import Client, Item, Key, Range, Stale, Usage, Value
from server.store.dynamodb.values import check_item, check_keys, key_of

Tables = dict[tuple[str, Key], Item]


class Killed(BaseException):
    """The process ends here: nobody catches this."""


class MemoryClient(Client):
    """left: how many items may still be put or deleted before `fault` is raised, once; None for any number.

    late: the item at which it is raised is written all the same, as where an answer is lost.
    """

    def __init__(self, tables: Tables) -> None:
        self.usage = Usage(("state", "blocks", "events"))
        self.tables = tables
        self.left: int | None = None
        self.fault: BaseException = Killed()
        self.late = False
        self.changes = 0

    def _change(self, place: tuple[str, Key], item: Item | None) -> None:
        broken = self.left == 0
        if not broken or self.late:
            self.changes += 1
            if item is None:
                self.tables.pop(place, None)
            else:
                self.tables[place] = dict(item)
        if broken:
            self.left = None
            raise self.fault
        if self.left is not None:
            self.left -= 1

    def get(self, table: str, key: Key) -> Item | None:
        found = self.tables.get((table, key))
        return dict(found) if found is not None else None

    def get_many(self, table: str, keys: Iterable[Key]) -> dict[Key, Item]:
        wanted = list(keys)
        check_keys(wanted)
        return {key: dict(self.tables[table, key]) for key in wanted if (table, key) in self.tables}

    def query(
        self, table: str, pk: str, first: str = "", last: str | None = None, *,
        backwards: bool = False, limit: int | None = None,
    ) -> list[Item]:  # fmt: skip
        found = [
            dict(item) for (of, (hash_key, sk)), item in self.tables.items()
            if of == table and hash_key == pk and sk >= first and (last is None or sk <= last)
        ]  # fmt: skip
        return sorted(found, key=key_of, reverse=backwards)[:limit]

    def query_many(self, table: str, ranges: Iterable[Range]) -> list[list[Item]]:
        return [self.query(table, *each) for each in ranges]

    def put(self, table: str, item: Item, expected: Mapping[str, Value | None] | None = None) -> None:
        check_item(item)
        there = self.tables.get((table, key_of(item)), {})
        if any(there.get(name) != value for name, value in (expected or {}).items()):
            raise Stale("not as expected")
        self._change((table, key_of(item)), item)

    def put_many(self, table: str, items: Iterable[Item]) -> None:
        wanted: Sequence[Item] = list(items)
        check_keys(map(key_of, wanted))
        for item in wanted:
            check_item(item)
            self._change((table, key_of(item)), item)

    def delete_many(self, table: str, keys: Iterable[Key]) -> None:
        wanted = list(keys)
        check_keys(wanted)
        for key in wanted:
            self._change((table, key), None)

    def close(self) -> None:
        """Nothing is open."""
