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
from functools import cache
from pathlib import Path


def release_memory() -> None:
    """Collects cyclic garbage, and hands free pages back where the C library can (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def release_code(library: str = "libllvmlite") -> None:
    """Unmaps the pages of a library that are as in its file (Linux): the next use finds them there.

    Relocating LLVM alone reads some 25 MB of its file, running it through much of its code.
    """
    libc = ctypes.CDLL(None)
    for start, end in _clean_parts(library):
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


@cache
def _clean_parts(library: str) -> tuple[tuple[int, int], ...]:
    """The parts of the address space that hold a loaded library's file and are never written."""
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return ()
    found: list[tuple[int, int]] = []
    part = None
    for line in lines:
        first, *rest = line.split(maxsplit=5)
        if not first.endswith(":"):  # what follows is about this part
            ours = len(rest) == 5 and Path(rest[-1]).name.startswith(library)
            part = first if ours and "w" not in rest[0] else None
        elif part is not None and first == "Anonymous:" and rest[0] == "0":
            start, end = (int(each, 16) for each in part.split("-"))
            found.append((start, end))
    return tuple(found)
