"""Base-2 exponential histograms: the buckets of OpenTelemetry and of Prometheus native histograms.

At scale s a positive value v lies in bucket i = ceil(log2(v) * 2^s) - 1, which spans (2^(i/2^s), 2^((i+1)/2^s)].
A bucket's estimate is the point with the least relative error to both ends, so that an order statistic is off by at
most (b - 1) / (b + 1), b = 2^(2^-s): 0.54 % at scale 6. Source: OpenTelemetry metrics data model, ExponentialHistogram.

A bucket code is one int32 whose order is the order of the values: 0 for zero, i + BIAS for positive values, and
-(i + BIAS) for negative ones.
"""

from __future__ import annotations

import numpy as np

from engine.model import Codes, Floats, Ints

SCALE = 6
MAX_BUCKETS = 4096
BIAS = 1 << 17
CODE_BITS = 19
"""Bits that hold any code once CODE_ZERO is added."""
CODE_ZERO = 1 << 18


def encode(values: Floats) -> Codes:
    """Bucket codes at SCALE of finite values."""
    magnitude = np.abs(values)
    with np.errstate(divide="ignore"):
        index = np.ceil(np.log2(magnitude) * (1 << SCALE)) - 1
    index[magnitude == 0] = -BIAS
    code = index.astype(np.int32) + BIAS
    return np.asarray(np.where(values < 0, -code, code), np.int32)


def decode(codes: Codes, scale: Ints) -> Floats:
    """The estimate of each bucket. scale: int[n], one per code."""
    width = np.exp2(-scale.astype(np.float64))
    lower = (np.abs(codes) - BIAS) * width
    whole = np.floor(lower)
    base = np.exp2(width)
    # Mantissa and exponent apart: the ends of a bucket may lie beyond the largest or below the smallest float.
    with np.errstate(over="ignore", under="ignore"):
        estimate = np.ldexp(np.exp2(lower - whole) * (2 * base / (1 + base)), whole.astype(np.int32))
    estimate = np.where(codes == 0, 0.0, estimate)
    return np.where(codes < 0, -estimate, estimate)


def downscale(codes: Codes, shift: Ints) -> Codes:
    """The codes of the same values in buckets 2^shift times as wide. shift: int[n], one per code."""
    magnitude = ((np.abs(codes) - BIAS) >> shift) + BIAS
    return np.where(codes == 0, 0, np.where(codes < 0, -magnitude, magnitude)).astype(np.int32)


def relative_error(scale: int) -> float:
    """The bound on an order statistic's relative error at a scale."""
    base = 2.0 ** (2.0**-scale)
    return float((base - 1) / (base + 1))
