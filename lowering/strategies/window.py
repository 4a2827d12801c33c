"""Windows over images channels last: depthwise convolutions, poolings.

In: a naive nest whose innermost loops go over the taps of a window, `acc[] = acc[] ⊕ f(x[n, i + p,
j + q, c], w[c, p, q])`, and whose results lie channel after channel. Out, with channels in lanes:

    pack w: per tap, contiguous in the channels
    for n { for rows, columns of the border, and of the middle, where no tap is outside {
      for i { for tile of columns { for panel of channels {
        acc: [columns, lanes] in registers
        for every tap, unrolled: acc ⊕= f(x, w);  epilogue from registers
      } } }
    } }

Neighbouring columns read the same elements at different taps; unrolled, each is loaded once. In the
middle there are no guards; on the border the taps outside are known once the loops are unrolled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

from stepwell.ir.loop.analysis import loads_of, register_names, stores_of
from stepwell.ir.loop.core import Block, For, If, Kernel, LoopKind, statements
from stepwell.ir.ranges import Ranges, lower_bound, upper_bound
from stepwell.ir.scalar import Binary, Var, as_dim, coefficient, variables, walk
from stepwell.ir.size import symbol
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose
from stepwell.lowering.strategies.pieces import (
    Piece,
    cut_pieces,
    extent_of,
    reordered,
    split_piece,
)
from stepwell.lowering.strategies.products import reduction_nest, without_outer_lets
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import ScheduleError, as_kind, find_loop
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.reorder import reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split
from stepwell.lowering.transforms.vectorize_reduction import accumulators

UNROLLED = 110  # statements in an unrolled body
FEWEST = 3  # channels of a vector: fewer are better read with those of other pixels
LARGEST = 50  # taps of a window that is unrolled


@dataclass(frozen=True)
class Window:
    """Result loops over images, pixels (at most two), the channels; loops over taps."""

    images: tuple[str, ...]
    pixels: tuple[str, ...]
    channel: str
    taps: tuple[str, ...]


def schedule_window(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel; None where it is no window over images channels last."""
    kernel = without_single_loops(without_outer_lets(kernel))
    found = find_window(kernel)
    return None if found is None else _tiled(kernel, found, target)


def find_window(kernel: Kernel) -> Window | None:
    """The anatomy of the kernel, where it is one nest around one reduction over small windows."""
    found = windowed_sum(kernel)
    if found is None:
        return None
    order, taps, windowed = found
    channel, body = order[-1], find_loop(kernel.body, taps[-1]).body
    if channel in windowed or not _is_contiguous(body, set(taps), channel):
        return None
    pixels = tuple(n for n in order if n in windowed)[-2:]
    images = tuple(n for n in order[:-1] if n not in pixels)
    return Window(images, pixels, channel, taps)


def windowed_sum(kernel: Kernel) -> tuple[list[str], tuple[str, ...], set[str]] | None:
    """Result loops in the order of what is stored, loops over taps, and the result's indices that
    are added to taps; None where the kernel is not one nest around one small window."""
    nests = reduction_nest(kernel)
    if nests is None:
        return None
    nest, taps = nests
    body = find_loop(kernel.body, nest[-1]).body
    last = find_loop(kernel.body, taps[-1])
    if accumulators(last, register_names(kernel)) is None or not _is_small(kernel, taps):
        return None
    order = [i.name for i in stores_of(body)[-1].indices if isinstance(i, Var)]
    if set(order) != set(nest) or len(order) != len(nest):
        return None
    windowed = _windowed(last.body, set(taps), set(nest))
    return (order, tuple(taps), windowed) if windowed else None


def _is_small(kernel: Kernel, taps: list[str]) -> bool:
    count = 1
    for name in taps:
        extent = find_loop(kernel.body, name).extent
        if not isinstance(extent, int):
            return False
        count *= extent
    return 1 < count <= LARGEST


def _windowed(body: Block, taps: set[str], nest: set[str]) -> set[str]:
    """The result's indices that are added to a tap's in a subscript."""
    found: set[str] = set()
    for load in loads_of(body):
        for subscript in load.indices:
            if variables(subscript) & taps:
                found |= variables(subscript) & nest
    return found


def _is_contiguous(body: Block, taps: set[str], channel: str) -> bool:
    """Whether what is read at sums of indices lies channel after channel."""
    return all(
        load.indices[-1] == Var(channel)
        for load in loads_of(body)
        if any(len(variables(i)) > 1 and variables(i) & taps for i in load.indices)
    )


# ---------------------------------------------------------------------- the schedule


def _tiled(kernel: Kernel, found: Window, target: Target) -> Kernel:
    channels = extent_of(kernel, found.channel)
    if channels < FEWEST:
        raise ScheduleError("there are too few channels for a vector")
    lanes = min(lanes_of(kernel, found.taps, target), 1 << (channels - 1).bit_length())
    outermost = next(s.index for s in kernel.body if isinstance(s, For))
    kernel = reorder(kernel, outermost, (*found.images, *found.pixels, found.channel))
    taps = [extent_of(kernel, name) for name in found.taps]
    most = choose_longest(min(target.vector_registers * 3 // 8, UNROLLED // prod(taps)), target)
    for name in found.taps:
        kernel = as_kind(kernel, name, "unrolled")
    roles = ("row", "column")[-len(found.pixels) :]
    cuts = {
        role: _cuts(kernel, found, index, most if role == "column" else 1)
        for role, index in zip(roles, found.pixels, strict=True)
    }
    panels = split(kernel, found.channel, lanes, "guard", ("panel", "lane"))
    kernel = simplify_kernel(panels.kernel)
    kernel = _packed(kernel, found, (panels.outer, panels.inner))
    piece = dict(zip(roles, found.pixels, strict=True))
    piece |= {"panel": panels.outer, "lane": panels.inner}
    kernel, pieces = cut_pieces(kernel, piece, cuts)
    kernel = simplify_kernel(kernel)
    for piece in pieces:
        kernel = _scheduled(kernel, piece, most)
    return without_single_loops(kernel)


def lanes_of(kernel: Kernel, taps: tuple[str, ...], target: Target) -> int:
    """Results in a vector."""
    store = stores_of(find_loop(kernel.body, taps[-1]).body)[-1]
    return target.lanes(store.value.dtype)


def _cuts(kernel: Kernel, found: Window, index: str, most: int) -> list[int]:
    """Where the middle begins and ends, in which all guards hold; and its last whole tile."""
    extent = extent_of(kernel, index)
    low, high = middle(kernel, found.taps, index)
    if low >= high:
        low, high = 0, extent
    size = tile_size(high - low, most)
    return [low, low + (high - low) // size * size, high]


def choose_longest(analytic: int, target: Target) -> int:
    """At most so many pixels of a tile, of which all taps are unrolled."""
    most = target.vector_registers // 2
    return choose("window_tile", max(1, analytic), lambda: range(1, most + 1))


def tile_size(extent: int, most: int) -> int:
    """A divisor of the extent where a good one is; else tiles as equal as can be.

    54 in tiles of at most 8 → 6; 27 → 7, and one of 6.
    """
    divisor = max(size for size in range(1, min(most, extent) + 1) if extent % size == 0)
    if 2 * divisor > most or divisor == extent:
        return divisor
    return ceil(extent / ceil(extent / most))


def middle(kernel: Kernel, taps: tuple[str, ...], index: str) -> tuple[int, int]:
    """The iterations [low, high) of a pixel's loop in which all guards on it hold for all taps."""
    ranges = {name: extent_of(kernel, name) for name in taps}
    low, high = 0, extent_of(kernel, index)
    for condition in _conditions(find_loop(kernel.body, taps[-1]).body):
        if index not in variables(condition):
            continue
        first, last = _bounds(condition, index, ranges)
        low, high = max(low, first), min(high, last)
    return low, high


def _conditions(body: Block) -> Iterator[Binary]:
    """The comparisons that guard loads and choices."""
    for load in loads_of(body):
        if load.guard is not None:
            yield from (e for e in walk(load.guard) if isinstance(e, Binary) and e.op in _ORDER)


_ORDER = ("ge", "lt")


def _bounds(condition: Binary, index: str, ranges: Ranges) -> tuple[int, int]:
    """From which iteration on, or up to which, a·index + rest >= 0 (or < 0) holds for all taps."""
    left, right = as_dim(condition.x), as_dim(condition.y)
    if left is None or right is None:
        raise ScheduleError("a guard is not over indices")
    gap = left - right
    step = coefficient(gap, index)
    if not isinstance(step, int) or step <= 0:
        raise ScheduleError("a guard does not grow with its index")
    rest = gap - step * symbol(index)
    bound = lower_bound(rest, ranges) if condition.op == "ge" else upper_bound(rest, ranges)
    if not isinstance(bound, int):
        raise ScheduleError("a guard depends on a size")
    edge = ceil(-bound / step)
    return (edge, 1 << 40) if condition.op == "ge" else (0, edge)


def _packed(kernel: Kernel, found: Window, channel: tuple[str, str]) -> Kernel:
    """What is read by tap and channel only, packed before all else: weights."""
    outermost = next(s.index for s in kernel.body if isinstance(s, For))
    allowed = {*found.taps, *channel}
    conditions = [
        s.condition
        for s in statements(kernel.body)
        if isinstance(s, If) and channel[1] in variables(s.condition)
    ]
    rooms = [(name, find_loop(kernel.body, name).extent) for name in (*found.taps, *channel)]
    kinds: list[LoopKind] = ["serial" for _ in rooms]
    kinds[-1] = "vector"
    registers = register_names(kernel)
    for load in loads_of(find_loop(kernel.body, found.taps[-1]).body):
        if load.buffer not in registers and channel[1] in variables(load) <= allowed:
            kernel = pack(kernel, load, "weights", rooms, outermost, conditions, kinds)
    return kernel


def _scheduled(kernel: Kernel, piece: Piece, most: int) -> Kernel:
    size = tile_size(extent_of(kernel, piece["column"]), most)
    kernel, loops = split_piece(kernel, piece, {"column": size})
    order = ("row", "column_tile", "panel", "column", "lane")
    kernel, loops = reordered(kernel, loops, order)
    return jam(jam(kernel, loops["column"], "unrolled"), loops["lane"], "vector")
