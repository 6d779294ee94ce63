"""What a large flush costs the engine that does most of it: alone, and with others, each of which writes its share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from engine.flushes import Frozen, freeze
from engine.levels import HOUR, SECOND
from engine.rollup import ALL_OF_IT, Share, roll
from engine.terms import NOBODY, PARTITIONS, deal_out, partition_of
from server.store import BlockKey
from server.subscribers.rollups import list_blocks, read_panes
from server.wire.blocks import encode
from tests.benchmarks.machine import running
from tests.benchmarks.table import Figure
from tests.cost_support import GAUGES, River, Tallying
from tests.dynamodb_support import MotoServer, aws_at

MOST = 0.65
"""Of the CPU of one that is alone, with two: what is dealt out is never quite even, and all merge their open panes."""


def flush(folder: Path, quick: bool) -> Iterator[Figure]:
    """CPU-seconds of rolling up and writing an hour of many metrics: of the engine with the largest share."""
    names = 300 if quick else 1_500
    with ExitStack() as stack:
        dynamodb = stack.enter_context(running(MotoServer(folder / "moto")))
        client = Tallying.at(aws_at(dynamodb.url), "shares")
        river = stack.enter_context(River(client, names, 1, GAUGES, flushes=False))
        river.flow(0, HOUR + 100 * SECOND)
        taken = freeze(river.engine)
        alone = _cost(river, taken, ALL_OF_IT)
        spent = {count: max(_shares(river, taken, count)) for count in (2, 4)}
    per = alone / river.samples * 1e6
    apart = ", ".join(f"of {count} {each:.2f}" for count, each in spent.items())
    note = f"{names:,} metrics, a value every 10 s: alone {alone:.2f} CPU-s, {per:.2f} for a million samples; {apart}"
    yield Figure("large flush, the largest of 2 engines' shares", spent[2] / alone, "times", MOST, note=note)


def _shares(river: River, taken: Frozen, count: int) -> Iterator[float]:
    """Of each of some engines."""
    dealt = deal_out([NOBODY] * PARTITIONS, [f"engine {number}" for number in range(count)])
    for engine in sorted(set(dealt)):
        yield _cost(river, taken, Share(partial(_is_held, dealt, engine), singles=False))


def _is_held(dealt: list[str], engine: str, name: str) -> bool:
    return dealt[partition_of(name)] == engine


def _cost(river: River, taken: Frozen, share: Share) -> float:
    """CPU-seconds of this process for a share: what an engine does from `begin` on to the mark that it is written."""
    store, (version,) = river.store, river.store.versions(1)
    begun = time.process_time()
    blocks, _ = roll(
        taken.pending, river.engine.catalogue, lambda wanted: read_panes(store, wanted),
        lambda *place: list_blocks(store, *place), share,
    )  # fmt: skip
    encoded = {BlockKey(*block): encode(rows, tight=True) for block, rows in blocks.items() if block.level}
    store.write_share(taken.generation, version, encoded, lambda: True)
    return time.process_time() - begun
