"""Sketches and pane states: within their bounds for any values, and the same in whatever order they are merged."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import panes
from engine.kernels.grouping import group
from engine.panes import Panes
from engine.sketches import columns, exponential, hyperloglog
from tests.recount import check_quantile

RANKS = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
Make = Callable[[np.random.Generator, int], np.ndarray]
SHAPES: dict[str, Make] = {
    "lognormal": lambda rng, n: rng.lognormal(3, 2, n),
    "pareto": lambda rng, n: rng.pareto(0.8, n) + 1,
    "bimodal": lambda rng, n: np.where(rng.random(n) < 0.5, rng.normal(10, 1, n), rng.normal(10_000, 50, n)),
    "constant": lambda rng, n: np.full(n, 0.3),
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.normal(0, 1, n)),
    "negative": lambda rng, n: -rng.lognormal(0, 3, n),
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "subnormal": lambda rng, n: rng.integers(0, 5000, n) * 5e-324,
    "huge": lambda rng, n: rng.uniform(0.5, 1, n) * np.finfo(np.float64).max,
    "both huge": lambda rng, n: rng.uniform(-1, 1, n) * np.finfo(np.float64).max,
    "powers of two": lambda rng, n: 2.0 ** rng.integers(-1074, 1024, n),
    "integers": lambda rng, n: rng.integers(0, 200, n).astype(float),
    "everything": lambda rng, n: rng.choice([-1.0, 1.0], n) * 2.0 ** rng.uniform(-1074, 1024, n),
}


def singles(values: np.ndarray, times: np.ndarray | None = None, positions: np.ndarray | None = None) -> Panes:
    n = len(values)
    order = np.arange(n)
    times = order if times is None else times
    return panes.of_samples(
        np.zeros(n, np.int32),
        times,
        times,
        order if positions is None else positions,
        values.astype(float),
        values.astype(float),
    )


def fold_all(part: Panes, unique: bool = False) -> Panes:
    flags = np.ones(len(part), np.bool_) if unique else None
    with np.errstate(over="ignore", invalid="ignore"):
        return panes.fold(part, np.zeros(len(part), np.int64), panes.ALL, flags)[1]


def merge_randomly(part: Panes, rng: np.random.Generator, unique: bool = False) -> Panes:
    """Cut into random pieces, each folded, and the pieces folded by pairs in random order."""
    cuts = np.sort(rng.integers(0, len(part) + 1, rng.integers(1, 12)))
    bounds = [0, *cuts.tolist(), len(part)]
    pieces = [part.take(np.arange(a, b)) for a, b in pairwise(bounds) if a < b]
    pieces = [fold_all(piece, unique) if rng.random() < 0.8 or len(piece) == 1 else piece for piece in pieces]
    while len(pieces) > 1:
        one = pieces.pop(rng.integers(len(pieces)))
        other = pieces.pop(rng.integers(len(pieces)))
        pieces.append(fold_all(panes.concat([one, other]), unique))
    return fold_all(pieces[0], unique)


def quantile(folded: Panes, q: float) -> float:
    assert folded.sketches is not None
    state = folded.state
    return float(columns.quantiles(folded.sketches, state["count"], state["min"], state["max"], q)[0])


def buckets(folded: Panes) -> tuple[list[int], list[int], int, list[float]]:
    assert folded.sketches is not None
    s = folded.sketches
    return s.codes.tolist(), s.counts.tolist(), int(s.scale[0]), sorted(s.values.tolist())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 64, 65, 1000, 20_000])
def test_percentiles_are_within_the_bound_stated(shape: str, count: int) -> None:
    rng = np.random.default_rng(count)
    values = SHAPES[shape](rng, count)
    folded = merge_randomly(singles(values), rng)
    assert folded.sketches is not None
    bound = columns.error_bound(folded.sketches)
    assert (bound == 0) == (count <= 64)
    if shape != "everything":
        assert bound <= 0.0055
    for q in RANKS:
        check_quantile(quantile(folded, q), values.tolist(), q, bound)


@pytest.mark.parametrize("shape", SHAPES)
def test_merging_is_commutative_and_associative(shape: str) -> None:
    rng = np.random.default_rng(7)
    values = SHAPES[shape](rng, 3000)
    part = singles(values)
    whole = fold_all(part, unique=True)
    for _ in range(12):
        shuffled = rng.permutation(len(values))
        other = merge_randomly(part.take(shuffled), rng, unique=True)
        assert buckets(other) == buckets(whole)
        assert other.sketches is not None and whole.sketches is not None
        assert other.sketches.registers.tolist() == whole.sketches.registers.tolist()
        for name in (
            "count",
            "min",
            "max",
            "first",
            "last",
            "first_time",
            "last_time",
            "first_position",
            "last_position",
        ):
            assert other.state[name][0] == whole.state[name][0]
        if "huge" not in shape and shape not in ("powers of two", "everything"):
            magnitude = math.fsum(map(abs, values))
            for name in ("sum", "increase"):
                assert abs(other.state[name][0] - math.fsum(values)) <= 1e-12 * magnitude
            assert other.state["m2"][0] == pytest.approx(np.var(values) * len(values), rel=1e-9, abs=1e-9)


def test_more_buckets_than_allowed_are_downscaled_by_the_union_alone() -> None:
    rng = np.random.default_rng(3)
    values = SHAPES["everything"](rng, 60_000)
    whole = fold_all(singles(values))
    codes, counts, scale, _ = buckets(whole)
    assert len(codes) <= exponential.MAX_BUCKETS and sum(counts) == len(values) and scale < exponential.SCALE
    # One scale finer would have been too many: no precision is given away.
    finer = exponential.downscale(exponential.encode(values), np.full(len(values), exponential.SCALE - scale - 1))
    assert len(np.unique(finer)) > exponential.MAX_BUCKETS
    # Parts that had to downscale themselves, parts that did not, and exact ones give the same.
    pieces = [
        fold_all(singles(values[:30_000])),
        fold_all(singles(values[30_000:30_050])),
        fold_all(singles(values[30_050:30_500])),
    ]
    pieces += [singles(values[30_500:30_510]), fold_all(singles(values[30_510:]))]
    for _ in range(5):
        rng.shuffle(pieces)  # type: ignore[arg-type]
        assert buckets(fold_all(panes.concat(pieces)))[:3] == (codes, counts, scale)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=64), st.floats(0, 1))
def test_up_to_64_values_are_exact(values: list[float], q: float) -> None:
    folded = fold_all(singles(np.array(values)))
    assert columns.error_bound(folded.sketches) == 0  # type: ignore[arg-type]
    check_quantile(quantile(folded, q), values, q, 0.0)
    if max(map(abs, values)) < 1e300:
        wanted = float(np.quantile(values, q))
        assert quantile(folded, q) == pytest.approx(wanted, rel=1e-12, abs=1e-15 * max(map(abs, values)) + 5e-324)


@given(st.floats(min_value=5e-324, allow_infinity=False), st.integers(0, 12))
def test_a_bucket_holds_its_value_and_its_estimate_is_near(value: float, shift: int) -> None:
    code = exponential.encode(np.array([value, -value, 0.0]))
    assert code[0] == -code[1] > 0 and code[2] == 0
    coarse = exponential.downscale(code, np.full(3, shift))
    estimate = exponential.decode(coarse, np.full(3, exponential.SCALE - shift))
    bound = exponential.relative_error(exponential.SCALE - shift)
    capped = min(estimate[0], np.finfo(np.float64).max)
    assert abs(capped - value) <= bound * 1.000001 * value + 5e-324
    assert estimate[1] == -estimate[0] and estimate[2] == 0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=50))
def test_codes_are_in_the_order_of_the_values(values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    assert (np.diff(exponential.encode(ordered)) >= 0).all()


@pytest.mark.parametrize("distinct", [1, 10, 100, 1000, 5000, 10_000, 12_000, 20_000, 100_000, 1_000_000])
def test_distinct_values_are_counted_within_the_error(distinct: int) -> None:
    worst = 0.0
    for seed in range(5):
        values = np.random.default_rng(seed).permutation(np.arange(distinct, dtype=float) * 1.5 + seed)
        codes = np.unique(hyperloglog.registers(hyperloglog.hash_values(values)))
        _, merged = hyperloglog.merge(np.zeros(len(codes), np.int64), codes)
        estimate = hyperloglog.estimate(merged)
        worst = max(worst, abs(estimate - distinct))
        assert abs(estimate - distinct) <= max(1.0, 4 * float(hyperloglog.STANDARD_ERROR) * distinct), estimate
    assert worst > 0 or distinct < 1000  # an estimate it is


def test_ranks_of_registers_are_of_the_leading_zeros() -> None:
    for zeros in range(53):
        hashed = np.array([(5 << 52) | (1 << (51 - zeros)) if zeros < 52 else (5 << 52)], np.uint64)
        assert hyperloglog.registers(hashed)[0] == (5 << 6) | (zeros + 1)


def test_minus_zero_counts_as_zero() -> None:
    assert len(set(hyperloglog.hash_values(np.array([0.0, -0.0])).tolist())) == 1


def test_unique_is_unknown_where_a_part_kept_no_registers() -> None:
    values = np.arange(200, dtype=float)
    with_registers, without = fold_all(singles(values), unique=True), fold_all(singles(values))
    small = fold_all(singles(values[:10]))
    for parts, known in (
        ([with_registers, small], True),
        ([with_registers, without], False),
        ([without, small], False),
    ):
        folded = fold_all(panes.concat(parts), unique=True)
        assert folded.sketches is not None
        assert np.isnan(columns.distinct(folded.sketches, folded.state["count"])[0]) != known


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(-10, 10)), min_size=1, max_size=40), st.randoms()
)
def test_first_and_last_are_by_time_and_position(points: list[tuple[int, int, float]], random: object) -> None:
    # Positions rise in arrival order; times need not.
    points = [(time, row // 2, value) for row, (time, _, value) in enumerate(points)]
    times, positions, values = (np.array(column) for column in zip(*points, strict=True))
    folded = fold_all(singles(values, times, positions))
    ordered = sorted(range(len(points)), key=lambda row: (points[row][0], points[row][1], row))
    assert folded.state["first"][0] == values[ordered[0]] and folded.state["last"][0] == values[ordered[-1]]


@given(st.lists(st.integers(0, 9), max_size=60), st.booleans())
def test_grouping_is_a_stable_sort(keys: list[int], large: bool) -> None:
    array = np.array(keys, np.int64) * ((1 << 45) if large else 1)
    groups = group(array)
    assert groups.order.tolist() == sorted(range(len(keys)), key=lambda row: (keys[row], row))
    assert groups.keys.tolist() == sorted(set(array.tolist()))
