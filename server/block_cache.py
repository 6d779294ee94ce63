"""Stored blocks in memory, so that a query asked again reads none twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from engine.rollup import BlockId
from server.wire.blocks import Block

CACHE_BYTES = 96 << 20


class BlockCache:
    """Blocks by id, None for those that do not exist; the least recently read go first."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit = limit
        self._blocks: OrderedDict[BlockId, Block | None] = OrderedDict()
        self._sizes: dict[BlockId, int] = {}
        self.nbytes = 0

    def split(self, wanted: list[BlockId]) -> tuple[dict[BlockId, Block], list[BlockId]]:
        """(those held, those not known)."""
        held, missing = {}, []
        for block_id in wanted:
            if block_id in self._blocks:
                self._blocks.move_to_end(block_id)
                block = self._blocks[block_id]
                if block is not None:
                    held[block_id] = block
            else:
                missing.append(block_id)
        return held, missing

    def put(self, block_id: BlockId, block: Block | None) -> None:
        """Holds a block, or that there is none."""
        self.drop([block_id])
        self._blocks[block_id] = block
        self._resize(block_id)

    def measure(self, used: Sequence[BlockId]) -> None:
        """Counts again what has been unpacked meanwhile, and lets go of what is too much."""
        for block_id in used:
            if block_id in self._blocks:
                self._resize(block_id)
        while self.nbytes > self.limit:
            self.drop([next(iter(self._blocks))])

    def clear(self) -> None:
        """Forgets all."""
        self._blocks.clear()
        self._sizes.clear()
        self.nbytes = 0

    def drop(self, block_ids: Sequence[BlockId]) -> None:
        """Forgets blocks, because they have changed."""
        for block_id in block_ids:
            if block_id in self._blocks:
                del self._blocks[block_id]
                self.nbytes -= self._sizes.pop(block_id)

    def _resize(self, block_id: BlockId) -> None:
        block = self._blocks[block_id]
        size = 200 + (block.nbytes if block is not None else 0)
        self.nbytes += size - self._sizes.get(block_id, 0)
        self._sizes[block_id] = size
