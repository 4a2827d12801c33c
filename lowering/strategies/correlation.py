"""Correlations: the gradient of a convolution to its weights, without a copy per tap.

In: a naive nest around a sum over pixels of products of two images, one of them read at sums of a
pixel's index and a tap's:

    for o, c, p, q {
      acc[] = 0.0;  for n, i, j { acc[] = acc[] + dy[n, i, j, o] * x[n, i + p - 1, j + q - 1, c] }
      dw[o, c, p, q] = acc[]
    }

Out, with channels of dy in lanes, and a tile of channels of x beside them in registers:

    for block of images, or of rows of one {
      pack x: planes of a tile's channels, with the padding around them
      for panel of o {
        pack dy of the panel, pixel after pixel
        for plane, p, q: sums[panel, plane, p, q, c, o] += Σ over the block, in registers
    } }
    for panel of o { the sums turned to the order of dw;  what follows them }

What is read again and again, a plane of x and a panel of dy, stays in the first caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from stepwell.ir.graph.body import both
from stepwell.ir.loop.analysis import (
    allocations,
    fresh_copy,
    fresh_name,
    kernel_buffers,
    loads_of,
    map_expressions,
    stores_of,
    substitute_block,
    taken_names,
)
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    For,
    Kernel,
    Let,
    LoopKind,
    Statement,
    Store,
)
from stepwell.ir.scalar import (
    Binary,
    Const,
    Expr,
    Load,
    Var,
    as_dim,
    from_dim,
    index,
    substitute,
)
from stepwell.ir.size import Dim, ceildiv, minimum, symbol
from stepwell.ir.target import Target
from stepwell.lowering.strategies.correlation_shape import (
    Correlation,
    choose_shape,
    find_correlation,
)
from stepwell.lowering.strategies.loops import vectorize_inward
from stepwell.lowering.strategies.products import fused_loops, without_outer_lets
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, rewrite
from stepwell.lowering.transforms.reorder import perfect_nest
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.squares import squares


def schedule_correlation(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel; None where the kernel is no correlation of images channels last."""
    kernel = without_outer_lets(kernel)
    found = find_correlation(kernel)
    return None if found is None else _Nests(kernel, found, target).scheduled(target)


# ---------------------------------------------------------------------- the nests


class _Nests:
    """Builds the kernel: see the module's docstring for what its nests do."""

    def __init__(self, kernel: Kernel, found: Correlation, target: Target) -> None:
        self.kernel, self.found = kernel, found
        self.taken = taken_names(kernel)
        self.dtype = found.x.dtype
        self.shape = shape = choose_shape(found, target)
        self.sizes = found.sizes
        taps = prod(axis.taps for axis in found.axes)
        self.panels = ceil(self.sizes.outputs / shape.panel)
        self.planes = ceil(self.sizes.inputs / shape.tile)
        self.terms = ceil(self.planes * shape.tile * taps / shape.lanes) * shape.lanes
        sizes = (shape.rows, *(axis.size for axis in found.axes[1:]))
        reaches = [axis.reach(size) for axis, size in zip(found.axes, sizes, strict=True)]
        self.planar = self._scratch("planes", (shape.images, self.planes, *reaches, shape.lanes))
        self.pixels = self._scratch("pixels", (shape.images, *sizes, shape.vectors, shape.lanes))
        self.sums = self._scratch("sums", (self.panels, self.terms, shape.vectors, shape.lanes))
        self.turned = self._scratch("turned", (shape.panel, self.terms))

    def scheduled(self, target: Target) -> Kernel:
        block, row = self._index("block"), self._index("rows")
        first = self.found.axes[0]
        blocks = ceildiv(self.sizes.images, self.shape.images)
        rows = ceil(first.size / self.shape.rows)
        once = blocks == 1 and rows == 1
        start = symbol(block) * self.shape.images, symbol(row) * self.shape.rows
        images = minimum(self.shape.images, self.sizes.images - start[0])
        height = minimum(self.shape.rows, first.size - start[1])
        place = _Place(start[0], start[1], images, height)
        panel = self._index("panel")
        inner = (self._pixels(panel, place), *self._products(panel, place, once))
        body = (self._planes(place), self._loop(panel, self.panels, *inner))
        nest = self._loop(block, blocks, self._loop(row, rows, *body))
        before = () if once else (self._zeros(),)
        kernel, after = self._outputs(target)
        local = (self.planar, self.pixels, self.sums, self.turned)
        allocs = tuple(Alloc(buffer, kernel.span) for buffer in local)
        lets = tuple(s for s in self.kernel.body if isinstance(s, Let))
        kernel = replace(kernel, body=(*lets, *allocs, *before, nest, *after))
        return squares(without_single_loops(kernel), self.turned.name)

    def _scratch(self, hint: str, dims: tuple[int, ...]) -> Buffer:
        return Buffer(fresh_name(self.taken, hint), self.dtype, dims, "scratch")

    def _index(self, hint: str) -> str:
        return fresh_name(self.taken, hint)

    def _loop(self, name: str, extent: Dim, *body: Statement, kind: LoopKind = "serial") -> For:
        return For(name, extent, kind, body, self.kernel.span)

    def _planes(self, place: _Place) -> For:
        """x in planes of a tile's channels, with zeros where there is no x."""
        image, plane, lane = (self._index(n) for n in ("image", "plane", "lane"))
        found, shape = self.found, self.shape
        names = [self._index("h") for _ in found.axes]
        starts = (place.row * found.axes[0].scale, *(0 for _ in found.axes[1:]))
        at = [
            from_dim(symbol(name) + start + axis.low)
            for name, start, axis in zip(names, starts, found.axes, strict=True)
        ]
        channel = from_dim(symbol(plane) * shape.tile + symbol(lane))
        places = iter(at)
        picked = {found.images: from_dim(place.image + symbol(image)), found.input: channel}
        indices = tuple(
            picked[e.name] if isinstance(e, Var) and e.name in picked else next(places)
            for e in found.x.indices
        )
        extents = kernel_buffers(self.kernel)[found.x.buffer].shape
        tested = [n for n, e in enumerate(found.x.indices) if e != Var(found.images)]
        guard = _inside([indices[n] for n in tested], [extents[n] for n in tested])
        value = replace(found.x, indices=indices, guard=guard)
        to = (Var(image), Var(plane), *(Var(name) for name in names), Var(lane))
        nest = self._loop(
            lane, shape.lanes, Store(self.planar.name, to, value, self.kernel.span), kind="vector"
        )
        heights = (place.height, *(axis.size for axis in found.axes[1:]))
        for name, axis, height in reversed(list(zip(names, found.axes, heights, strict=True))):
            reach = (height - 1) * axis.scale + axis.step * (axis.taps - 1) + 1
            nest = self._loop(name, reach, nest)
        return self._loop(image, place.images, self._loop(plane, self.planes, nest))

    def _pixels(self, panel: str, place: _Place) -> For:
        """dy of a panel, pixel after pixel."""
        image, vector, lane = (self._index(n) for n in ("image", "vector", "lane"))
        names = [self._index(axis.pixel) for axis in self.found.axes]
        shape = self.shape
        channel = from_dim(
            symbol(panel) * shape.panel + symbol(vector) * shape.lanes + symbol(lane)
        )
        pixels = [axis.pixel for axis in self.found.axes]
        picked: dict[str, Expr] = {pixel: Var(n) for pixel, n in zip(pixels, names, strict=True)}
        picked |= {pixels[0]: from_dim(place.row + symbol(names[0])), self.found.output: channel}
        picked |= {self.found.images: from_dim(place.image + symbol(image))}
        guard = Binary("lt", channel, index(self.sizes.outputs))
        dy = self.found.dy
        value = Load(dy.buffer, tuple(substitute(e, picked) for e in dy.indices), dy.dtype, guard)
        to = (Var(image), *(Var(name) for name in names), Var(vector), Var(lane))
        nest = self._loop(
            lane, shape.lanes, Store(self.pixels.name, to, value, self.kernel.span), kind="vector"
        )
        nest = self._loop(vector, shape.vectors, nest)
        for name, size in reversed(list(zip(names, self._sizes(place), strict=True))):
            nest = self._loop(name, size, nest)
        return self._loop(image, place.images, nest)

    def _sizes(self, place: _Place) -> tuple[Dim, ...]:
        return (place.height, *(axis.size for axis in self.found.axes[1:]))

    def _term(self, plane: str, channel: str, taps: list[Expr]) -> Expr:
        """The number of a sum in its panel: of its channel of x and its taps."""
        total: Dim = symbol(plane) * self.shape.tile + symbol(channel)
        for tap, axis in zip(taps, self.found.axes, strict=True):
            step = as_dim(tap)
            assert step is not None
            total = total * axis.taps + step
        return from_dim(total)

    def _products(self, panel: str, place: _Place, once: bool) -> Block:
        """sums += Σ x · dy over the block, in register tiles."""
        plane, channel, vector, lane = (self._index(n) for n in ("plane", "c", "vector", "lane"))
        image, found, shape = self._index("image"), self.found, self.shape
        taps = [self._index("tap") if axis.taps > 1 else "" for axis in found.axes]
        names = [self._index(axis.pixel) for axis in found.axes]
        at_tap: list[Expr] = [Var(tap) if tap else index(0) for tap in taps]
        acc = Load(self._index("acc"), (), self.dtype)
        term = self._term(plane, channel, at_tap)
        sum_ = Load(self.sums.name, (Var(panel), term, Var(vector), Var(lane)), self.dtype)
        rows = [
            from_dim(symbol(name) * axis.scale + (symbol(tap) * axis.step if tap else 0))
            for name, tap, axis in zip(names, taps, found.axes, strict=True)
        ]
        x = Load(self.planar.name, (Var(image), Var(plane), *rows, Var(channel)), self.dtype)
        pixel = (Var(image), *(Var(name) for name in names), Var(vector), Var(lane))
        dy = Load(self.pixels.name, pixel, self.dtype)
        step: Statement = Store(acc.buffer, (), Binary("add", acc, Binary("mul", x, dy)))
        for name, size in reversed(list(zip(names, self._sizes(place), strict=True))):
            step = self._loop(name, size, step)
        nest = self._loop(
            lane,
            shape.lanes,
            Alloc(Buffer(acc.buffer, self.dtype, (), "register"), self.kernel.span),
            Store(acc.buffer, (), Const(0.0, self.dtype) if once else sum_),
            self._loop(image, place.images, step),
            Store(sum_.buffer, sum_.indices, acc),
        )
        nest = self._loop(channel, shape.tile, self._loop(vector, shape.vectors, nest))
        for tap, axis in reversed(list(zip(taps, found.axes, strict=True))):
            nest = self._loop(tap, axis.taps, nest) if tap else nest
        return self._jammed(self._loop(plane, self.planes, nest), (channel, vector, lane))

    def _jammed(self, nest: For, loops: tuple[str, str, str]) -> Block:
        local = (self.planar, self.pixels, self.sums)
        allocs = tuple(Alloc(buffer) for buffer in local)
        kernel = simplify_kernel(replace(self.kernel, body=(*allocs, nest)))
        kernel = jam(jam(kernel, loops[0], "unrolled"), loops[1], "unrolled")
        kernel = jam(kernel, loops[2], "vector")
        self.taken |= taken_names(kernel)
        return kernel.body[len(allocs) :]

    def _zeros(self) -> For:
        panel, term, vector, lane = (self._index(n) for n in ("panel", "term", "vector", "lane"))
        at = tuple(Var(name) for name in (panel, term, vector, lane))
        zero = Store(self.sums.name, at, Const(0.0, self.dtype), self.kernel.span)
        nest = self._loop(lane, self.shape.lanes, zero, kind="vector")
        nest = self._loop(term, self.terms, self._loop(vector, self.shape.vectors, nest))
        return self._loop(panel, self.panels, nest)

    # ------------------------------------------------------------------ what follows

    def _outputs(self, target: Target) -> tuple[Kernel, Block]:
        """The sums of a panel turned, and what follows them; the kernel sees its arrays with their
        last dimensions as one."""
        kernel, row, sum_ = self._epilogue()
        inner = find_loop(kernel.body, row)
        panel, output = self._index("panel"), self._index("o")
        place = symbol(panel) * self.shape.panel + symbol(output)
        read = Load(self.turned.name, (Var(output), Var(row)), self.dtype)
        body = map_expressions((inner,), lambda e: rewrite(e, lambda x: read if x == sum_ else x))
        body = substitute_block(body, {self.found.output: from_dim(place)})
        height = minimum(self.shape.panel, self.sizes.outputs - symbol(panel) * self.shape.panel)
        after = self._loop(output, height, *body)
        nest = self._loop(panel, self.panels, self._turn(panel), after)
        locals_ = (Alloc(self.turned), Alloc(self.sums))
        kernel = simplify_kernel(replace(kernel, body=(*locals_, nest)))
        kernel = vectorize_inward(kernel, row, self.shape.lanes, target)
        self.taken |= taken_names(kernel)
        return kernel, kernel.body[len(locals_) :]

    def _epilogue(self) -> tuple[Kernel, str, Load]:
        """A kernel of what follows the sums, its loops over all but dy's channels one; that loop;
        and what stands for a sum."""
        nest = find_loop(self.kernel.body, self.found.output)
        names = perfect_nest(self.kernel, nest.index)
        deepest = find_loop(self.kernel.body, names[-1]).body
        (acc,) = (b.name for b in allocations(deepest))
        sum_ = Load(acc, (), self.dtype)
        rest: Block = tuple(
            s
            for s in deepest
            if not isinstance(s, (Alloc, For)) and not (isinstance(s, Store) and s.buffer == acc)
        )
        touched = {load.buffer for load in loads_of(rest)} | {s.buffer for s in stores_of(rest)}
        if touched & {self.found.x.buffer, self.found.dy.buffer}:
            raise ScheduleError("what follows the sums reads the images")
        order = (self.found.input, *(axis.tap for axis in self.found.axes if axis.tap))
        body: Block = fresh_copy(rest, self.taken)
        for name in reversed((self.found.output, *order)):
            body = (replace(find_loop(self.kernel.body, name), body=body),)
        kernel = replace(self.kernel, body=(Alloc(Buffer(acc, self.dtype, (), "register")), *body))
        kernel, row = fused_loops(kernel, order)
        self.taken |= taken_names(kernel)
        return kernel, row, sum_

    def _turn(self, panel: str) -> For:
        """The sums of a panel, a channel of dy after the other."""
        block, vector, o, lane = (self._index(n) for n in ("block", "vector", "o", "lane"))
        lanes = self.shape.lanes
        term = from_dim(symbol(block) * lanes + symbol(lane))
        value = Load(self.sums.name, (Var(panel), term, Var(vector), Var(o)), self.dtype)
        to = (from_dim(symbol(vector) * lanes + symbol(o)), term)
        nest = self._loop(
            lane, lanes, Store(self.turned.name, to, value, self.kernel.span), kind="vector"
        )
        nest = self._loop(vector, self.shape.vectors, self._loop(o, lanes, nest))
        return self._loop(block, self.terms // lanes, nest)


@dataclass(frozen=True)
class _Place:
    """Where a block begins, and how many images and rows are in it."""

    image: Dim
    row: Dim
    images: Dim
    height: Dim


def _inside(indices: Sequence[Expr], extents: Sequence[Dim]) -> Expr | None:
    tests: list[Expr] = []
    for at, extent in zip(indices, extents, strict=True):
        tests += [Binary("ge", at, index(0)), Binary("lt", at, from_dim(extent))]
    return both(*tests)
