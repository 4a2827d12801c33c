"""The order in which an epoch visits its samples: a permutation made of a seed and the epoch.

In: how many samples, a seed, the number of the epoch from 0. Out: every index once.

    order(4, seed=0, epoch=0)  →  [2, 0, 3, 1], say;   of another epoch or seed another order

Sample i gets the 64-bit key w0 + 2^32 w1, where w0 … w3 is Philox 4x32-10 (Salmon et al. 2011) of
the counter (i, -1 - epoch) under the key `seed`, each a 64-bit number, low word first. The samples
are visited in the order of these keys as unsigned numbers, of equal keys the smaller index first.
The upper half of the counter is negative: the program's own random numbers never use such a one.
Nothing else goes in, so that a program in any language finds the same order.
"""

from __future__ import annotations

import numpy as np

from stepwell.arrays import Array
from stepwell.ir.philox import words


def order(samples: int, seed: int, epoch: int) -> Array:
    """The indices 0 … samples - 1 as this epoch visits them."""
    return np.argsort(_keys(samples, seed, epoch), kind="stable")


def _keys(samples: int, seed: int, epoch: int) -> Array:
    index = np.arange(samples, dtype=np.uint64)
    low, high, _, _ = words(index, (-1 - epoch) % 2**64, seed % 2**64)
    keys: Array = low | high << np.uint64(32)
    return keys
