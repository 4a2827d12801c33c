"""Memory as native code wants it: aligned, at an address.

In: a number of bytes. Out: a NumPy array over so many, untouched until something is written.

    address(aligned_block(1000)) % 64   →   0
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
ALIGNMENT = 64  # stepwell.ir.loop.core's, without what that imports


def address(array: Array) -> int:
    """Where an array's numbers lie."""
    found: int = array.__array_interface__["data"][0]
    return found


def aligned_block(size: int) -> Array:
    """At least `size` bytes of zeros, aligned as native code wants it, never at address 0."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -address(raw) % ALIGNMENT
    return raw[start : start + size] if size else raw[start : start + 1]
