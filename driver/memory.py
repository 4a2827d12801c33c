"""Memory that compiling and loading took, given back to the system before the weights come.

In: nothing. Out: nothing; the process is smaller where what was compiled with is no longer used.

Compiling makes many small objects, some in cycles, between which few long-lived ones stay; the
allocator keeps the pages of what is freed. And loading runs through much of LLVM's code, which
running a model does not need.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
from pathlib import Path


def release_memory() -> None:
    """Collects cyclic garbage, and hands free pages back where the C library can (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def release_code(library: str = "libllvmlite") -> None:
    """Unmaps the pages of a library's code (Linux): the next use finds them in the file again.

    Only what is executable and never written, so nothing can be lost.
    """
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    for line in maps:
        place, access, *_, path = line.split(maxsplit=5)
        if access == "r-xp" and Path(path).name.startswith(library):
            start, end = (int(part, 16) for part in place.split("-"))
            libc = ctypes.CDLL(None)
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
