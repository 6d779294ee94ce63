"""A tight block gives back every bit, whatever its numbers are, and takes few bytes for what people measure."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from engine.panes import ALL, Panes, of_samples
from engine.sketches.columns import PARTS
from server.store import StoreDamaged
from server.wire import columns
from server.wire.blocks import Block, encode
from server.wire.predictions import PREDICTED, Predictions
from tests.engine_support import KEYS, T0, World, entry

kinds = st.sampled_from([np.dtype("<i1"), np.dtype("<i4"), np.dtype("<i8"), np.dtype("<f8")])
arrays = st.tuples(kinds, st.integers(0, 40)).flatmap(lambda of: hypothesis_numpy.arrays(of[0], of[1]))
decimals = st.lists(st.integers(-(10**9), 10**9), max_size=40).map(lambda given: np.array(given, np.float64) / 100)
edges = st.sampled_from([
    np.array([0.0, -0.0]), np.array([-0.0, 0.0, 1.0]), np.array([np.inf, 1.5]), np.array([5e-324, 1e308, -1e308]),
    np.array([-(1 << 63), (1 << 63) - 1, 0]), np.array([0.1, 0.2, 0.30000000000000004]), np.array([2.0**53, 1.0]),
])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(arrays, decimals, edges), st.integers(-5, 5))
def test_every_column_comes_back_to_the_last_bit(array: np.ndarray[Any, Any], apart: int) -> None:
    near = np.arange(len(array), dtype=np.int64) + apart
    coding, data = columns.pack(array, {1: near, 2: near}, 1, 2)
    found = columns.unpack(coding, data, len(array), array.dtype, {1: near, 2: near}.__getitem__)
    assert found.dtype == array.dtype and found.tobytes() == array.tobytes()


@settings(max_examples=400, deadline=None)
@given(st.one_of(arrays, decimals, edges), st.data())
def test_columns_near_to_what_is_predicted_come_back_to_the_last_bit(
    array: np.ndarray[Any, Any], data: st.DataObject
) -> None:
    if array.dtype.itemsize != 8:
        array = array.astype(np.int64)
    guessed = data.draw(hypothesis_numpy.arrays(np.int64, len(array), elements=st.integers(-2, 2)))
    near = (array.view(np.int64) + guessed).view(array.dtype)
    for predicted in (array, near, guessed.view(array.dtype)):
        coding, packed = columns.pack(array, {}, None, None, predicted)
        found = columns.unpack(coding, packed, len(array), array.dtype, {}.__getitem__, partial(np.asarray, predicted))
        assert found.dtype == array.dtype and found.tobytes() == array.tobytes()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 64), st.integers(0, 70), st.integers(0, 1 << 32))
def test_numbers_of_any_width_come_back(bits: int, count: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, (1 << bits) - 1, count, np.uint64, endpoint=True)
    data = columns._planes(numbers)
    found, used = columns._of_planes(data + b"more", count)
    assert found.tolist() == numbers.tolist() and used == len(data)
    assert len(data) <= 5 + max(1, -(-bits // 8)) * count


def test_what_is_predicted_is_what_panes_come_to() -> None:
    rng = np.random.default_rng(7)
    counts = rng.integers(0, 65, 200)
    values = np.round(rng.normal(0, 100, int(counts.sum())), 2)
    values[:3] = 0.0, -0.0, 0.0
    found = Predictions(np.concatenate([[0], np.cumsum(counts)]), values)
    at = 0
    for row, count in enumerate(counts.tolist()):
        mine = values[at : at + count]
        at += count
        assert found["count"][row] == count
        if count:
            assert (found["first"][row], found["last"][row]) == (mine[0], mine[-1])
            assert (found["min"][row], found["max"][row]) == (mine.min(), mine.max())
            assert found["sum"][row] == pytest.approx(mine.sum(), abs=1e-9)
            assert found["m2"][row] == pytest.approx(((mine - mine.mean()) ** 2).sum(), abs=1e-6)
        else:
            assert all(found[name][row] == 0 for name in PREDICTED)


@pytest.mark.parametrize(
    ("pointers", "values"), [([], 0), ([0, 2, 1], 1), ([0, 65], 65), ([1, 2], 2), ([0, 1], 2), ([0, -1, 3], 3)]
)
def test_pointers_that_are_none_are_refused(pointers: list[int], values: int) -> None:
    with pytest.raises(ValueError, match="pointers"):
        Predictions(np.array(pointers, np.int64), np.zeros(values))


def panes(values: list[float], times: list[int], series: list[int], positions: list[int]) -> Panes:
    n = len(values)
    starts = np.array(times) // 5000 * 5000
    given = np.array(values)
    return of_samples(
        np.array(series, np.int32), starts, np.array(times), np.array(positions), given, np.zeros(n)
    )  # fmt: skip


def same(one: Panes, other: Panes) -> bool:
    pairs = [(one.series, other.series), (one.start, other.start)]
    pairs += [(one.state[name], other.state[name]) for name in one.state]
    pairs += [(getattr(one.sketches, name), getattr(other.sketches, name)) for name in PARTS]
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() and a.dtype == b.dtype for a, b in pairs)


def test_whole_blocks_come_back_with_buckets_and_registers() -> None:
    rng = random.Random(4)
    world = World(recount=False)
    for second in range(90):
        now = T0 + second * 1000
        rows = [(rng.choice(KEYS), now + rng.randrange(900), rng.lognormvariate(3, 2)) for _ in range(300)]
        world.apply(entry(now + 950, rows, sketched=["m"]))
    world.apply(entry(T0 + 400_000))
    world.flush()
    assert any(Block(data).panes(ALL).sketches.registers.size for _, data in world.blocks.values())  # type: ignore[union-attr]
    for _, data in world.blocks.values():
        before = Block(data).panes(ALL)
        tight = encode(before, tight=True)
        assert same(Block(tight).panes(ALL), before)
        assert len(tight) < len(data)


def test_an_hour_of_a_gauge_takes_little() -> None:
    rng = random.Random(5)
    times = [T0 + second * 10_000 + rng.randrange(40) for second in range(360)]
    positions = [(time + rng.randrange(1, 4)) << 20 for time in times]
    level = [50 + rng.gauss(0, 1) for _ in times]
    rounded = encode(panes([round(v, 2) for v in level], times, [0] * 360, positions), tight=True)
    assert len(rounded) < 1600, "two decimals: less than 4.5 bytes a sample, time and place in the log included"
    exact = encode(panes(level, times, [0] * 360, positions), tight=True)
    assert len(exact) < 3900


@pytest.mark.parametrize("tight", [False, True])
def test_damaged_blocks_are_refused_and_nothing_else(tight: bool) -> None:
    rng = random.Random(6)
    times = [T0 + i * 1000 + rng.randrange(500) for i in range(200)]
    data = encode(panes([rng.random() for _ in times], times, [i % 3 for i in range(200)], times), tight=tight)
    refused = 0
    for _ in range(600):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        damaged = damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])]
        try:
            Block(bytes(damaged)).panes(ALL)
        except StoreDamaged:
            refused += 1
    assert refused > 200
