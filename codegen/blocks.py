"""Memory as native code wants it: aligned, at an address.

In: a number of bytes. Out: a NumPy array over so many, untouched until something is written.

    address(aligned_block(1000)) % 64   →   0
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
ALIGNMENT = 64  # stepwell.ir.loop.core's, without what that imports


def address(array: Array) -> int:
    """Where an array's numbers lie.

    Read from the array's own record, whose first field after CPython's head is that pointer
    (`PyArrayObject_fields` of NumPy's stable ABI): a tenth of the time of `__array_interface__`,
    which is asked where a first look at the two does not find that they agree.
    """
    if not _READS_RECORDS:
        return _asked(array)
    return _Word.from_address(id(array) + _HEAD).value


_Word = ctypes.c_size_t
_HEAD = object.__basicsize__


def _asked(array: Array) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


def _reads_records() -> bool:
    """Whether arrays' records are as `address` reads them."""
    if sys.implementation.name != "cpython":
        return False
    probe = np.zeros(8, np.uint8)
    return all(
        _Word.from_address(id(array) + _HEAD).value == _asked(array) for array in (probe, probe[3:])
    )


_READS_RECORDS = _reads_records()


def aligned_block(size: int) -> Array:
    """At least `size` bytes of zeros, aligned as native code wants it, never at address 0."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -address(raw) % ALIGNMENT
    return raw[start : start + size] if size else raw[start : start + 1]
