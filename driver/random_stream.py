"""Random numbers for initialisers: a stream for every seed and path, from Philox 4x32-10.

In: a seed, a parameter's path, how many. Out: numbers in f64. Block b of a stream is what Philox
makes of the counter (b, FNV-1a of the path) and the key `seed`; its four words are four numbers.

    RandomStream(0, "fc.weight").uniform(3)   →   3 numbers in (0, 1), of 32 bits each

A program in C can draw the same ones: `ir/philox.py` is all that it needs, and a hash of 8 lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from stepwell.ir.philox import words

Array = np.ndarray[Any, np.dtype[Any]]

_PIECE = 4096  # blocks at once: their words stay in the caches
_RETRIES = 1 << 48  # what the block's number grows by where a number has to be drawn again


class RandomStream:
    """The numbers of one seed and path."""

    def __init__(self, seed: int, path: str) -> None:
        self._key = seed & (2**64 - 1)
        self._place = fnv1a(path.encode())

    def uniform(self, count: int) -> Array:
        """Uniform in (0, 1)."""
        return self._drawn(count, lambda blocks: self._uniform(blocks))

    def normal(self, count: int) -> Array:
        """Normal with mean 0 and standard deviation 1."""
        return self._drawn(count, lambda blocks: self._normal(blocks))

    def truncated_normal(self, count: int, most: float = 2.0) -> Array:
        """Normal numbers, drawn again where their size is above `most`."""
        return self._drawn(count, lambda blocks: self._truncated(blocks, most))

    def _drawn(self, count: int, draw: Callable[[Array], Array]) -> Array:
        """The first `count` numbers, where `draw` makes [n, 4] of n blocks."""
        blocks = np.arange(-(-count // 4), dtype=np.uint64)
        result = np.empty((len(blocks), 4))
        for start in range(0, len(blocks), _PIECE):
            result[start : start + _PIECE] = draw(blocks[start : start + _PIECE])
        return result.reshape(-1)[:count]

    def _uniform(self, blocks: Array) -> Array:
        drawn = np.stack(words(blocks, self._place, self._key), axis=-1)
        return (drawn + 0.5) * 2.0**-32

    def _normal(self, blocks: Array) -> Array:
        """Two numbers from two: sqrt(-2 ln u) times cos and sin of 2 pi v (Box and Muller 1958)."""
        drawn = self._uniform(blocks)
        radius = np.sqrt(-2 * np.log(drawn[:, 0::2]))
        angle = 2 * math.pi * drawn[:, 1::2]
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)

    def _truncated(self, blocks: Array, most: float) -> Array:
        drawn = self._normal(blocks)
        while (wide := np.abs(drawn) > most).any():
            blocks = blocks + np.uint64(_RETRIES)
            rows = wide.any(axis=1)
            drawn[rows] = np.where(wide[rows], self._normal(blocks[rows]), drawn[rows])
        return drawn


def fnv1a(data: bytes) -> int:
    """The 64-bit FNV-1a hash (Fowler, Noll and Vo)."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return value
