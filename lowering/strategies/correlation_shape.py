"""What a correlation of two images is made of, and the shape of its tiles.

In: a naive nest around a sum over pixels of products. Out: a `Correlation`, the role of each loop;
a `Shape`, how many channels a register tile has and how much of the images a block.

    dw[o, c, p, q] = Σ[n, i, j] dy[n, i, j, o] * x[n, 2*i + p - 1, 2*j + q - 1, c]
      →  images n; output o; input c; along rows 2·i + 1·p - 1, along columns 2·j + 1·q - 1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, prod

from stepwell.ir.loop.analysis import kernel_buffers
from stepwell.ir.loop.core import Kernel
from stepwell.ir.scalar import Expr, Load, Var, as_dim, coefficient, variables
from stepwell.ir.size import Dim, substitute
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose, near
from stepwell.lowering.strategies.padding import is_padded
from stepwell.lowering.strategies.products import Terms, find_terms
from stepwell.lowering.transforms.navigate import find_loop

FEWEST = 8  # channels below which a tile is mostly idle
VECTORS = 3  # of a tile at most


@dataclass(frozen=True)
class Axis:
    """A pixel's index: x is read at scale·pixel + step·tap + low along an axis; `size` pixels,
    `taps` taps (one, and no name, where there is no loop over them)."""

    pixel: str
    tap: str
    scale: int
    step: int
    low: int
    size: int
    taps: int

    def reach(self, size: int) -> int:
        """Positions of x under the windows of so many pixels."""
        return self.scale * (size - 1) + self.step * (self.taps - 1) + 1


@dataclass(frozen=True)
class Sizes:
    """How many images, channels of dy, channels of x."""

    images: Dim
    outputs: int
    inputs: int


@dataclass(frozen=True)
class Correlation:
    """Loops by what they are for, and the two images."""

    images: str
    axes: tuple[Axis, ...]
    output: str
    input: str
    x: Load
    dy: Load
    sizes: Sizes


@dataclass(frozen=True)
class Shape:
    """T channels of x in a plane; vectors × lanes channels of dy in a panel; images and rows in a
    block."""

    tile: int
    vectors: int
    lanes: int
    images: int
    rows: int

    @property
    def panel(self) -> int:
        return self.vectors * self.lanes


def find_correlation(kernel: Kernel) -> Correlation | None:
    """The roles of the kernel's loops, where it is a correlation of two images."""
    terms = find_terms(kernel)
    if terms is None or len(terms.factors) != 2:
        return None
    for x, dy in (terms.factors, terms.factors[::-1]):
        if not isinstance(x, Load) or not isinstance(dy, Load) or dy.guard is not None:
            continue
        if x.dtype != x.dtype.compute or not x.dtype.is_float:
            continue
        found = _anatomy(kernel, terms, x, dy)
        if found is not None:
            return found
    return None


def _anatomy(kernel: Kernel, terms: Terms, x: Load, dy: Load) -> Correlation | None:
    """The roles of loops, where dy is read at plain indices, and x by its images, its channels, and
    at sums of pixels and taps."""
    plain = [e.name for e in dy.indices if isinstance(e, Var)]
    outputs = [name for name in plain if name in terms.nest]
    inputs = [e.name for e in x.indices if isinstance(e, Var) and e.name in terms.nest]
    images = [e.name for e in x.indices if isinstance(e, Var) and e.name in terms.reduction]
    if len(outputs) != 1 or len(inputs) != 1 or not images or len(plain) != len(dy.indices):
        return None
    rest = [e for e in x.indices if e not in (Var(images[0]), Var(inputs[0]))]
    axes = [_axis(kernel, e, terms.nest, terms.reduction) for e in rest]
    found = tuple(axis for axis in axes if axis is not None)
    taps = [axis.tap for axis in found if axis.tap]
    pixels = [axis.pixel for axis in found]
    if len(found) != len(rest) or sorted((images[0], *pixels)) != sorted(terms.reduction):
        return None
    if terms.order != (outputs[0], inputs[0], *taps) or not taps:
        return None
    if sorted(plain) != sorted((outputs[0], *terms.reduction)):
        return None
    outer, inner = (find_loop(kernel.body, name).extent for name in (outputs[0], inputs[0]))
    if not (isinstance(outer, int) and isinstance(inner, int) and min(outer, inner) >= FEWEST):
        return None
    if not is_padded(x, kernel_buffers(kernel)[x.buffer].shape):
        return None
    count = find_loop(kernel.body, images[0]).extent
    sizes = Sizes(count, outer, inner)
    return Correlation(images[0], found, outputs[0], inputs[0], x, dy, sizes)


def _axis(
    kernel: Kernel, subscript: Expr, nest: tuple[str, ...], reduction: tuple[str, ...]
) -> Axis | None:
    at, used = as_dim(subscript), variables(subscript)
    pixels, taps = used & set(reduction), used & set(nest)
    if at is None or len(pixels) != 1 or len(taps) > 1 or used != pixels | taps:
        return None
    (pixel,), tap = pixels, next(iter(taps), "")
    size = find_loop(kernel.body, pixel).extent
    count = find_loop(kernel.body, tap).extent if tap else 1
    scale, step = coefficient(at, pixel), coefficient(at, tap) if tap else 0
    low = substitute(at, dict.fromkeys(used, 0))
    if not (isinstance(scale, int) and isinstance(step, int) and isinstance(low, int)):
        return None
    if not (isinstance(size, int) and isinstance(count, int)):
        return None
    if scale <= 0 or step < 0 or size <= 0:
        return None
    return Axis(pixel, tap, scale, step, low, size, count)


# ---------------------------------------------------------------------- the choice


def _shape(inputs: int, outputs: int, lanes: int, target: Target) -> tuple[int, int]:
    """Channels of x and vectors of dy in a tile: the fewest cycles for all channels."""

    def cycles(tile: int, vectors: int) -> float:
        busy = max(tile * vectors / target.fma_ports, (tile + vectors) / target.loads)
        return max(busy, target.fma_latency) * ceil(inputs / tile) * ceil(outputs / vectors / lanes)

    found = _tiles(outputs, lanes, target)
    return min(found, key=lambda shape: (cycles(*shape), -shape[0] * shape[1]))


def _tiles(outputs: int, lanes: int, target: Target) -> list[tuple[int, int]]:
    return [
        (tile, vectors)
        for vectors in range(1, min(VECTORS, ceil(outputs / lanes)) + 1)
        for tile in range(1, min(lanes, (target.vector_registers - 2 - vectors) // vectors) + 1)
    ]


def evenly(extent: int, most: int) -> int:
    """At most so many at a time, as equally as can be."""
    most = max(1, min(most, extent))
    return ceil(extent / ceil(extent / most))


def choose_shape(found: Correlation, target: Target) -> Shape:
    """Tiles that keep the multiply-adds busy; blocks of which planes and pixels together stay in
    the second cache."""
    lanes = target.lanes(found.x.dtype)
    images, inputs = found.sizes.images, found.sizes.inputs
    tile, vectors = _shape(inputs, found.sizes.outputs, lanes, target)
    first, *rest = found.axes
    line = prod(axis.reach(axis.size) for axis in rest) * ceil(inputs / tile) * lanes
    line += prod(axis.size for axis in rest) * vectors * lanes
    room = target.l2 * 3 // 4 // found.x.dtype.bytes
    rows = evenly(first.size, room // (line * first.scale))
    most = room // (line * first.reach(first.size)) if rows == first.size else 1
    known = images if isinstance(images, int) else most
    shape = Shape(tile, vectors, lanes, evenly(max(1, known), most), rows)
    return choose("correlation", shape, lambda: _candidates(shape, found, target))


def _candidates(shape: Shape, found: Correlation, target: Target) -> Iterator[Shape]:
    """Other tiles; then other blocks."""
    for tile, vectors in _tiles(found.sizes.outputs, shape.lanes, target):
        yield replace(shape, tile=tile, vectors=vectors)
    for images in near(shape.images, 1, 4 * shape.images):
        for rows in near(shape.rows, 1, found.axes[0].size):
            yield replace(shape, images=images, rows=rows)
