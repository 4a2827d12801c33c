"""Memory as native code wants it: aligned, at an address.

In: a number of bytes. Out: a NumPy array over so many, untouched until something is written.

    address(aligned_block(1000)) % 64   →   0
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
ALIGNMENT = 64  # stepwell.ir.loop.core's, without what that imports
_LARGE = 1 << 22  # bytes from which NumPy asks for huge pages


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


def filled_block(size: int, fill: Callable[[Array], None]) -> Array:
    """`aligned_block(size)` after `fill`, which writes all of it: quickly, though it is large.

    It is filled in small pages. A virtual machine may have to fetch a huge one from its host piece
    by piece, seven times as slowly as it reuses small ones. Linux then merges them, one by one.
    """
    if size < _LARGE or not hasattr(mmap, "MADV_NOHUGEPAGE"):
        block = aligned_block(size)
        fill(block)
        return block
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block = np.frombuffer(memory, np.uint8)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    fill(block)
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return block
