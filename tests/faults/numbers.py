"""How much of each fault: little for `make test`, more for `make faults`; from the environment."""

from __future__ import annotations

import os
import random
import time

LONG = os.environ.get("FAULTS_LONG") == "1"
SEED = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(1 << 30))
"""Of all traffic and all moments; FAULTS_SEED repeats one."""
KILLS_EMBEDDED = int(os.environ.get("FAULTS_KILLS_EMBEDDED") or (120 if LONG else 3))
KILLS_REDIS = int(os.environ.get("FAULTS_KILLS_REDIS") or (80 if LONG else 2))
KILLS_TOGETHER = int(os.environ.get("FAULTS_KILLS_TOGETHER") or (50 if LONG else 3))
"""Of any process of two gateways and two engines."""
KILLS_ALERTS = int(os.environ.get("FAULTS_KILLS_ALERTS") or (50 if LONG else 2))
LOAD_SECONDS = 1.5 if LONG else 0.4
"""At most, before a kill."""
KILLS_DYNAMODB = int(os.environ.get("FAULTS_KILLS_DYNAMODB") or (20 if LONG else 2))
TABLE = os.environ.get("FAULTS_TABLE")
"""A file that takes one line per result, for the closing table."""


def progress(line: str) -> None:
    """Shown while the long campaign runs."""
    if LONG:
        print(f"  {time.strftime('%H:%M:%S')}  {line}", flush=True)


def result(what: str, figures: str) -> None:
    """One line of the closing table."""
    print(f"{what}: {figures}")
    if TABLE:
        with open(TABLE, "a") as file:
            file.write(f"{what}\t{figures}\n")


def pick(seed: object) -> random.Random:
    """A source of randomness of its own for each purpose, so that one does not disturb another."""
    return random.Random(f"{SEED} {seed}")


def by_size(short: float, long: float) -> float:
    """One of two numbers."""
    return long if LONG else short


