"""A perfect nest cut into pieces, each of which is scheduled by itself: middles, borders, tails.

In: a nest, as what each loop is for; where to cut which loops. Out: the pieces.

    {row: i, column: j, lane: l}, {column: [1, 55]}
      →  {column: j, row: i, lane: l}, {column: j_1, row: i_1, lane: l_1}, {column: j_2, …}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from stepwell.ir.loop.analysis import fresh_copy, kernel_buffers, taken_names
from stepwell.ir.loop.core import Alloc, Kernel
from stepwell.lowering.transforms.coarsen import coarsen, common_shape
from stepwell.lowering.transforms.cut import cut
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop
from stepwell.lowering.transforms.reorder import perfect_nest, reorder
from stepwell.lowering.transforms.split import split

Piece = dict[str, str]  # what a loop is for → its index, outermost first


def extent_of(kernel: Kernel, index: str) -> int:
    """The loop's extent, which has to be a number."""
    extent = find_loop(kernel.body, index).extent
    if not isinstance(extent, int):
        raise ScheduleError(f"the extent of {index} is not constant")
    return extent


def reordered(kernel: Kernel, piece: Piece, roles: Sequence[str]) -> tuple[Kernel, Piece]:
    """The piece's loops in the order of these roles, those that it has."""
    roles = [role for role in roles if role in piece]
    outermost = next(iter(piece.values()))
    return reorder(kernel, outermost, [piece[r] for r in roles]), {r: piece[r] for r in roles}


def cut_pieces(
    kernel: Kernel, piece: Piece, cuts: Mapping[str, Sequence[int]]
) -> tuple[Kernel, list[Piece]]:
    """The nest cut at these iterations of its loops; the pieces in order."""
    pieces = [piece]
    for role in [role for role in cuts if role in piece]:
        done: list[Piece] = []
        for part in pieces:
            after: list[Piece] = []
            for at in sorted(set(cuts[role]), reverse=True):
                if not 0 < at < extent_of(kernel, part[role]):
                    continue
                kernel, part = reordered(kernel, part, (role, *(r for r in part if r != role)))
                kernel, second = cut(kernel, part[role], at)
                rest = perfect_nest(kernel, second)[: len(part)]
                after.insert(0, dict(zip(part, rest, strict=True)))
            done += [part, *after]
        pieces = done
    return kernel, pieces


def split_piece(kernel: Kernel, piece: Piece, sizes: Mapping[str, int]) -> tuple[Kernel, Piece]:
    """Each of these loops as one over tiles, `role_tile`, and one inside a tile, `role`."""
    loops: Piece = {}
    for role, name in piece.items():
        if role not in sizes:
            loops[role] = name
            continue
        by = min(sizes[role], extent_of(kernel, name))
        parts = split(kernel, name, by, "guard", (f"{role}_tile", role))
        kernel = parts.kernel
        loops |= {f"{role}_tile": parts.outer, role: parts.inner}
    return kernel, loops


def joined(kernel: Kernel, parts: Sequence[Kernel]) -> Kernel:
    """Pieces that were scheduled by themselves, one after the other in one kernel, where all see
    the arrays in the same shapes."""
    for name in [parameter.buffer.name for parameter in kernel.parameters]:
        shape = common_shape([kernel_buffers(part)[name].shape for part in parts])
        parts = [coarsen(part, name, shape) for part in parts]
    taken = taken_names(kernel)
    bodies = [fresh_copy(part.body, taken) for part in parts]
    local = tuple(s for body in bodies for s in body if isinstance(s, Alloc))
    rest = tuple(s for body in bodies for s in body if not isinstance(s, Alloc))
    return replace(kernel, parameters=parts[0].parameters, body=(*local, *rest))
