"""Which functions an object takes from elsewhere: to be sure that none is of a maths library.

In: the bytes of a 64-bit little-endian ELF object. Out: names.

    undefined_symbols(object)   →   {"memcpy"}
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Set

from stepwell.codegen.runtime import LIBC, RESOLVE

_SYMBOL_TABLE = 2
_LIBC = frozenset({"memcpy", "memmove", "memset", "memcmp"})  # what LLVM may call, all of libc
_LIBC |= {"clock_gettime"}  # the profiling variant's clock
_LIBC |= LIBC  # the pool's threads


def undefined_symbols(data: bytes) -> set[str]:
    """Names of the symbols that the object needs; none for other formats than ELF."""
    if data[:6] != b"\x7fELF\x02\x01":
        return set()
    (sections,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, sections + size * i) for i in range(count)]
    found: set[str] = set()
    for _, kind, _, _, offset, length, link, _, _, entry in headers:
        if kind != _SYMBOL_TABLE:
            continue
        strings = headers[link][4]
        for place in range(offset, offset + length, entry):
            name, _, _, section = struct.unpack_from("<IBBH", data, place)
            if section == 0 and name:
                start = strings + name
                found.add(data[start : data.index(b"\0", start)].decode())
    return found


def foreign_symbols(needed: Set[str], defined: Iterable[str]) -> set[str]:
    """The symbols needed that neither other objects, libc, linker nor runtime give: should be
    none."""
    return set(needed) - _LIBC - set(defined) - {"_GLOBAL_OFFSET_TABLE_", RESOLVE}
