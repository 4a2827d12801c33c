"""Direct convolutions: register tiles of pixels × channels, the image read where it lies.

In: a naive nest around `acc[] = acc[] + X * W` in which X is read at sums of a result's index and a
reduction's (`x[n, i + p, j + q, c]`) and W is not: an image and its weights. Out, with the result's
channels in lanes:

    pack W: panels of channels, contiguous in the reduction
    for n {
      stage X with its padding around it, where it has any
      for row tile { for panel { for column tile {
        acc: [pixels, vectors, lanes] in registers
        for c, p, q: acc += X[pixel's place] × W[panel, c, p, q, :];  epilogue from registers
      } } }
    }

One number of X meets a vector of W, so X may lie in any layout: a network's first convolution reads
images channels first, the others channels last. Nothing is copied per tap, as im2col does. Tails of
rows and columns are tiles of their own size. See Zhang, Franchetti and Low, "High Performance
Zero-Memory Overhead Direct Convolutions", ICML 2018, for the idea.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import expressions_of
from stepwell.ir.loop.core import Block, For, Kernel, LoopKind, Store
from stepwell.ir.scalar import Binary, Const, Expr, Var, loads, variables, walk
from stepwell.ir.size import product
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose
from stepwell.lowering.strategies.constant_panels import asked_ahead, is_constant
from stepwell.lowering.strategies.padding import with_padding
from stepwell.lowering.strategies.pieces import (
    Piece,
    cut_pieces,
    extent_of,
    reordered,
    split_piece,
)
from stepwell.lowering.strategies.pixel_tile import PixelTile, choose_pixel_tile
from stepwell.lowering.strategies.products import (
    Terms,
    factor_of,
    find_terms,
    guards_on,
    packed_factor,
    whole_a,
    without_outer_lets,
)
from stepwell.lowering.transforms.fuse_loops import fuse_loops
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import find_loop, replace_loop
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.reassociate import reassociate
from stepwell.lowering.transforms.reorder import reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split

FEWEST = 4  # pixels below which a tile is mostly idle
NARROWEST = 8  # channels of a group: fewer fill too little of a vector
UNKNOWN = 64  # taken for a reduction of symbolic length


@dataclass(frozen=True)
class Convolution:
    """Result loops over images (and groups of channels, each an image with weights of its own),
    pixels, and channels; reduction loops; the image, the weights."""

    images: tuple[str, ...]
    pixels: tuple[str, ...]
    channel: str
    reduction: tuple[str, ...]
    x: Expr
    w: Expr


def schedule_convolution(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel; None where the kernel is no convolution that tiles well."""
    found = find_convolution(kernel)
    if found is None or not choose("direct", True, lambda: (True, False)):
        return None
    return _tiled(*found, target)


def find_convolution(kernel: Kernel) -> tuple[Kernel, Convolution] | None:
    """The kernel without loops of one iteration, and its anatomy where it is a convolution."""
    kernel = _with_groups(without_outer_lets(kernel))
    terms = find_terms(kernel)
    if terms is None or len(terms.factors) != 2:
        return None
    windowed = [_windowed(factor, terms) for factor in terms.factors]
    if bool(windowed[0]) == bool(windowed[1]):
        return None
    image = 0 if windowed[0] else 1
    kernel = without_single_loops(kernel)
    terms = find_terms(kernel)
    if terms is None or len(terms.factors) != 2:
        return None
    found = _anatomy(terms, image, windowed[image])
    if found is not None and terms.order[-1] in found.pixels and not _windowed(found.x, terms):
        return None  # a product whose columns are pixels: they lie side by side
    if found is None or not _is_constant(kernel, (*found.pixels, found.channel)):
        return None
    extents = [find_loop(kernel.body, name).extent for name in found.pixels]
    small = product(extents)
    return (kernel, found) if isinstance(small, int) and small >= FEWEST else None


def _with_groups(kernel: Kernel) -> Kernel:
    """A loop over channels of which each so many read an image of their own, `x[…, l // 16 * 16 +
    c]`, as one over groups and one inside a group; the kernel itself where there are none, or a
    group would fill too little of a vector."""
    terms = find_terms(kernel)
    for part in () if terms is None else (e for f in terms.factors for e in walk(f)):
        match part:
            case Binary(op="floordiv", x=Var(name=name), y=Const(value=int(size))):
                extent = find_loop(kernel.body, name).extent
                if size < NARROWEST or not isinstance(extent, int) or extent % size:
                    return kernel
                parts = split(kernel, name, size, "guard", ("group", "channel"))
                return simplify_kernel(parts.kernel)
    return kernel


def _windowed(factor: Expr, terms: Terms) -> frozenset[str]:
    """The result's indices that the factor adds to a reduction's, in a subscript."""
    found: set[str] = set()
    for load in loads(factor):
        for subscript in load.indices:
            used = variables(subscript)
            if used & set(terms.reduction):
                found |= used & set(terms.nest)
    return frozenset(found)


def _anatomy(terms: Terms, image: int, windowed: frozenset[str]) -> Convolution | None:
    x, w = terms.factors[image], terms.factors[1 - image]
    in_x, in_w = variables(x), variables(w)
    channels = [n for n in terms.nest if n in in_w - in_x]
    pixels = tuple(n for n in terms.order if n in windowed - in_w)[-2:]
    images = tuple(n for n in terms.order if n not in (*channels, *pixels))
    if len(channels) != 1 or not pixels:
        return None
    if not all(r in in_x and r in in_w for r in terms.reduction):
        return None
    return Convolution(images, pixels, channels[0], terms.reduction, x, w)


def _is_constant(kernel: Kernel, names: tuple[str, ...]) -> bool:
    return all(isinstance(find_loop(kernel.body, name).extent, int) for name in names)


# ---------------------------------------------------------------------- the schedule


def _tiled(kernel: Kernel, found: Convolution, target: Target) -> Kernel:
    kernel = _as_product(kernel, found)
    found = _along(found)
    kernel = reassociate(kernel, found.reduction)
    outermost = next(s.index for s in kernel.body if isinstance(s, For))
    order = (*found.images, *found.pixels, found.channel)
    kernel, pixels = _joined(reorder(kernel, outermost, order), found.pixels)
    tile = _tile(kernel, found, pixels, target)
    panels = split(kernel, found.channel, tile.width, "guard", ("panel", "column"))
    vectors = split(panels.kernel, panels.inner, tile.lanes, "guard", ("vector", "lane"))
    kernel = simplify_kernel(vectors.kernel)
    inner = {"panel": panels.outer, "vector": vectors.outer, "lane": vectors.inner}
    constant = is_constant(kernel, found.w)
    kernel, weights = _packed(kernel, found, (*found.images, *pixels)[0], inner)
    far = packed_factor(kernel, found.reduction[-1], "b") if constant else ""
    kernel = _padded(kernel, found, pixels[0], tile.lanes)
    piece = {**dict(zip(("row", "column")[-len(pixels) :], pixels, strict=True)), **inner}
    sizes = {"row": tile.rows, "column": tile.columns}
    tails = {
        role: [extent_of(kernel, piece[role]) // size * size]
        for role, size in sizes.items()
        if role in piece
    }
    kernel, pieces = cut_pieces(kernel, piece, tails)
    streams = choose("panels_outside", weights > target.l2 // 2, lambda: (False, True))
    for piece in pieces:
        kernel = _scheduled(kernel, piece, sizes, streams)
    kernel = whole_a(kernel)
    if far and weights > target.l1 // 2:
        kernel = asked_ahead(kernel, far, target)
    return without_single_loops(kernel)


def _along(found: Convolution) -> Convolution:
    """The reduction with the loop last that walks along the image's own last axis: so the numbers
    of a pixel are read one after the other, and few lines of the first cache are in use at once."""
    own = set(found.reduction) | {*found.pixels}
    last = [variables(load.indices[-1]) & own for load in loads(found.x)]
    order = sorted(found.reduction, key=lambda name: any(used == {name} for used in last))
    return replace(found, reduction=tuple(order))


def _as_product(kernel: Kernel, found: Convolution) -> Kernel:
    """The reduction's body as one statement, `acc[] = acc[] + x * w`."""

    def plain(loop: For) -> Block:
        store = loop.body[-1]
        assert isinstance(store, Store) and isinstance(store.value, Binary)
        value = Binary("add", store.value.x, Binary("mul", found.x, found.w))
        return (replace(loop, body=(replace(store, value=value),)),)

    return replace(kernel, body=replace_loop(kernel.body, found.reduction[-1], plain))


def _joined(kernel: Kernel, pixels: tuple[str, ...]) -> tuple[Kernel, tuple[str, ...]]:
    """Rows and columns as one loop, where all arrays are walked through side by side."""
    if len(pixels) < 2:
        return kernel, pixels
    fused, index = fuse_loops(kernel, pixels[0])
    divides = any(
        isinstance(e, Binary) and e.op in ("floordiv", "mod") and index in variables(e)
        for e in expressions_of(fused.body)
    )
    return (kernel, pixels) if divides else (fused, (index,))


def _tile(kernel: Kernel, found: Convolution, pixels: tuple[str, ...], target: Target) -> PixelTile:
    def extent(*names: str) -> int:
        total = product([find_loop(kernel.body, name).extent for name in names])
        return total if isinstance(total, int) else UNKNOWN

    height = extent(pixels[0]) if len(pixels) == 2 else 1
    lanes = target.lanes(found.x.dtype)
    shape = (height, extent(pixels[-1]), extent(found.channel), extent(*found.reduction))
    return choose_pixel_tile(*shape, lanes, target)


def _packed(kernel: Kernel, found: Convolution, outermost: str, loops: Piece) -> tuple[Kernel, int]:
    """Weights in panels, packed before all else; and their bytes."""
    w = factor_of(kernel, found.reduction[-1], "b")
    groups = (name for name in found.images if name in variables(w))
    order = (*groups, loops["panel"], *found.reduction, loops["vector"], loops["lane"])
    rooms = [(name, find_loop(kernel.body, name).extent) for name in order]
    kinds: list[LoopKind] = ["serial" for _ in order]
    kinds[-1] = "vector"
    guards = guards_on(kernel, loops["lane"])
    size = product([room for _, room in rooms])
    bytes = size * w.dtype.bytes if isinstance(size, int) else 0
    return pack(kernel, w, "weights", rooms, outermost, guards, kinds), bytes


def _padded(kernel: Kernel, found: Convolution, before: str, lanes: int) -> Kernel:
    """The image with its padding around it in scratch, where it has any."""
    x = factor_of(kernel, found.reduction[-1], "a")
    guarded = [load for load in loads(x) if load.guard is not None]
    if not guarded:
        return kernel
    return with_padding(kernel, guarded[0], before, lanes)


def _scheduled(kernel: Kernel, piece: Piece, sizes: dict[str, int], streams: bool) -> Kernel:
    """Pixels in tiles, jammed. Weights beyond the second cache are gone through once, a panel at a
    time; else each row of the image is."""
    kernel, loops = split_piece(kernel, piece, sizes)
    order = ("row_tile", "panel", "column_tile", "row", "column", "vector", "lane")
    if streams or "row" not in loops:
        order = ("panel", "row_tile", *order[2:])
    kernel, loops = reordered(kernel, loops, order)
    for role in ("row", "column", "vector"):
        kernel = jam(kernel, loops[role], "unrolled") if role in loops else kernel
    return jam(kernel, loops["lane"], "vector")
