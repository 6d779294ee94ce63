"""The sketches of many panes as ragged columns, and their merging.

While a pane holds at most EXACT_VALUES values they are kept as they are; beyond that they become histogram buckets,
and HyperLogLog registers where `unique` is asked. Which of the two a merged pane is depends on its count alone, and
its scale on the union's buckets alone, so merging is commutative and associative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.kernels.grouping import Groups, gather_ragged, group, pointers
from engine.model import Codes, Flags, Floats, Ints
from engine.sketches import exponential, hyperloglog

EXACT_VALUES = 64


@dataclass(slots=True)
class Sketches:
    """n panes' sketches; row i owns elements [ptr[i], ptr[i + 1]) of each kind.

    value_ptr, values: exact values; bucket_ptr, codes, counts: buckets, ascending by code; scale: int8[n], the
    buckets' scale; register_ptr, registers: HyperLogLog registers, ascending.
    """

    value_ptr: Ints
    values: Floats
    bucket_ptr: Ints
    codes: Codes
    counts: Ints
    scale: np.ndarray
    register_ptr: Ints
    registers: Codes
    single: bool = False
    """Whether each row is known to hold exactly one value."""

    def __len__(self) -> int:
        return len(self.value_ptr) - 1

    @property
    def nbytes(self) -> int:
        own = (self.values, self.codes, self.counts, self.registers)
        pointers = 0 if self.single else self.value_ptr.nbytes
        return sum(array.nbytes for array in own) + pointers + (self.bucket_ptr.nbytes if len(self.codes) else 0)

    def take(self, rows: Ints) -> Sketches:
        """The sketches of some rows."""
        if self.single:
            return of_values(self.values[rows])
        value_at, value_len = gather_ragged(self.value_ptr, rows)
        if not len(self.codes):
            return of_values(self.values[value_at], pointers(value_len))
        bucket_at, bucket_len = gather_ragged(self.bucket_ptr, rows)
        register_at, register_len = gather_ragged(self.register_ptr, rows)
        return Sketches(
            pointers(value_len), self.values[value_at],
            pointers(bucket_len), self.codes[bucket_at], self.counts[bucket_at], self.scale[rows],
            pointers(register_len), self.registers[register_at],
        )  # fmt: skip


PARTS = ("value_ptr", "values", "bucket_ptr", "codes", "counts", "scale", "register_ptr", "registers")
"""The arrays that make up sketches, by name."""


def of_parts(parts: Mapping[str, NDArray[Any]]) -> Sketches:
    """Sketches from the arrays named in PARTS."""
    return Sketches(
        parts["value_ptr"], parts["values"], parts["bucket_ptr"], parts["codes"], parts["counts"], parts["scale"],
        parts["register_ptr"], parts["registers"],
    )  # fmt: skip


def of_values(values: Floats, value_ptr: Ints | None = None) -> Sketches:
    """Sketches that hold exact values only: one value each, or as value_ptr divides them."""
    ptr = np.arange(len(values) + 1) if value_ptr is None else value_ptr
    rows = len(ptr) - 1
    none = np.broadcast_to(np.int64(0), rows + 1)
    empty, codes = np.empty(0, np.int64), np.empty(0, np.int32)
    scale = np.broadcast_to(np.int8(exponential.SCALE), rows)
    return Sketches(ptr, values, none, codes, empty, scale, none, codes, single=value_ptr is None)


def concat(parts: list[Sketches]) -> Sketches:
    """The rows of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    if all(part.single for part in parts):
        return of_values(np.concatenate([part.values for part in parts]))

    def joined(name: str) -> Ints:
        lengths = [np.diff(getattr(part, name)) for part in parts]
        return pointers(np.concatenate(lengths))

    return Sketches(
        joined("value_ptr"), np.concatenate([p.values for p in parts]),
        joined("bucket_ptr"), np.concatenate([p.codes for p in parts]), np.concatenate([p.counts for p in parts]),
        np.concatenate([p.scale for p in parts]),
        joined("register_ptr"), np.concatenate([p.registers for p in parts]),
    )  # fmt: skip


def merge(sketches: Sketches, groups: Groups, counts: Ints, unique: Flags | None = None) -> Sketches:
    """One sketch per group of rows.

    counts: int[groups], values each group holds. unique: bool[groups], where registers are wanted. A group with a
    bucketed row that has no registers gets none: how many distinct values that row saw is unknown.
    """
    rows = len(groups.starts)
    of_row = groups.of_row
    values, value_of = _gather_values(sketches, groups)
    large = counts > EXACT_VALUES
    if not large.any():
        return of_values(values, pointers(counts))
    spill = large[value_of]
    kept, kept_of = values[~spill], value_of[~spill]
    spilt, spilt_of = values[spill], value_of[spill]
    at, lengths = gather_ragged(sketches.bucket_ptr, groups.order)
    bucket_of = np.repeat(of_row, lengths)
    owner, codes, tallies, scale = _merge_buckets(
        sketches, groups, (spilt_of, exponential.encode(spilt)), (bucket_of, at), rows
    )
    register_ptr, registers = _merge_registers(sketches, groups, of_row, spilt_of, spilt, unique, rows)
    return Sketches(
        pointers(np.bincount(kept_of, minlength=rows)), kept,
        pointers(np.bincount(owner, minlength=rows)), codes, tallies, scale,
        register_ptr, registers,
    )  # fmt: skip


def _gather_values(sketches: Sketches, groups: Groups) -> tuple[Floats, Ints]:
    """The exact values in key order, and the group of each."""
    if sketches.single:
        return sketches.values[groups.order], groups.of_row
    at, lengths = gather_ragged(sketches.value_ptr, groups.order)
    return sketches.values[at], np.repeat(groups.of_row, lengths)


def _merge_buckets(
    sketches: Sketches, groups: Groups, spilt: tuple[Ints, Codes], old: tuple[Ints, Ints], rows: int
) -> tuple[Ints, Codes, Ints, np.ndarray]:
    """(owner, code, count) ascending and the scale of each group, from values just encoded and from older buckets."""
    owner, codes = spilt
    tallies = np.ones(len(codes), np.int64)
    scale = np.full(rows, exponential.SCALE, np.int8)
    bucket_of, at = old
    if len(at):
        owner = np.concatenate([owner, bucket_of])
        codes = np.concatenate([codes, sketches.codes[at]])
        tallies = np.concatenate([tallies, sketches.counts[at]])
        row_scale = sketches.scale[groups.order]
        if int(row_scale.min()) < exponential.SCALE:
            scale = np.minimum.reduceat(row_scale, groups.starts)
            held = np.full(len(spilt[0]), exponential.SCALE)
            bucket_scale = np.repeat(row_scale, np.diff(sketches.bucket_ptr)[groups.order])
            shift = np.concatenate([held, bucket_scale]).astype(np.int64) - scale[owner]
            codes = exponential.downscale(codes, shift)
    while True:
        merged = group((owner << exponential.CODE_BITS) | (codes + exponential.CODE_ZERO))
        if len(merged.order):
            tallies = np.add.reduceat(tallies[merged.order], merged.starts)
        owner = merged.keys >> exponential.CODE_BITS
        codes = ((merged.keys & ((1 << exponential.CODE_BITS) - 1)) - exponential.CODE_ZERO).astype(np.int32)
        crowded = np.bincount(owner, minlength=rows) > exponential.MAX_BUCKETS
        if not crowded.any():
            return owner, codes, tallies, scale
        scale = (scale - crowded).astype(np.int8)
        codes = exponential.downscale(codes, crowded[owner].astype(np.int64))


def _merge_registers(
    sketches: Sketches, groups: Groups, of_row: Ints, spilt_of: Ints, spilt: Floats, unique: Flags | None, rows: int
) -> tuple[Ints, Codes]:
    if unique is None or not unique.any():
        return np.broadcast_to(np.int64(0), rows + 1), np.empty(0, np.int32)
    bucketed = np.diff(sketches.bucket_ptr)[groups.order] > 0
    silent = bucketed & (np.diff(sketches.register_ptr)[groups.order] == 0)
    known = unique & ~np.bincount(of_row, weights=silent, minlength=rows).astype(np.bool_)
    at, lengths = gather_ragged(sketches.register_ptr, groups.order)
    owner = np.concatenate([spilt_of, np.repeat(of_row, lengths)])
    codes = np.concatenate([hyperloglog.registers(hyperloglog.hash_values(spilt)), sketches.registers[at]])
    keep = known[owner]
    owner, codes = hyperloglog.merge(owner[keep], codes[keep])
    return pointers(np.bincount(owner, minlength=rows)), codes


def quantiles(sketches: Sketches, counts: Ints, low: Floats, high: Floats, q: float) -> Floats:
    """The q-quantile of each row; nan where it holds no value.

    Linear interpolation between the neighbouring order statistics, clamped to [low, high]; exact for rows that hold
    their values, else each order statistic is its bucket's estimate.
    """
    out = np.full(len(sketches), np.nan)
    rank = q * np.maximum(counts - 1, 0)
    below = np.floor(rank).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    share = rank - below
    bucketed = np.diff(sketches.bucket_ptr) > 0
    exact = ~bucketed & (np.diff(sketches.value_ptr) > 0)
    if exact.any():
        owner = np.repeat(np.arange(len(sketches)), np.diff(sketches.value_ptr))
        values = sketches.values[np.lexsort((sketches.values, owner))]
        begin = sketches.value_ptr[:-1][exact]
        out[exact] = _between(values[begin + below[exact]], values[begin + above[exact]], share[exact])
    if bucketed.any():
        total = np.cumsum(sketches.counts)
        begin = sketches.bucket_ptr[:-1][bucketed]
        before = np.where(begin > 0, total[begin - 1], 0)
        scale = np.repeat(sketches.scale, np.diff(sketches.bucket_ptr))
        lower = np.searchsorted(total, before + below[bucketed], side="right")
        upper = np.searchsorted(total, before + above[bucketed], side="right")
        estimates = exponential.decode(sketches.codes, scale)
        ends = low[bucketed], high[bucketed]
        out[bucketed] = _between(np.clip(estimates[lower], *ends), np.clip(estimates[upper], *ends), share[bucketed])
    return np.asarray(np.clip(out, low, high))


def _between(a: Floats, b: Floats, share: Floats) -> Floats:
    # Not a + (b - a) * share: the difference of two huge values of opposite sign is infinite.
    return a * (1 - share) + b * share


def error_bound(sketches: Sketches) -> float:
    """The relative error in force: 0 where all rows are exact, else that of the coarsest scale."""
    bucketed = np.diff(sketches.bucket_ptr) > 0
    return exponential.relative_error(int(sketches.scale[bucketed].min())) if bucketed.any() else 0.0


def distinct(sketches: Sketches, counts: Ints) -> Floats:
    """Distinct values of each row; nan where unknown. Exact while the row holds its values."""
    out = np.full(len(sketches), np.nan)
    for row in range(len(sketches)):
        begin, end = sketches.value_ptr[row], sketches.value_ptr[row + 1]
        if counts[row] == end - begin:
            out[row] = len(np.unique(sketches.values[begin:end]))
        elif sketches.register_ptr[row + 1] > sketches.register_ptr[row]:
            codes = sketches.registers[sketches.register_ptr[row] : sketches.register_ptr[row + 1]]
            out[row] = round(hyperloglog.estimate(codes))
    return out
