"""Checkpoints: all of an engine's state that the store does not hold, as one block of bytes.

State = f(checkpoint, log after its position). A capture is taken between two entries and is cheap: it refers to
arrays that never change, borrows the large ones that do, and copies the rest; another thread encodes it.

Layout: magic, version (u16), length of the header (u32), header (JSON), then the arrays named in it, one after another.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.engine import Engine
from engine.errors import BadCheckpoint
from engine.ledger import Ledger
from engine.levels import BASE
from engine.panes import STATE, Panes
from engine.sketches.columns import PARTS, of_parts
from engine.slots import Samples, Slot

MAGIC = b"SGCP"
VERSION = 1
PART_BYTES = 1 << 20
_HEAD = struct.Struct("<4sHI")
_LIFETIME = "lifetime/"
_TABLE = "table/"
Arrays = dict[str, NDArray[Any]]


def capture(engine: Engine) -> tuple[dict[str, Any], Arrays]:
    """The engine's state now, as a header and arrays. Some are lent: they change no more before `release`."""
    arrays: Arrays = {}
    open_slots = {}
    for start, slot in sorted(engine.open.items()):
        _put_samples(arrays, f"open/{start}/raw", slot.raw)
        for number, part in enumerate(slot.folded):
            put_panes(arrays, f"open/{start}/{number}", part)
        open_slots[start] = len(slot.folded), slot.fold_at
    for start, samples in sorted(engine.totals.slots.items()):
        _put_samples(arrays, f"totals/{start}", samples)
    arrays["last/time"], arrays["last/value"], arrays["last/grown"] = engine.totals.lend()
    arrays |= {_LIFETIME + name: column for name, column in engine.lifetime.lend().items()}
    tables = engine.tables.state()
    arrays |= {f"{_TABLE}{number}": held for number, held in enumerate(tables.values())}
    arrays["newest"] = np.frombuffer(engine.newest.save(), np.uint8)
    arrays["newest_own"] = np.frombuffer(engine.newest_own.save(), np.uint8)
    arrays["rejects"] = np.frombuffer(engine.rejects.save(), np.uint8)
    arrays["alerts"] = np.frombuffer(engine.book.save(), np.uint8)
    names = engine.catalogue.names.values()
    header = {
        "position": engine.position, "stamp": engine.stamp, "watermark": engine.watermark, "closed": engine.closed,
        "rolled": list(engine.rolled), "horizons": list(engine.horizons),
        "generation": engine.generation, "series": len(engine.catalogue),
        "open": open_slots, "totals": sorted(engine.totals.slots), "forgotten": int(engine.newest.forgotten),
        "forgotten_own": int(engine.newest_own.forgotten),
        "ledger": engine.ledger.as_dict(), "writers": engine.writers.state(), "tables": list(tables),
        "sketched": sorted(engine.catalogue.sketched),
        "units": {name.name: name.unit for name in names if name.unit},
        "folded": {name.name: name.folded for name in names if name.folded},
        "unchecked": engine.unchecked, "fence": engine.shared.fence if engine.shared is not None else 0,
        "terms": engine.terms.state(),
        # The panes in the flush that this checkpoint is part of will be in the store when it is read.
        "stored": engine.stored + sum(slot.samples for slot in engine.frozen.values()),
    }  # fmt: skip
    return header, arrays


def release(engine: Engine) -> None:
    """The arrays of the last capture are not looked at any more. Any thread may say so; unsaid, it costs copies."""
    engine.lifetime.returned()
    engine.totals.returned()


def encode_arrays(arrays: Arrays) -> list[bytes]:
    """The arrays as bytes, in parts of at most PART_BYTES: one piece would keep all other threads waiting."""
    parts: list[bytes] = []
    held: list[memoryview] = []
    size = 0
    for array in arrays.values():
        rest = np.ascontiguousarray(array).data.cast("B") if len(array) else memoryview(b"")
        while rest:
            taken, rest = rest[: PART_BYTES - size], rest[PART_BYTES - size :]
            held.append(taken)
            size += len(taken)
            if size == PART_BYTES:
                parts.append(b"".join(held))
                held, size = [], 0
    return [*parts, b"".join(held)] if held else parts


def encode_header(header: dict[str, Any], arrays: Arrays) -> bytes:
    """What stands before the arrays."""
    listed = [(name, array.dtype.str, len(array)) for name, array in arrays.items()]
    text = json.dumps({**header, "arrays": listed}).encode()
    return _HEAD.pack(MAGIC, VERSION, len(text)) + text


def encode(header: dict[str, Any], arrays: Arrays) -> bytes:
    """A capture as bytes."""
    return b"".join((encode_header(header, arrays), *encode_arrays(arrays)))


def decode(data: bytes) -> tuple[dict[str, Any], Arrays]:
    """The inverse of `encode`. Raises BadCheckpoint."""
    try:
        magic, version, length = _HEAD.unpack_from(data)
        if magic != MAGIC or version != VERSION:
            raise BadCheckpoint(f"checkpoint version {version} is not {VERSION}: it was written by another release")
        header = json.loads(data[_HEAD.size : _HEAD.size + length])
        arrays: Arrays = {}
        at = _HEAD.size + length
        for name, dtype, count in header["arrays"]:
            arrays[name] = np.frombuffer(data, np.dtype(dtype), count, at)
            at += arrays[name].nbytes
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"the checkpoint cannot be read: {error}") from error
    return header, arrays


def restore(engine: Engine, data: bytes, series: list[bytes], chunks: list[tuple[int, bytes]]) -> None:
    """Puts a new engine where the checkpoint was taken. series: the stored catalogue; chunks: of the dedup window."""
    header, arrays = decode(data)
    if len(series) < header["series"]:
        raise BadCheckpoint(f"the checkpoint knows {header['series']} series, the stored catalogue has {len(series)}")
    engine.catalogue.sketched = set(header["sketched"])
    engine.catalogue.restore(series[: header["series"]], header["units"])
    for name, count in header["folded"].items():
        if name in engine.catalogue.names:
            engine.catalogue.names[name].folded = count
    engine.flushed_series = header["series"]
    engine.position, engine.stamp = header["position"], header["stamp"]
    engine.watermark, engine.closed = header["watermark"], header["closed"]
    engine.horizons = tuple(header["horizons"])
    engine.rolled, engine.generation = tuple(header["rolled"]), header["generation"]
    engine.unchecked = header["unchecked"]
    if engine.shared is not None:
        engine.shared.fence = header.get("fence", 0)
        if "terms" in header:
            engine.terms.restore(header["terms"])
    engine.ledger = Ledger.of_dict(header["ledger"])
    engine.writers.restore({int(epoch): sequence for epoch, sequence in header["writers"].items()})
    named = header.get("tables", ())
    engine.tables.restore({(epoch, id): arrays[f"{_TABLE}{at}"] for at, (epoch, id) in enumerate(named)})
    for text, (folded, fold_at) in header["open"].items():
        start = int(text)
        slot = engine.open[start] = Slot(start, BASE, engine.catalogue)
        slot.folded = [get_panes(arrays, f"open/{start}/{number}") for number in range(folded)]
        _get_samples(arrays, f"open/{start}/raw", slot.raw)
        slot.fold_at = fold_at
    for start in header["totals"]:
        samples = engine.totals.slots[start] = Samples()
        _get_samples(arrays, f"totals/{start}", samples)
    # Older checkpoints know nothing of what series have come to in all: it counts from there on.
    grown = arrays.get("last/grown", np.zeros(len(arrays["last/time"])))
    engine.totals.restore(arrays["last/time"], arrays["last/value"], grown)
    held = {name.removeprefix(_LIFETIME): column for name, column in arrays.items() if name.startswith(_LIFETIME)}
    engine.lifetime.restore(held)
    engine.newest.restore(arrays["newest"].tobytes(), header["forgotten"])
    if "newest_own" in arrays:
        engine.newest_own.restore(arrays["newest_own"].tobytes(), header["forgotten_own"])
    engine.seen.restore(chunks, engine.stamp)
    if "rejects" in arrays:
        engine.rejects.restore(arrays["rejects"].tobytes())
    if "alerts" in arrays:
        engine.book.restore(arrays["alerts"].tobytes())
    # Older checkpoints do not say what is stored: whatever is not in them.
    elsewhere = engine.ledger.accepted - engine.open_samples - engine.ledger.expired
    engine.stored = header.get("stored", elsewhere)


def _put_samples(arrays: Arrays, prefix: str, samples: Samples) -> None:
    series, times, positions, values = samples.view()
    arrays |= {f"{prefix}/series": series, f"{prefix}/times": times}
    arrays |= {f"{prefix}/positions": positions, f"{prefix}/values": values}


def _get_samples(arrays: Arrays, prefix: str, into: Samples) -> None:
    into.extend(*(arrays[f"{prefix}/{name}"] for name in ("series", "times", "positions", "values")))


def put_panes(arrays: Arrays, prefix: str, part: Panes) -> None:
    """Names the arrays of some panes."""
    arrays[f"{prefix}/series"], arrays[f"{prefix}/start"] = part.series, part.start
    for name in STATE:
        arrays[f"{prefix}/{name}"] = part.state[name]
    if part.sketches is not None:
        for name in PARTS:
            arrays[f"{prefix}/sketch/{name}"] = getattr(part.sketches, name)


def get_panes(arrays: Arrays, prefix: str) -> Panes:
    """The inverse of `put_panes`."""
    state = {name: arrays[f"{prefix}/{name}"] for name in STATE}
    sketches = of_parts({name: arrays[f"{prefix}/sketch/{name}"] for name in PARTS})
    return Panes(arrays[f"{prefix}/series"], arrays[f"{prefix}/start"], state, sketches)
