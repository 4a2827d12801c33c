"""Memory that compiling took, given back to the system.

In: nothing. Out: nothing; the process is smaller where what was compiled with is no longer used.

Compiling makes many small objects, some in cycles, between which few long-lived ones stay. The
allocator keeps the pages of what is freed, so that the weights, which are next, would come on top.
"""

from __future__ import annotations

import ctypes
import gc


def release_memory() -> None:
    """Collects cyclic garbage, and hands free pages back where the C library can (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
