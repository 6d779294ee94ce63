"""Several processes on one Redis and one DynamoDB: gateways that take and show, engines that keep."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

from server.log import open_members
from tests.cluster_support import RedisCluster
from tests.dynamodb_support import REGION, SECRETS
from tests.support import RedisServer, Streamgauge


class Together:
    """Processes that are not started yet. settings: of all of them."""

    def __init__(
        self, directory: Path, redis: RedisServer | RedisCluster, dynamodb: str, gateways: int = 2, engines: int = 2,
        **settings: object,
    ) -> None:
        mark = secrets.token_hex(5)
        self.stream = f"t:{mark}"
        common = {
            "REDIS_URL": f"{redis.url}{'&' if '?' in redis.url else '?'}stream={self.stream}", "DATABASE_URL": f"dynamodb://{REGION}/t{mark}",
            "AWS_ENDPOINT_URL": dynamodb, "AWS_ACCESS_KEY_ID": SECRETS[0], "AWS_SECRET_ACCESS_KEY": SECRETS[1],
            "CREATE_TABLES": "true", "LATENESS": "2", "CHECKPOINT_INTERVAL": "0.5", **settings,
        }  # fmt: skip
        self.gateways = [Streamgauge(directory / f"gateway{i}", common, role="gateway") for i in range(gateways)]
        self.engines = [Streamgauge(directory / f"engine{i}", common, role="engine") for i in range(engines)]

    @property
    def processes(self) -> list[Streamgauge]:
        """All of them."""
        return [*self.gateways, *self.engines]

    def listed(self) -> list[dict[str, Any]]:
        """What each process that is there says of itself."""

        async def ask() -> list[dict[str, Any]]:
            members = open_members(str(self.processes[0].settings["REDIS_URL"]), "asking")
            try:
                return await members.listed()
            finally:
                await members.close()

        return asyncio.run(ask())

    def held(self) -> list[int]:
        """How many partitions each engine holds that holds any, as they say themselves."""
        return sorted(count for each in self.listed() if (count := len(each["partitions"])))

    def start(self) -> None:
        """Starts all."""
        for process in self.processes:
            process.start()

    def kill(self) -> None:
        """Kills all that run."""
        for process in self.processes:
            process.kill()


def owner_of(engines: list[Streamgauge]) -> Streamgauge | None:
    """The engine that said last that it owns the log, by its output; None where none has."""
    said = [(_last_said(engine), engine) for engine in engines]
    fence, owner = max(said, key=lambda each: each[0])
    return owner if fence else None


def _last_said(engine: Streamgauge) -> int:
    lines = [line for line in engine.output.splitlines() if "owns the log from here on, with fence" in line]
    return int(lines[-1].rpartition(" ")[2]) if lines else 0
