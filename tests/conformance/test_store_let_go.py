"""Every store counts the rows of the blocks that it deletes for good, in the transaction that deletes them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from server.store import BlockKey, Flush, Store, StoreClosed
from tests.store_support import BACKENDS, new_place, open_at, snapshot_at


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_place(request.param, tmp_path, request)


def test_what_the_last_retention_lets_go_of_is_counted_with_the_deletion(url: str) -> None:
    store = open_at(url)
    blocks = {BlockKey(3, start, f"name {start % 7}"): b"x" * (start % 5) for start in range(350)}
    store.write(Flush(1, 1, [b""], blocks | {BlockKey(2, 0, "finer"): b"xxx"}))
    counted: list[bytes] = []

    def rows(data: bytes) -> int:
        counted.append(data)
        if len(counted) == 300:
            raise StoreClosed("in the middle")
        return len(data)

    assert store.expire(2, 1) == 1 and let_go(url, store) == 0, "its rows are in the coarser blocks"
    with pytest.raises(StoreClosed):
        store.expire(3, 330, rows)
    there = store.read_blocks(list(blocks))
    left = [key for key in blocks if key in there]
    assert 20 < len(left) < 350
    assert let_go(url, store) == sum(len(blocks[key]) for key in blocks if key not in left)
    assert store.expire(3, 330, rows) == len(left) - 20
    assert let_go(url, store) == sum(len(data) for key, data in blocks.items() if key.start < 330)
    store.close()


def let_go(url: str, store: Store) -> int:
    """The number, read beside the store that is open."""
    snapshot = snapshot_at(url)
    assert snapshot is not None
    with contextlib.closing(snapshot):
        return snapshot.number("let_go")
