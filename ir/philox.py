"""Philox 4x32-10: random bits as a function of a counter and a key, with no state in between.

In: a 128-bit counter and a 64-bit key. Out: four 32-bit words. Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3. Any element of any stream can
be computed by itself, in any order: that is why numbers do not depend on threads or vectors.

    philox4x32((0, 0, 0, 0), (0, 0))    →    (0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8)

This is the meaning of the scalar operator `philox`, and what initialisers draw from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what the key grows by each round: the golden ratio, sqrt(3) - 1
MASK = 0xFFFFFFFF


def philox4x32(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, ...]:
    """The four output words. Words are Python integers or arrays of uint64, each below 2^32."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        left, right = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1 = (right >> 32) ^ c1 ^ k0, right & MASK
        c2, c3 = (left >> 32) ^ c3 ^ k1, left & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def words(low: Any, high: Any, key: Any) -> tuple[Any, ...]:
    """The four words of counters `high * 2^64 + low`, from 64-bit integers: Python's, or uint64."""
    return philox4x32(
        (low & MASK, (low >> 32) & MASK, high & MASK, (high >> 32) & MASK),
        (key & MASK, (key >> 32) & MASK),
    )


def philox(low: Array, high: Array, key: Array, word: int) -> Array:
    """One output word as i32, from arrays of i64."""
    counters = (np.asarray(x, np.int64).view(np.uint64) for x in (low, high, key))
    return np.asarray(words(*counters)[word]).astype(np.uint32).view(np.int32)
