"""The long fault campaign: `python -m tests.faults [options of pytest]`; `make faults` is the same.

Each fault of the short campaign in `make test`, but often: 120 kills with the embedded log, 80 with two servers on one
Redis, and so on; about half an hour. Prints what it is at, and a table at the end. The environment may set
FAULTS_SEED (the seed that another run has printed), FAULTS_KILLS_EMBEDDED, FAULTS_KILLS_REDIS,
FAULTS_KILLS_DYNAMODB and FAULTS_KILLS_ALERTS.
Exit code: 0 when every number was right, 1 when one was not.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Runs it; the exit code."""
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        table = Path(directory) / "table"
        os.environ |= {"FAULTS_LONG": "1", "FAULTS_TABLE": str(table)}
        import pytest

        from tests.faults.numbers import SEED

        os.environ["FAULTS_SEED"] = str(SEED)
        print(f"The fault campaign, seed {SEED} (FAULTS_SEED={SEED} repeats its draws)", flush=True)
        here = Path(__file__).parent
        code = int(pytest.main([str(here), "-v", "-s", "-p", "no:cacheprovider", *sys.argv[1:]]))
        print(f"\nfault campaign, seed {SEED}")
        for line in table.read_text().splitlines() if table.exists() else []:
            what, _, figures = line.partition("\t")
            print(f"  {what}\n      {figures}")
        print("every number was right" if code == 0 else "there were faults: see above")
        return int(code != 0)


if __name__ == "__main__":
    sys.exit(main())
