"""What items weigh, what they cost, and how they are put into requests."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

import pytest

from server.store.dynamodb.batches import MAX_REQUEST_BYTES, Put, reading_batches, side_by_side, writing_batches
from server.store.dynamodb.usage import Counts, Usage
from server.store.dynamodb.values import (
    Value,
    as_json,
    check_item,
    from_wire,
    item_size,
    read_units,
    same,
    to_wire,
    write_units,
)


@pytest.mark.parametrize(
    ("size", "written", "read"),
    [
        (0, 1, 1), (1, 1, 1), (1_024, 1, 1), (1_025, 2, 1),
        (3 * 512, 2, 1),  # "1.5 KB … 2 write capacity units"
        (4_096, 4, 1), (4_097, 5, 2), (8 * 1_024, 8, 2),  # "8 KB … 2 … for one strongly consistent read"
        (10 * 1_024, 10, 3), (1_500 * 64, 94, 24),  # "(1500 * 64 bytes) / 4 KB = 24 read capacity units"
        (409_600, 400, 100),
    ],
)  # fmt: skip
def test_units_are_those_of_the_developer_guide(size: int, written: int, read: int) -> None:
    assert (write_units(size), read_units(size)) == (written, read)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("", 0), ("abc", 3), ("é✓", 5), (b"", 0), (bytes(1000), 1000),
        (0, 1), (0.0, 1), (5, 2), (12, 2), (123, 3), (1234, 3), (120, 3), (1_000_000, 2), (1_200, 2), (-5, 3),
        (0.5, 2), (1.25, 3), (-1.25, 4), (0.001, 2), (1e100, 2), (10**38 - 1, 20), (-(10**38 - 1), 21),
    ],
)  # fmt: skip
def test_an_attribute_weighs_its_name_and_its_value(value: Value, size: int) -> None:
    assert item_size({"né": value}) == 3 + size


def test_numbers_keep_every_digit_they_may_have() -> None:
    for number in (10**38 - 1, -(10**38 - 1), 10**125, 0.1, -1e-130, 9.99e125, 5e-324 * 2**650):
        assert from_wire(json.loads(as_json(to_wire({"n": number})))) == {"n": number}
    for bad in (10**38 + 1, 10**126, 1e126, 9e-131, float("inf"), float("nan"), True, None, [1]):
        with pytest.raises(ValueError):
            to_wire({"n": bad})  # type: ignore[dict-item]
        with pytest.raises(ValueError):
            check_item({"pk": "p", "sk": "s", "n": bad})  # type: ignore[dict-item]


def test_items_are_the_same_however_their_numbers_are_written() -> None:
    sent = to_wire({"pk": "p", "n": 1e23, "f": 2.0, "b": b"x"})
    assert same(sent, {"b": {"B": "eA=="}, "f": {"N": "2"}, "n": {"N": "1" + "0" * 23}, "pk": {"S": "p"}})
    assert not same(sent, sent | {"n": {"N": "100000000000000000000001"}})
    assert not same(sent, sent | {"b": {"S": "eA=="}})
    assert not same(sent, sent | {"more": {"S": ""}})
    assert not same(sent | {"more": {"S": ""}}, sent)


def test_batches_hold_what_they_may_and_no_more() -> None:
    rng = random.Random(1)
    puts = [Put(("p", str(n)), bytes(rng.choice([10, 1_000, 600_000, 2_400_000])), 0) for n in range(300)]
    batches = list(writing_batches(iter(puts)))
    assert [put for batch in batches for put in batch] == puts
    for batch, after in zip(batches, [*batches[1:], []], strict=True):
        size = sum(len(put.request) + 1 for put in batch)
        assert 1 <= len(batch) <= 25 and size <= MAX_REQUEST_BYTES - 1_024
        assert not after or len(batch) == 25 or size + len(after[0].request) + 1 > MAX_REQUEST_BYTES - 1_024
    assert [len(batch) for batch in reading_batches([("p", str(n)) for n in range(201)])] == [100, 100, 1]
    assert list(writing_batches([])) == [] == reading_batches([])


async def test_side_by_side_is_bounded_and_ends_with_the_first_failure() -> None:
    now, most, ended = 0, 0, 0

    def task(number: int, fails: bool = False) -> Callable[[], Awaitable[int]]:
        async def work() -> int:
            nonlocal now, most, ended
            now += 1
            most = max(most, now)
            try:
                await asyncio.sleep(0.001 * (number % 3))
                if fails:
                    raise KeyError(number)
                return number
            finally:
                now -= 1
                ended += 1

        return work

    assert await side_by_side(task(number) for number in range(50)) == list(range(50))
    assert most == 8 and ended == 50
    with pytest.raises(KeyError):
        await side_by_side(task(number, fails=number == 10) for number in range(50))
    assert ended < 50 + 30 and now == 0, "the rest is not begun"


def test_usage_is_counted_by_table() -> None:
    usage = Usage(["a", "b"])
    usage.add("a", write_units=2, requests=1, bytes=7)
    usage.add("a", requests=1)
    usage.add("b", requests=1, throttled=1)
    before = usage.snapshot()
    usage.add("b", requests=1)
    assert before == {"a": Counts(write_units=2, requests=2, bytes=7), "b": Counts(requests=1, throttled=1)}
    assert usage.total() == Counts(write_units=2, requests=4, bytes=7, throttled=1)
    with pytest.raises(KeyError):
        usage.add("c", requests=1)
