"""Attention's gradient: five products and a softmax for a block of rows at a time.

In: the naive nest of `attention_gradient_nest.py`. Out:

    for batch, head {
      pack keys and values, transposed: panels of columns
      for block of rows {
        scores[rows, :]  = queries × keys        in register tiles; likewise dp = dresult × values
        for row          { weights p and ds along the row, in vectors }
        dquery[rows, :]  = ds × keys             in register tiles
        dkey[:, :]      += dsᵀ × queries         in register tiles; likewise dvalue += pᵀ × dresult
      }
    }

A block is as many rows as leave what is kept of them in the second cache. What is added up over the
rows takes one block's terms in registers, then those of the next: the order is that of the rows.
Columns that a comparison of positions hides from all rows of a block are passed over, in smaller
blocks (`position_masks.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepwell.ir.dtypes import DType
from stepwell.ir.loop.analysis import (
    allocations,
    kernel_buffers,
    map_statements,
    reads,
    stores_of,
    substitute_block,
)
from stepwell.ir.loop.core import Alloc, Block, For, Kernel, Let, Statement
from stepwell.ir.scalar import Expr, loads
from stepwell.ir.size import Dim, ceildiv, maximum
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose
from stepwell.lowering.strategies.attention import (
    SIDE_BY_SIDE,
    Rows,
    dividing,
    padded,
    tiled_product,
    without_hidden,
)
from stepwell.lowering.strategies.loops import vectorize_inward
from stepwell.lowering.strategies.position_masks import position_mask
from stepwell.lowering.strategies.register_tile import UNKNOWN, Tile, analytic_tile
from stepwell.lowering.transforms.fission import fission, widen
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop
from stepwell.lowering.transforms.promote import promote
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split

MASKED = 32  # rows of a block in which some columns may be hidden from all
BLOCK = 64  # rows, at most: more terms at a time do not make the sums over rows faster
_KEPT = 5  # numbers that are kept for each score
_SCORES = 2  # products that give scores


def schedule_attention_gradient(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel; None where the kernel is none, or has another form."""
    if kernel.family != "attention_gradient":
        return None
    for skips in (True, False):
        try:
            return _tiled(kernel, target, skips)
        except ScheduleError:
            continue
    return None


def _tiled(kernel: Kernel, target: Target, skips: bool) -> Kernel:
    parts = _parts(kernel)
    kernel = _without_lets(kernel, parts.row)
    row, score = (find_loop(kernel.body, name) for name in (parts.row, parts.scores[0]))
    dtype = kernel_buffers(kernel)[parts.cuts[0]].dtype
    tile = analytic_tile(row.extent, score.extent, 0, dtype, target)
    down = analytic_tile(score.extent, score.extent, 0, dtype, target)
    height, height_down = dividing(row.extent, tile.rows), dividing(score.extent, down.rows)
    block = _block(row.extent, score.extent, height, dtype, target)
    kept = frozenset(b.name for b in allocations(kernel.body) if b.space == "scratch")
    kept -= {_stored(find_loop(kernel.body, name)) for name in parts.sums}
    mask = position_mask(row.body, parts.row, score.extent, kept) if skips else None
    if mask is not None:
        height_down = 1 << (height_down.bit_length() - 1)  # so that parts of a row lie in vectors
        block = min(block, -(-MASKED // height) * height)
    block = choose("attention_rows", block, lambda: range(height, 2 * BLOCK, height))
    (deep,) = _loops(find_loop(kernel.body, parts.result))
    kernel = _roomy(kernel, height_down, tile)
    blocks = split(kernel, parts.row, block, "bound", ("row_block", "row"))
    kernel, phases = simplify_kernel(blocks.kernel), [blocks.inner]
    room = ceildiv(block, SIDE_BY_SIDE) * SIDE_BY_SIDE
    for stored in parts.cuts:
        kernel, rest = fission(kernel, phases[-1], stored, room)
        phases.append(rest)

    *scores, softmax, result = phases[: _SCORES + 2]
    for phase, column in zip((*scores, result), (*parts.scores, parts.result), strict=True):
        tiles = split(kernel, phase, height, "bound", (f"{phase}_tile", phase))
        kernel = simplify_kernel(tiles.kernel)
        kernel = tiled_product(kernel, tiles.inner, column, height, blocks.outer, target)
    for phase, column in zip(phases[_SCORES + 2 :], parts.sums, strict=True):
        inner = _only_loop(find_loop(kernel.body, column)).index
        tiles = split(promote(kernel, phase), column, height_down, "bound")
        kernel = simplify_kernel(tiles.kernel)
        kernel = tiled_product(kernel, tiles.inner, inner, height_down, tiles.outer, target)
    kernel = vectorize_inward(kernel, softmax, target.lanes(dtype), target, most=2)
    kernel = _side_by_side(kernel, softmax)
    for name in parts.around:
        kernel = vectorize_inward(kernel, name, target.lanes(dtype), target)
    if mask is not None:
        rows = Rows(mask.row, blocks.outer, block)
        kernel = without_hidden(kernel, mask, rows, deep.index, kept)
    return without_single_loops(kernel)


@dataclass(frozen=True)
class _Parts:
    """Indices of loops: over the rows; in its body those of the products, over the columns of their
    results; and before and behind it. `cuts` are the buffers behind which the body is cut."""

    row: str
    scores: tuple[str, ...]
    result: str
    sums: tuple[str, ...]
    around: tuple[str, ...]
    cuts: tuple[str, ...]


def _parts(kernel: Kernel) -> _Parts:
    nests = [s for s in kernel.body if isinstance(s, For)]
    while len(nests) == 1:
        nests = [s for s in nests[0].body if isinstance(s, For)]
    rows = [loop for loop in nests if len(_loops(loop)) > _SCORES]
    if len(rows) != 1:
        raise ScheduleError("there is not one loop over rows")
    body = _loops(rows[0])
    read = reads(tuple(nests[nests.index(rows[0]) + 1 :]))
    sums = [loop for loop in body if _stored(loop) in read]
    *inside, result = [loop for loop in body if loop not in sums]
    if body[-len(sums) :] != sums or len(inside) <= _SCORES:
        raise ScheduleError("the loop over rows does not end in sums over them")
    scores, last = inside[:_SCORES], inside[-1]
    return _Parts(
        rows[0].index,
        tuple(loop.index for loop in scores),
        result.index,
        tuple(loop.index for loop in sums),
        tuple(loop.index for loop in nests if loop is not rows[0]),
        tuple(_stored(loop) for loop in (*scores, last, result, *sums[:-1])),
    )


def _without_lets(kernel: Kernel, row: str) -> Kernel:
    """Index arithmetic of a row put in where it is used: the body can be cut anywhere."""

    def inlined(loop: For) -> Block:
        body: list[Statement] = []
        values: dict[str, Expr] = {}
        for statement in loop.body:
            (statement,) = substitute_block((statement,), values)
            if isinstance(statement, Let) and not loads(statement.value):
                values[statement.name] = statement.value
            else:
                body.append(statement)
        return (replace(loop, body=tuple(body)),)

    return replace(kernel, body=replace_loop(kernel.body, row, inlined))


def _loops(loop: For) -> list[For]:
    return [s for s in loop.body if isinstance(s, For)]


def _only_loop(loop: For) -> For:
    inner = _loops(loop)
    if len(inner) != 1 or len(loop.body) != 1:
        raise ScheduleError(f"the loop over {loop.index} is not perfectly nested")
    return inner[0]


def _stored(loop: For) -> str:
    """The buffer with subscripts that the loop stores to last."""
    return next((s.buffer for s in reversed(stores_of((loop,))) if s.indices), "")


def _block(rows: Dim, columns: Dim, height: int, dtype: DType, target: Target) -> int:
    """Rows of a block: blocks of one size, of whole tiles, that the second cache holds."""
    each = _KEPT * dtype.compute.bytes * (columns if isinstance(columns, int) else UNKNOWN)
    most = max(1, min(BLOCK, target.l2 // 2 // each) // height) * height
    if not isinstance(rows, int):
        return most
    even = (size for size in range(most, most // 2, -height) if rows % size == 0)
    return next(even, min(most, -(-rows // height) * height))


def _roomy(kernel: Kernel, height: int, tile: Tile) -> Kernel:
    """Scratch with room for whole tiles, in rows as in columns: its stores are not guarded."""

    def roomy(statement: Statement) -> Statement:
        if not isinstance(statement, Alloc) or statement.buffer.space != "scratch":
            return statement
        *outer, last = statement.buffer.shape
        last = maximum(_whole(last, height), _whole(last, tile.width))
        shape = (*(_whole(dim, height) for dim in outer), last)
        return replace(statement, buffer=replace(statement.buffer, shape=shape))

    return replace(kernel, body=map_statements(kernel.body, roomy))


def _whole(dim: Dim, by: int) -> Dim:
    return ceildiv(dim, by) * by


def _side_by_side(kernel: Kernel, row: str) -> Kernel:
    """Several rows of the softmax at once: one hides the latency of the other's sums of lanes."""
    parts = split(kernel, row, SIDE_BY_SIDE, "bound")
    kernel = padded(simplify_kernel(parts.kernel), parts.inner, SIDE_BY_SIDE)
    kernel = simplify_kernel(widen(kernel, parts.inner, SIDE_BY_SIDE))
    return jam(kernel, parts.inner, "unrolled")
