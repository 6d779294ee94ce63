"""A Redis Cluster of three nodes, made by the commands that any administrator would use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import key_slot

from tests.support import RedisServer, free_port, wait_until

SLOTS = 16_384


class RedisCluster:
    """Three nodes on loopback, appendfsync always, each with a third of the slots; a slot may be moved."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.nodes: list[RedisServer] = []
        self._buses = [free_port() for _ in range(3)]
        for number, bus in enumerate(self._buses):
            own = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", str(bus))
            self.nodes.append(RedisServer(directory / f"node{number}", *own, *options))

    @property
    def url(self) -> str:
        """As REDIS_URL takes it."""
        return f"{self.nodes[0].url}?cluster=true"

    def start(self) -> None:
        """Start the nodes, make them know one another and share the slots, and wait until each says that it is so."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            self.ask(node, "CLUSTER", "ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus in list(zip(self.nodes, self._buses, strict=True))[1:]:
            self.ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        self.wait()

    def wait(self) -> None:
        """Until every node says that all slots are served."""
        wait_until(lambda: all(self._is_whole(node) for node in self.nodes), 30, "a whole cluster")

    def owner(self, key: str) -> RedisServer:
        """The node that holds the slot of a key."""
        slot = key_slot(key.encode())
        for begin, end, at, *_ in self.ask(self.nodes[0], "CLUSTER", "SLOTS"):
            if begin <= slot <= end:
                return next(node for node in self.nodes if node.port == at[1])
        raise AssertionError(f"nobody holds slot {slot}")

    def move(self, key: str) -> None:
        """Move the slot of a key, with all that is in it, to another node."""
        slot, source = key_slot(key.encode()), self.owner(key)
        target = next(node for node in self.nodes if node is not source)
        ids = {node.port: self.ask(node, "CLUSTER", "MYID").decode() for node in (source, target)}
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            for name in keys:
                self.ask(source, "MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
        for node in (target, source, *self.nodes):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])

    def kill(self) -> None:
        """kill -9 of all nodes."""
        for node in self.nodes:
            node.kill()

    def ask(self, node: RedisServer, *command: object) -> Any:
        """The answer of one node."""
        with Redis(port=node.port, protocol=2, socket_timeout=10) as client:
            # Bare: redis-py makes dicts of what CLUSTER SLOTS answers.
            client.response_callbacks.clear()
            return client.execute_command(*command)  # type: ignore[arg-type]

    def _is_whole(self, node: RedisServer) -> bool:
        info = self.ask(node, "CLUSTER", "INFO").decode()
        return "cluster_state:ok" in info and "cluster_known_nodes:3" in info and "cluster_slots_ok:16384" in info
