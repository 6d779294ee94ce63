"""The figures of `make bench`: `python -m tests.benchmarks [--quick] [--only name,…]` prints a table.

Each server runs on one core, the load comes from another process on the others. Rates are per second of the server's
CPU time as the kernel counts it, all its threads together; the line below says what the clock says.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks import (
    alerts,
    cost,
    ingest,
    machine,
    memory,
    pauses,
    preview,
    push,
    queries,
    replay,
    shares,
    together,
)
from tests.benchmarks.table import HEADER, Figure, line, render

FIGURES: dict[str, Callable[[Path, bool], Iterator[Figure]]] = {
    "ingest_batch": ingest.batch,
    "ingest_growth": ingest.growth,
    "ingest_single": ingest.single,
    "ingest_old": ingest.old_rows,
    "push": push.latency,
    "push_growth": push.growth,
    "memory": memory.per_series,
    "query": queries.rate_by_label,
    "start": replay.start,
    "checkpoint": pauses.checkpoints,
    "together": together.share,
    "shares": shares.flush,
    "dynamodb": cost.store,
    "alerts": alerts.evaluation,
    "preview": preview.of_a_month,
}


def main() -> int:
    """Measures what is asked for; 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help=f"some of {', '.join(FIGURES)}, with commas between")
    parser.add_argument("--quick", action="store_true", help="shorter runs: a look, no measurement")
    chosen = parser.parse_args()
    names = [name for name in chosen.only.split(",") if name] or list(FIGURES)
    if unknown := [name for name in names if name not in FIGURES]:
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    if shutil.which("taskset") is None:
        parser.error("taskset is missing (Debian: util-linux)")
    machine.keep_off_the_server_core()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}; "
          f"server on core {machine.SERVER_CORE}, load on {sorted(machine.LOAD_CORES)}")  # fmt: skip
    missing = [peer for peer in (machine.VICTORIA, machine.PROMETHEUS) if not machine.installed(peer)]
    if missing:
        print(f"not installed, so not compared with: {', '.join(missing)}")
    print(line(HEADER))
    missed = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="streamgauge-bench-") as folder:
            for figure in FIGURES[name](Path(folder), chosen.quick):
                print(render(figure), flush=True)
                missed += figure.holds is False
    print(f"{missed} targets missed" if missed else "all targets met")
    return min(missed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
