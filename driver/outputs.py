"""Memory for outputs: a large result that nobody holds any more is written again.

In: shapes and dtypes. Out: arrays, uninitialised. The operating system gives large blocks page by
page, each cleared on first touch: for a kernel bound by memory that takes longer than the kernel.
So blocks of a mebibyte and more are kept, and given out again once the last array that shares
their memory is gone; CPython's reference counts tell.

They begin at a line of the cache, so that whole vectors can be stored past it.

    y = pool.empty((4096, 1024), f32); del y
    z = pool.empty((4096, 1024), f32)            # the same memory
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from stepwell.arrays import Array
from stepwell.codegen.blocks import address

LARGE = 1 << 20  # bytes from which a block is kept
LINE = 64  # bytes
KEPT = 4  # blocks kept at most


class OutputPool:
    """Output arrays of one model. Safe under calls from several threads."""

    def __init__(self) -> None:
        self._blocks: list[Array] = []
        self._lock = threading.Lock()

    def allocator(
        self, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Callable[[tuple[int, ...], np.dtype[Any]], Array]:
        """What makes an uninitialised array of this shape, one that shares memory with no other
        array in use: asked once for many calls."""
        return np.empty if math.prod(shape) * dtype.itemsize < LARGE else self._large

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Such an array."""
        return self.allocator(shape, dtype)(shape, dtype)

    def _large(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        size = math.prod(shape) * dtype.itemsize
        with self._lock:
            block = _unused(self._blocks, size + LINE)
            if block is None:
                block = np.empty(size + LINE, np.uint8)
                self._blocks = [block, *self._blocks[: KEPT - 1]]
            start = -address(block) % LINE
            return block[start : start + size].view(dtype).reshape(shape)


def _unused(blocks: list[Array], size: int) -> Array | None:
    """The first block of this size to which only the list refers."""
    for block in blocks:
        if block.nbytes == size and sys.getrefcount(block) == _LISTED:
            return block
    return None


def _references_of_a_listed_block() -> int:
    """What `_unused` counts for a block that nobody else holds; it depends on the interpreter."""
    for block in [np.empty(0, np.uint8)]:
        return sys.getrefcount(block)
    raise AssertionError


_LISTED = _references_of_a_listed_block()
