"""Contractions: packed, register-tiled matrix products.

In: a naive nest whose heart is `acc[] = acc[] + A * B`. Its result axes fall into four groups: in
both factors (*batch*), in A only (*rows*), in B only and last in the result (*columns*), in B only
and elsewhere (*outer*). Out, with m×n a register tile:

    pack A: panels of m rows, contiguous in k (or read it in place: `_reads_a`, `_reads_b`)
    for batch, outer { for column block jb {
      pack B of the block: panels of n columns, contiguous in k
      for row block ib { for panel j in jb { for panel i in ib {
        acc: [m, n] in registers;  for k: acc += A[i, k, :] × B[j, k, :];  epilogue from registers
    } } } } }

Where B is constant it is packed whole, at the top: the pass `prepare` does that once. Rows that do
not fill a tile are a second loop over i, of one tile of their own height; how many these are only
a run knows where the rows' number is a size: then it has lower tiles. Columns that do not fill a
panel are a nest of their own, of fewer vectors, where A is read in place.

So a matrix product, a convolution (whose packing is im2col) and any other sum of products are one
strategy. The blocks keep A in the L1 cache and B in the L2 cache; see Goto and van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008, for the idea.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import ceil
from typing import TypeGuard

from stepwell.ir.loop.analysis import kernel_buffers, stores_of
from stepwell.ir.loop.core import For, Kernel, LoopKind, statements
from stepwell.ir.scalar import Expr, Load, variables
from stepwell.ir.size import Dim, floordiv
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose
from stepwell.lowering.strategies.constant_panels import asked_ahead, is_constant, pack_constant
from stepwell.lowering.strategies.products import (
    Product,
    extent_of,
    factor_of,
    find_product,
    fused_loops,
    guards_on,
    outermost,
    packed_factor,
    plain_product,
    streams,
    stride,
    whole_a,
    without_outer_lets,
)
from stepwell.lowering.strategies.register_tile import Tile, choose_tile
from stepwell.lowering.strategies.skinny import schedule_skinny
from stepwell.lowering.transforms.cut import cut
from stepwell.lowering.transforms.interchange import interchange
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import find_loop
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.reorder import perfect_nest, reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split
from stepwell.lowering.transforms.squares import squares

SMALL = 4  # rows below which packing costs more than it saves


def schedule_contraction(kernel: Kernel, target: Target) -> Kernel | None:
    """The packed, tiled kernel; None where the kernel is not a product worth it."""
    kernel = without_single_loops(without_outer_lets(kernel))
    found = find_product(kernel)
    if found is None:
        return None
    rows = extent_of(kernel, found.rows)
    if isinstance(rows, int) and rows < SMALL:
        return schedule_skinny(kernel, found, target)
    columns, depth = extent_of(kernel, found.columns), extent_of(kernel, found.reduction)
    tile = choose_tile(rows, columns, depth, found.a.dtype, target)
    return _tiled(kernel, found, tile, target)


def _tiled(kernel: Kernel, found: Product, tile: Tile, target: Target) -> Kernel:
    outside = (*found.batch, *found.outer)
    order = (*outside, *found.columns, *found.rows)
    kernel = reorder(plain_product(kernel, found), outermost(kernel), order)
    kernel, column = fused_loops(kernel, found.columns)
    kernel, row = fused_loops(kernel, found.rows)
    kernel, deep = fused_loops(kernel, found.reduction)
    kernel = simplify_kernel(kernel)
    parts = [(column, tile)]
    rows, columns, depth = (find_loop(kernel.body, name).extent for name in (row, column, deep))
    rest = _columns_left(columns, tile)
    # Only where A is not packed: each part would pack it anew.
    if rest and isinstance(rows, int) and _reads_a(kernel, (row, deep), tile.rows, target):
        kernel, thin = cut(kernel, column, columns - rest)
        parts.append((thin, choose_tile(rows, rest, depth, found.a.dtype, target)))
    for part, its in parts:
        kernel = _panels(kernel, part, outside, its, target)
    return without_single_loops(whole_a(kernel))


def _columns_left(extent: Dim, tile: Tile) -> int:
    """How many columns whole panels leave, where fewer vectors hold these; else 0."""
    if not isinstance(extent, int) or extent < tile.width:
        return 0
    rest = extent % tile.width
    return rest if rest <= tile.width - tile.lanes else 0


def _panels(
    kernel: Kernel, column: str, outside: tuple[str, ...], tile: Tile, target: Target
) -> Kernel:
    """The loop over columns, that over rows in it, as panels and register tiles."""
    row = perfect_nest(kernel, column)[1]
    (deep,) = (s.index for s in find_loop(kernel.body, row).body if isinstance(s, For))
    panels = split(kernel, column, tile.width, "guard", ("column_tile", "column"))
    vectors = split(panels.kernel, panels.inner, tile.lanes, "guard", ("vector", "lane"))
    kernel = simplify_kernel(vectors.kernel)
    constant = is_constant(kernel, factor_of(kernel, deep, "b"))
    if constant:
        lanes = (panels.outer, vectors.outer, vectors.inner)
        kernel = pack_constant(kernel, lanes, deep, outside)
    far = packed_factor(kernel, deep, "b") if constant else ""
    blocks = split(kernel, panels.outer, tile.column_panels, "bound", ("column_block", "panel"))
    columns = (blocks.inner, vectors.outer, vectors.inner)
    kernel = reorder(simplify_kernel(blocks.kernel), blocks.outer, (blocks.outer, row, *columns))
    if not constant and not _reads_b(kernel, (deep, vectors.inner), tile, target):
        one = find_loop(kernel.body, blocks.outer).extent == 1
        room = find_loop(kernel.body, blocks.inner).extent if one else tile.column_panels
        kernel = _pack_b(kernel, columns, deep, row, (room, tile.vectors, tile.lanes))
    kernel, parts = _without_tail(kernel, row, tile.rows)
    for part, height in parts:
        its = replace(tile, rows=height)
        kernel = _rows(kernel, part, (*outside, blocks.outer), its, target)
    return asked_ahead(kernel, far, target) if constant else kernel


def _without_tail(kernel: Kernel, row: str, height: int) -> tuple[Kernel, list[tuple[str, int]]]:
    """The loop over rows as whole tiles, and that over what is left; each with the height of its
    tiles. Where only a run knows what is left, that is a quarter of a tile: a row or two alone are
    a common run."""
    extent = find_loop(kernel.body, row).extent
    if isinstance(extent, int):
        height = min(height, extent)
    whole = floordiv(extent, height) * height
    if whole == extent:
        return kernel, [(row, height)]
    kernel, rest = cut(kernel, row, whole)
    left = find_loop(kernel.body, rest).extent
    return kernel, [(row, height), (rest, left if isinstance(left, int) else ceil(height / 4))]


def _rows(kernel: Kernel, row: str, outside: tuple[str, ...], tile: Tile, target: Target) -> Kernel:
    """The loop over rows, and those over columns in it, as tiles in registers."""
    _, *columns = perfect_nest(kernel, row)
    inside = statements(find_loop(kernel.body, columns[-1]).body)
    (deep,) = [s.index for s in inside if isinstance(s, For)]
    tiles = split(kernel, row, tile.rows, "guard", ("row_tile", "row"))
    kernel = simplify_kernel(tiles.kernel)
    if not _reads_a(kernel, (tiles.inner, deep), tile.rows, target):
        kernel = _pack_a(kernel, (tiles.outer, tiles.inner), deep, outside)
    blocks = split(kernel, tiles.outer, tile.row_panels, "bound", ("row_block", "row_panel"))
    kernel = simplify_kernel(blocks.kernel)
    panel, vector, lane = columns
    order = (blocks.outer, panel, blocks.inner, tiles.inner, vector, lane)
    kernel = reorder(kernel, blocks.outer, order)
    kernel = jam(kernel, tiles.inner, "unrolled")
    kernel = jam(kernel, vector, "unrolled")
    return jam(kernel, lane, "vector")


def _reads_a(kernel: Kernel, loops: tuple[str, str], height: int, target: Target) -> bool:
    """Whether A is read where it is: a tile's rows stay in the first cache, one line of each; a
    few more come from the second cache in time."""
    row, deep = loops
    a = factor_of(kernel, deep, "a")
    if not _is_plain(a) or guards_on(kernel, row):
        return False
    across, along = (_stride(kernel, a, name) for name in loops)
    if across is None or along is None or 1 not in (across, along):
        return False
    ways = target.l1 // target.page
    crowded = _crowd(height, across * a.dtype.bytes, 1, target) > ways + ways // 4
    return not choose("pack_a", crowded, lambda: (False, True))


def _reads_b(kernel: Kernel, loops: tuple[str, str], tile: Tile, target: Target) -> bool:
    """Whether B is read where it is: its columns lie side by side, and a panel of them stays in
    the first cache, beside A, for all tiles of rows."""
    deep, lane = loops
    b, depth = factor_of(kernel, deep, "b"), find_loop(kernel.body, deep).extent
    if not _is_plain(b) or guards_on(kernel, lane) or not isinstance(depth, int):
        return False
    across = _stride(kernel, b, deep)
    if across is None or _stride(kernel, b, lane) != 1:
        return False
    lines = ceil(tile.width * b.dtype.bytes / target.line)
    ways = target.l1 // target.page
    crowded = _crowd(depth, across * b.dtype.bytes, lines, target) > ways * 3 // 4
    return not choose("pack_b", crowded, lambda: (False, True))


def _is_plain(factor: Expr) -> TypeGuard[Load]:
    """Whether a factor's elements are what lies in memory."""
    plain = isinstance(factor, Load) and factor.guard is None
    return plain and factor.dtype == factor.dtype.compute


def _stride(kernel: Kernel, load: Load, index: str) -> int | None:
    return stride(load, kernel_buffers(kernel)[load.buffer].shape, index)


def _crowd(rows: int, step: int, lines: int, target: Target) -> int:
    """The most lines at one place of the first cache, of so many rows `step` bytes apart: it is
    indexed within a page, so it holds l1 // page lines a multiple of a page apart."""
    sets = target.page // target.line
    count = Counter(
        (row * step // target.line + line) % sets for row in range(rows) for line in range(lines)
    )
    return max(count.values())


def _pack_a(kernel: Kernel, row: tuple[str, str], deep: str, outside: tuple[str, ...]) -> Kernel:
    """Pack A over all rows, as far outside as the loops that it depends on allow."""
    a = factor_of(kernel, deep, "a")
    used = [number for number, name in enumerate(outside) if name in variables(a)]
    before = outside[used[-1] + 1 if used else 0]
    loops = [(name, find_loop(kernel.body, name).extent) for name in (row[0], deep, row[1])]
    # Rows innermost: the panel is written in order, and its rows are read as so many streams.
    kinds: tuple[LoopKind, ...] = ("serial", "serial", "unrolled")
    return pack(kernel, a, "a_panels", loops, before, guards_on(kernel, row[1]), kinds)


def _pack_b(
    kernel: Kernel, columns: tuple[str, str, str], deep: str, before: str,
    room: tuple[Dim, int, int],
) -> Kernel:  # fmt: skip
    """Pack B over one block of columns, inside the loop over blocks."""
    panel, vector, lane = columns
    depth = find_loop(kernel.body, deep).extent
    loops = [(panel, room[0]), (deep, depth), (vector, room[1]), (lane, room[2])]
    kinds: tuple[LoopKind, ...] = ("serial", "serial", "unrolled", "vector")
    b = factor_of(kernel, deep, "b")
    guards = guards_on(kernel, lane)
    kernel = pack(kernel, b, "b_panels", loops, before, guards, kinds)
    # With guards, panels stay outside: a panel's masks are made once for all of its rows.
    return _in_order(kernel, packed_factor(kernel, deep, "b"), streams(b, lane) and not guards)


def _in_order(kernel: Kernel, packed: str, along: bool) -> Kernel:
    """Panels filled in the order in which the matrix lies. Where that is `along` its columns, a row
    of all panels at a time: its page is visited once. Where lanes are strided, but contiguous in k,
    by squares: the loop over k goes inside of that over vectors."""
    fill = next(
        s
        for s in statements(kernel.body)
        if isinstance(s, For) and {store.buffer for store in stores_of((s,))} == {packed}
    )
    if along:
        return interchange(kernel, fill.index)
    deep = perfect_nest(kernel, fill.index)[-3]
    turned = interchange(kernel, deep)
    square = squares(turned, packed)
    return kernel if square is turned else square
