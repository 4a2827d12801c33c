"""Static archives, written here: `ar` is not needed, and the bytes depend on the members only.

In: members with the symbols they define. Out: a System V archive, with its symbol index.

    archive_bytes([Member("digits.o", b"…", ("digits_run",))])   →   b"!<arch>\\n/     …"
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_MAGIC = b"!<arch>\n"


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    data: bytes
    symbols: tuple[str, ...]


def archive_bytes(members: Sequence[Member]) -> bytes:
    """The archive. Dates, owners and groups are 0."""
    names = b"".join(f"{member.name}/\n".encode() for member in members)
    symbols = [(symbol, i) for i, member in enumerate(members) for symbol in member.symbols]
    text = b"".join(symbol.encode() + b"\0" for symbol, _ in symbols)
    index_size = 4 + 4 * len(symbols) + len(text)
    place = len(_MAGIC) + 60 + _even(index_size) + 60 + _even(len(names))
    places = []
    for member in members:
        places.append(place)
        place += 60 + _even(len(member.data))
    index = struct.pack(">I", len(symbols))
    index += b"".join(struct.pack(">I", places[i]) for _, i in symbols) + text
    parts = [_MAGIC, _entry("/", index), _entry("//", names)]
    offset = 0
    for member in members:
        parts.append(_entry(f"/{offset}", member.data))
        offset += len(member.name.encode()) + 2
    return b"".join(parts)


def _even(size: int) -> int:
    return size + size % 2


def _entry(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)
