"""Windows over images channels first: depthwise convolutions, poolings, stencils.

In: a naive nest whose innermost loops go over the taps of a window, `acc[] = acc[] ⊕ f(x[n, c,
i + p, j + q], w[c, p, q])`, and whose results lie row after row. Out, with columns in lanes:

    for n, c { for rows, columns of the border, and of the middle, where no tap is outside {
      for tile of rows { for vector of columns {
        acc: [rows, lanes] in registers
        for every tap, unrolled: acc ⊕= f(x, w);  epilogue from registers
      } }
    } }

Neighbouring rows read the same vectors at different taps; unrolled, each is loaded once. Where
there are only columns, a tile is of neighbouring vectors. A border is whole tiles: which of its
rows are outside is known once they are unrolled, which of its columns is a mask.
"""

from __future__ import annotations

from math import ceil, prod

from stepwell.ir.loop.analysis import loads_of
from stepwell.ir.loop.core import For, Kernel
from stepwell.ir.scalar import Load, as_dim, coefficient, variables
from stepwell.ir.target import Target
from stepwell.lowering.strategies.pieces import (
    Piece,
    cut_pieces,
    extent_of,
    reordered,
    split_piece,
)
from stepwell.lowering.strategies.products import without_outer_lets
from stepwell.lowering.strategies.window import (
    Window,
    choose_longest,
    lanes_of,
    middle,
    tile_size,
    windowed_sum,
)
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import ScheduleError, as_kind, find_loop
from stepwell.lowering.transforms.reorder import reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split

UNROLLED = 80  # statements in an unrolled body


def schedule_row_window(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel; None where it is no window over images channels first."""
    kernel = without_single_loops(without_outer_lets(kernel))
    found = _find(kernel)
    return None if found is None else _tiled(kernel, found, target)


def _find(kernel: Kernel) -> Window | None:
    """The anatomy, its innermost pixels walked along by lanes: all that is read at neighbouring
    columns lies side by side. There may be no rows."""
    found = windowed_sum(kernel)
    if found is None or len(found[0]) < 2:
        return None
    order, taps, windowed = found
    *images, column = order
    if column not in windowed:
        return None
    row = images.pop() if images and images[-1] in windowed else ""
    body = find_loop(kernel.body, taps[-1]).body
    if not all(_is_contiguous(load, column) for load in loads_of(body)):
        return None
    return Window(tuple(images), (row, column) if row else (column,), column, taps)


def _is_contiguous(load: Load, column: str) -> bool:
    used = [number for number, e in enumerate(load.indices) if column in variables(e)]
    at = as_dim(load.indices[-1]) if load.indices else None
    last = len(load.indices) - 1
    return not used or (used == [last] and at is not None and coefficient(at, column) == 1)


def _tiled(kernel: Kernel, found: Window, target: Target) -> Kernel:
    lanes, column = lanes_of(kernel, found.taps, target), found.pixels[-1]
    if extent_of(kernel, column) * 2 < lanes:
        raise ScheduleError("there are too few columns for the lanes of a vector")
    outermost = next(s.index for s in kernel.body if isinstance(s, For))
    kernel = reorder(kernel, outermost, (*found.images, *found.pixels))
    taps = prod(extent_of(kernel, name) for name in found.taps)
    most = choose_longest(min(target.vector_registers // 4, UNROLLED // taps), target)
    for name in found.taps:
        kernel = as_kind(kernel, name, "unrolled")
    vectors = split(kernel, column, lanes, "guard", ("vector", "lane"))
    piece = {"column": vectors.outer, "lane": vectors.inner}
    if len(found.pixels) == 1:
        size = tile_size(max(1, extent_of(kernel, column) // lanes), most)
        cuts = {"column": _cuts(kernel, found, column, size * lanes)}
    else:
        piece = {"row": found.pixels[0], **piece}
        size = tile_size(extent_of(kernel, piece["row"]), most)
        cuts = {"row": _cuts(kernel, found, piece["row"], size)}
        cuts["column"] = _cuts(kernel, found, column, lanes)
    cuts["column"] = [at // lanes for at in cuts["column"]]
    kernel, pieces = cut_pieces(simplify_kernel(vectors.kernel), piece, cuts)
    kernel = simplify_kernel(kernel)
    for piece in pieces:
        kernel = _scheduled(kernel, piece, size)
    return without_single_loops(kernel)


def _cuts(kernel: Kernel, found: Window, index: str, size: int) -> list[int]:
    """Where the tiles begin and end in which all guards hold; and the last whole tile."""
    low, high = middle(kernel, found.taps, index)
    whole = extent_of(kernel, index) // size * size
    first, last = ceil(low / size) * size, high // size * size
    return [first, last, whole] if first < last else [whole]


def _scheduled(kernel: Kernel, piece: Piece, size: int) -> Kernel:
    """Rows in tiles, jammed; or vectors of columns, where there are no rows."""
    jammed = "row" if "row" in piece else "column"
    kernel, loops = split_piece(kernel, piece, {jammed: size})
    order = ("row_tile", "column_tile", "column", "row", "lane")
    kernel, loops = reordered(kernel, loops, order)
    return jam(jam(kernel, loops[jammed], "unrolled"), loops["lane"], "vector")
