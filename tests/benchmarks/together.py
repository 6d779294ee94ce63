"""What it costs to share the work: CPU of a gateway and an engine, beside one process through the same Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import load
from tests.benchmarks.ingest import SETTLE
from tests.benchmarks.machine import cpu_seconds, running
from tests.benchmarks.samples import batches, make_series
from tests.benchmarks.table import Figure
from tests.dynamodb_support import MotoServer
from tests.roles_support import Together
from tests.support import RedisServer, Streamgauge

MOST = 1.25
ROUNDS = 3


def share(folder: Path, quick: bool) -> Iterator[Figure]:
    """CPU-seconds per million samples of all our processes, the alternatives in turns."""
    bodies = batches(make_series(10_000))
    seconds = 2.0 if quick else 8.0
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(folder / "redis", fsync="everysec")))
        dynamodb = stack.enter_context(running(MotoServer(folder / "moto")))
        alone = Together(folder / "alone", redis, dynamodb.url, 1, 0, **SETTLE).gateways[0]
        alone.role = "serve"
        apart = Together(folder / "apart", redis, dynamodb.url, 1, 1, **SETTLE)
        for process in (alone, *apart.processes):
            stack.enter_context(running(process))
        kinds: dict[str, list[Streamgauge]] = {"alone": [alone], "apart": apart.processes}
        spent = {kind: [0.0] * len(processes) for kind, processes in kinds.items()}
        sent = dict.fromkeys(kinds, 0)
        for turn in range(ROUNDS + 1):
            for kind, processes in kinds.items():
                before = [cpu_seconds(_pid(each)) for each in processes]
                samples, _ = load.send_for(processes[0].port, _pid(processes[0]), bodies, seconds)
                if turn:  # the first makes the series known
                    for number, each in enumerate(processes):
                        spent[kind][number] += cpu_seconds(_pid(each)) - before[number]
                    sent[kind] += samples
    [alone_cost], apart_costs = ([each / sent[kind] * 1e6 for each in spent[kind]] for kind in kinds)
    gateway, engine = apart_costs
    note = (
        f"CPU-s for a million samples: gateway {gateway:.2f}, engine {engine:.2f}, one process {alone_cost:.2f}; "
        f"{sum(sent.values()):,} samples in all"
    )
    yield Figure(
        "gateway and engine, CPU beside one process through Redis", sum(apart_costs) / alone_cost, "times", MOST,
        note=note,
    )  # fmt: skip


def _pid(process: Streamgauge) -> int:
    assert process.child is not None
    return process.child.pid
