"""An arena: where blocks that live for some calls only lie, so that they take little room together.

In: blocks, with their sizes (formulas) and the calls for which they are needed. Out: an offset for
each, and the bytes of all.

Blocks whose lives overlap never share bytes, for any value of the sizes. Three packings are tried,
in the order of how simple their formulas are, until one is close to what is live at once (at
nominal sizes): *by unit*, where blocks that are constants times the same product of sizes are
packed like constants, and one of any other size lies above those that live with it; *by slot*,
where a slot is as large as the largest block that it ever holds; and *stacked*, where blocks are
packed at small or at nominal sizes, and each then begins where the highest of those below it ends,
whatever the sizes are.
"""

from __future__ import annotations

import functools
from bisect import insort
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from stepwell.ir.loop.core import ALIGNMENT, aligned
from stepwell.ir.size import Dim, Size, evaluate, maximum, provably_le, symbols
from stepwell.lowering.fusion_group import nominal

Packing = tuple[list[Dim], Dim]  # an offset for each block, and the bytes of all
CLOSE = 1.03  # times the least, a packing is good enough
MANY = 128  # blocks, past which the formulas of those that are stacked are too long


@dataclass
class Block:
    """Bytes needed from the first to the last of some calls, both included."""

    raw: Dim
    first: int
    last: int

    @property
    def bytes(self) -> Dim:
        return aligned(self.raw)

    def overlaps(self, other: Block) -> bool:
        return self.first <= other.last and other.first <= self.last


def packed(blocks: Sequence[Block]) -> Packing:
    """The first way that is close to the least, for small sizes and nominal ones; else the best."""
    least = [_least(blocks, at) for at in _AT]

    def waste(packing: Packing) -> float:
        return max(at(packing[1]) / max(1, bound) for at, bound in zip(_AT, least, strict=True))

    stacked = [functools.partial(_stacked, at=at) for at in _AT] if len(blocks) <= MANY else []
    ways: list[Callable[[Sequence[Block]], Packing]] = [_by_unit, _by_slot, *stacked]
    found: list[Packing] = []
    for way in ways:
        found.append(way(blocks))
        if waste(found[-1]) <= CLOSE:
            return found[-1]
    return min(found, key=waste)


def _one(dim: Dim) -> int:
    """The dim with every symbol 1."""
    return evaluate(dim, dict.fromkeys(symbols(dim), 1))


_AT = (_one, nominal)


def _least(blocks: Sequence[Block], at: Callable[[Dim], int]) -> int:
    """The most that is live at once: no packing takes less."""
    change: Counter[int] = Counter()
    for block in blocks:
        change[block.first] += at(block.bytes)
        change[block.last + 1] -= at(block.bytes)
    return max(accumulate(change[call] for call in sorted(change)), default=0)


def live_bytes(blocks: Sequence[Block], sizes: Sequence[Dim], call: int) -> Dim:
    """The bytes in use during a call."""
    live = (s for b, s in zip(blocks, sizes, strict=True) if b.first <= call <= b.last)
    return sum(live, start=0)


def in_a_row(blocks: Sequence[Block]) -> Packing:
    offsets: list[Dim] = []
    total: Dim = 0
    for block in blocks:
        offsets.append(total)
        total = total + block.bytes
    return offsets, total


def _by_slot(blocks: Sequence[Block]) -> Packing:
    """Each block in the free slot that fits best; a slot grows to the largest of its blocks."""
    slots: list[Dim] = []
    free_after: list[int] = []
    homes = [0] * len(blocks)
    for i in sorted(range(len(blocks)), key=lambda i: (blocks[i].first, i)):
        block = blocks[i]
        free = [s for s in range(len(slots)) if free_after[s] < block.first]
        if free:
            home = min(free, key=lambda s: _misfit(slots[s], block.bytes))
            if not provably_le(block.bytes, slots[home]):
                slots[home] = maximum(slots[home], block.bytes)
        else:
            home = len(slots)
            slots.append(block.bytes)
            free_after.append(-1)
        homes[i], free_after[home] = home, block.last
    starts, total = in_a_row([Block(size, 0, 0) for size in slots])
    return [starts[home] for home in homes], total


def _misfit(slot: Dim, bytes: Dim) -> tuple[int, int]:
    """What a slot would grow by, then what it would waste, at nominal sizes."""
    room, need = nominal(slot), nominal(bytes)
    return max(0, need - room), max(0, room - need)


def _by_unit(blocks: Sequence[Block]) -> Packing:
    """Blocks of c*U bytes, U the same product of sizes, packed together as constants; the parts
    follow one another. What is no such product (scratch for each thread) lies above all."""
    parts: dict[Dim, list[int]] = {}
    for i, block in enumerate(blocks):
        parts.setdefault(_unit(block.raw)[0], []).append(i)
    others = parts.pop(0, [])
    offsets: list[Dim] = [0] * len(blocks)
    base: Dim = 0
    top = _Top(0, [])
    for unit, members in sorted(parts.items(), key=lambda part: str(part[0])):
        inside = [blocks[i] for i in members]
        counts = [-(-_unit(block.raw)[1] // ALIGNMENT) * ALIGNMENT for block in inside]
        plain, bytes = _pack(counts, inside)
        for i, place in zip(members, plain, strict=True):
            offsets[i] = base + unit * place
        ends = [place + count for place, count in zip(plain, counts, strict=True)]
        top = _Top(base, list(zip(inside, ends, strict=True)), unit)
        base = base + unit * bytes
    return _above(blocks, others, offsets, top, base)


@dataclass(frozen=True)
class _Top:
    """The uppermost part: where it begins, and its blocks with the ends of their places in it."""

    base: Dim
    ends: list[tuple[Block, int]]
    unit: Dim = 1

    def over(self, block: Block) -> Dim:
        """The end of all that lives with the block."""
        ends = (end for other, end in self.ends if other.overlaps(block))
        return self.base + self.unit * max(ends, default=0)


def _above(
    blocks: Sequence[Block], others: Sequence[int], offsets: list[Dim], top: _Top, base: Dim
) -> Packing:
    """Each of the others above what lives with it; those that live together in slots above all."""
    single = [
        i for i in others
        if not any(i != j and blocks[i].overlaps(blocks[j]) for j in others)
    ]  # fmt: skip
    for i in single:
        offsets[i] = top.over(blocks[i])
    rest = [i for i in others if i not in set(single)]
    places, size = _by_slot([blocks[i] for i in rest])
    for i, place in zip(rest, places, strict=True):
        offsets[i] = base + place
    return offsets, largest([base + size, *(offsets[i] + blocks[i].bytes for i in single)])


def largest(dims: Sequence[Dim]) -> Dim:
    """The largest, as a nest of maxima that is not deep."""
    while len(dims) > 1:
        dims = [functools.reduce(maximum, dims[i : i + 2]) for i in range(0, len(dims), 2)]
    return dims[0] if dims else 0


def _unit(bytes: Dim) -> tuple[Dim, int]:
    """(U, c) where the bytes are c*U, U a product of symbols; (0, 0) where they are no such."""
    if isinstance(bytes, int):
        return 1, bytes
    if len(bytes.terms) == 1:
        monomial, factor = bytes.terms[0]
        if all(atom.function == "symbol" for atom in monomial):
            return Size(((monomial, 1),)), factor
    return 0, 0


def _stacked(blocks: Sequence[Block], at: Callable[[Dim], int]) -> Packing:
    """Who lies above whom, among blocks whose lives overlap, is as packed at certain sizes."""
    places, _ = _pack([at(block.bytes) for block in blocks], blocks)
    offsets: list[Dim] = [0] * len(blocks)
    below: list[set[int]] = [set() for _ in blocks]
    placed: list[int] = []
    for i in sorted(range(len(blocks)), key=lambda i: (places[i], i)):
        under = [j for j in placed if blocks[i].overlaps(blocks[j])]
        below[i] = set(under).union(*(below[j] for j in under))
        touching = set(under).difference(*(below[j] for j in under))
        for j in sorted(touching):
            offsets[i] = maximum(offsets[i], offsets[j] + blocks[j].bytes)
        placed.append(i)
    total: Dim = 0
    for i in placed:
        total = maximum(total, offsets[i] + blocks[i].bytes)
    return offsets, total


def _pack(sizes: Sequence[int], blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Offsets of constant sizes: the largest first ("greedy by size", Pisarchyk and Lee 2020,
    section 4.2), or the longest lives first, whichever takes less."""
    every = range(len(blocks))
    orders = (
        sorted(every, key=lambda i: (-sizes[i], blocks[i].first, i)),
        sorted(every, key=lambda i: (blocks[i].first - blocks[i].last, -sizes[i], i)),
    )
    return min((_placed(sizes, blocks, order) for order in orders), key=lambda p: p[1])


def _placed(
    sizes: Sequence[int], blocks: Sequence[Block], order: Sequence[int]
) -> tuple[list[int], int]:
    """Each block in turn at the lowest place that is free for as long as it lives."""
    offsets = [0] * len(blocks)
    placed: list[int] = []  # the lowest first
    for i in order:
        place = 0
        for j in placed:
            if offsets[j] >= place + sizes[i]:
                break
            if blocks[i].overlaps(blocks[j]):
                place = max(place, offsets[j] + sizes[j])
        offsets[i] = place
        insort(placed, i, key=offsets.__getitem__)
    return offsets, max((offsets[i] + sizes[i] for i in placed), default=0)
