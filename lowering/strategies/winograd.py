"""Winograd convolutions: 3×3 windows with 2.25 or 4 times fewer products than there are taps.

In: a naive nest of a convolution with 3×3 windows, stride 1, images channels last. Out, with
F(m×m, 3×3) and its matrices (see `winograd_matrices.py`, where the error is bounded, too):

    U[a, b] = G w Gᵀ                                   of constants: once, before any run
    for n { for block of rows of tiles {
      for tile, channel:  V[a, b, tile, c] = Bᵀ x B    patches of (m+2)×(m+2), overlapping by 2
      for panel of output channels {
        for a, b: M[a, b, tile, o] = Σ_c V[a, b, tile, c] · U[a, b, c, o]      register tiles
        for tile, o: y = Aᵀ M A, m×m pixels;  epilogue from registers
      }
    } }

V and M of a block stay in the second cache. It is chosen where it is quicker than the direct way,
by an estimate from multiply-adds, transforms and bytes of U; `schedule{winograd=false}` forbids it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from stepwell.ir.dtypes import F32
from stepwell.ir.loop.analysis import (
    allocations,
    fresh_copy,
    fresh_name,
    kernel_buffers,
    map_expressions,
    substitute_block,
    taken_names,
)
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    For,
    If,
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
    variables,
)
from stepwell.ir.size import Dim, symbol
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose
from stepwell.lowering.strategies.constant_panels import asked_ahead, is_constant
from stepwell.lowering.strategies.convolution import Convolution, find_convolution
from stepwell.lowering.strategies.padding import is_padded
from stepwell.lowering.strategies.pieces import cut_pieces, extent_of, reordered, split_piece
from stepwell.lowering.strategies.pixel_tile import tiled_cycles
from stepwell.lowering.strategies.straight_lines import Lines
from stepwell.lowering.strategies.winograd_matrices import F2, F4, Matrix, Transforms
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import find_loop, rewrite
from stepwell.lowering.transforms.reorder import perfect_nest
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops

TAPS = 3
NEAR, FAR = 24, 10  # bytes of weights per cycle from the third cache, and from memory
MARGIN = 0.9  # of the direct way's time, that Winograd's has to stay below
BOTH = 3  # instructions per cycle in the transforms: their loads, stores and arithmetic


@dataclass(frozen=True)
class _Shape:
    """Numbers of one convolution; `block` rows of tiles are done at a time."""

    height: int
    width: int
    inputs: int
    outputs: int
    transforms: Transforms
    block: int
    vectors: int
    columns: int
    lanes: int

    @property
    def down(self) -> int:
        return -(-self.height // self.transforms.m)

    @property
    def across(self) -> int:
        return -(-self.width // self.transforms.m)

    @property
    def panel(self) -> int:
        return self.vectors * self.lanes

    @property
    def panels(self) -> int:
        return self.outputs // self.panel

    @property
    def points(self) -> int:
        return self.transforms.size**2


def schedule_winograd(kernel: Kernel, target: Target) -> Kernel | None:
    """The kernel by Winograd's method; None where it does not apply, or is no quicker."""
    found = find_convolution(kernel)
    if found is None:
        return None
    kernel, convolution = found
    window = _window(kernel, convolution)
    if window is None:
        return None
    shape = _choice(kernel, convolution, target)
    if shape is None:
        return None
    nests = _Nests(kernel, convolution, window, shape)
    made = nests.scheduled()
    constant = is_constant(kernel, convolution.w)
    return asked_ahead(made, nests.u.name, target) if constant else made


@dataclass(frozen=True)
class _Window:
    """Names of the reduction's loops over channels, rows and columns of the window."""

    channel: str
    row: str
    column: str


def _window(kernel: Kernel, found: Convolution) -> _Window | None:
    """The window's loops, where they are 3×3 with stride 1 over an image channels last."""
    x, w = found.x, found.w
    if not isinstance(x, Load) or not isinstance(w, Load) or x.dtype != F32:
        return None
    if len(found.pixels) != 2 or len(found.reduction) != 3:
        return None
    taps = [_tap(x, pixel, found) for pixel in found.pixels]
    rest = [name for name in found.reduction if name not in taps]
    if None in taps or len(rest) != 1 or x.indices[-1] != Var(rest[0]):
        return None
    row, column = (str(tap) for tap in taps)
    if any(extent_of(kernel, name) != TAPS for name in (row, column)):
        return None
    padded = is_padded(x, kernel_buffers(kernel)[x.buffer].shape)
    return _Window(rest[0], row, column) if padded else None


def _tap(x: Load, pixel: str, found: Convolution) -> str | None:
    """The reduction's loop that is added to the pixel's with a factor of one, and no more."""
    for subscript in x.indices:
        used = variables(subscript)
        at = as_dim(subscript)
        if pixel in used and at is not None and len(used) == 2:
            (tap,) = used - {pixel}
            offset = at - symbol(pixel) - symbol(tap)
            return tap if isinstance(offset, int) and tap in found.reduction else None
    return None


# ---------------------------------------------------------------------- the choice


def _choice(kernel: Kernel, found: Convolution, target: Target) -> _Shape | None:
    height, width = (extent_of(kernel, name) for name in found.pixels)
    outputs, lanes = extent_of(kernel, found.channel), target.lanes(F32)
    inputs = extent_of(kernel, _window(kernel, found).channel)  # type: ignore[union-attr]
    if outputs % lanes or inputs % lanes:
        return None
    _, direct = tiled_cycles(height, width, outputs, TAPS * TAPS * inputs, lanes, target)
    sizes = (height, width, inputs, outputs)
    ways = {t.m: _estimated(t, sizes, lanes, target) for t in (F2, F4)}
    m = min(ways, key=lambda m: ways[m][1])
    best = m if ways[m][1] < MARGIN * direct else 0
    chosen = choose("winograd", best, lambda: (0, *ways))
    return _with_rows(ways[chosen][0], target) if chosen else None


def _estimated(
    transforms: Transforms, sizes: tuple[int, int, int, int], lanes: int, target: Target
) -> tuple[_Shape, float]:
    """A shape, and its cycles: products or the stream of weights, and the transforms."""
    inputs, outputs = sizes[2:]
    shape = _Shape(*sizes, transforms, 1, 1, 1, lanes)
    shape, products = _blocked(shape, _rows_of_tiles(shape, target), target)
    blocks = shape.down // shape.block
    weights = shape.points * inputs * outputs * F32.bytes
    feed = blocks * weights / (NEAR if weights <= target.l3_share // 4 else FAR)
    patches = shape.down * shape.across * shape.points * (inputs + outputs) / lanes
    moved = patches * (2 + transforms.size) / BOTH
    return shape, max(shape.points * blocks * products, feed) + moved


def _blocked(shape: _Shape, rows: int, target: Target) -> tuple[_Shape, float]:
    """The shape with so many rows of tiles at a time, and the cycles of their products."""
    outputs, lanes = shape.outputs, shape.lanes
    tile, cycles = tiled_cycles(1, rows * shape.across, outputs, shape.inputs, lanes, target)
    vectors = max(v for v in range(1, tile.vectors + 1) if outputs % (v * lanes) == 0)
    return replace(shape, block=rows, vectors=vectors, columns=tile.columns), cycles


def _with_rows(shape: _Shape, target: Target) -> _Shape:
    divisors = [n for n in range(1, shape.down + 1) if shape.down % n == 0]
    rows = choose("winograd_rows", shape.block, lambda: divisors)
    return shape if rows == shape.block else _blocked(shape, rows, target)[0]


def _rows_of_tiles(shape: _Shape, target: Target) -> int:
    """As many as keep the transformed block in the second cache, of those that divide evenly."""
    row = shape.points * shape.across * shape.inputs * F32.bytes
    fitting = [n for n in range(1, shape.down + 1) if shape.down % n == 0 and n * row <= target.l2]
    return max(fitting, default=1)


# ---------------------------------------------------------------------- the nests


class _Nests:
    """Builds the kernel: see the module's docstring for what its nests do."""

    def __init__(self, kernel: Kernel, found: Convolution, window: _Window, shape: _Shape) -> None:
        self.kernel, self.found, self.window, self.shape = kernel, found, window, shape
        self.taken = taken_names(kernel)
        points, tiles = shape.points, shape.block * shape.across
        transformed = (shape.panels, points, shape.inputs, shape.vectors, shape.lanes)
        self.u = self._scratch("weights", transformed)
        self.v = self._scratch("patches", (points, tiles, shape.inputs))
        self.m = self._scratch("products", (points, tiles, shape.panel))

    def scheduled(self) -> Kernel:
        block, panel, tile = self._index("block"), self._index("panel"), self._index("tile")
        products = self._tiled(panel, self._products(panel, tile), tile)
        panels = self._loop(panel, self.shape.panels, *products, self._outputs(block, panel))
        blocks = self.shape.down // self.shape.block
        nest = self._loop(block, blocks, self._inputs(block), panels)
        return without_single_loops(self._whole(self._weights(), nest))

    def _whole(self, *nests: For) -> Kernel:
        """The kernel of these nests, the last of them in the loops over images."""
        *first, nest = nests
        for name in reversed(self.found.images):
            nest = replace(find_loop(self.kernel.body, name), body=(nest,))
        lets = tuple(s for s in self.kernel.body if isinstance(s, Let))
        local = tuple(Alloc(buffer, self.kernel.span) for buffer in (self.u, self.v, self.m))
        return replace(self.kernel, body=(*lets, *local, *first, nest))

    def _scratch(self, hint: str, dims: tuple[int, ...]) -> Buffer:
        return Buffer(fresh_name(self.taken, hint), F32, dims, "scratch")

    def _index(self, hint: str) -> str:
        return fresh_name(self.taken, hint)

    def _loop(self, name: str, extent: int, *body: Statement, kind: LoopKind = "serial") -> For:
        return For(name, extent, kind, body, self.kernel.span)

    def _weights(self) -> For:
        """U = G w Gᵀ, in panels of output channels."""
        panel, c, vector, lane = (self._index(n) for n in ("panel", "c", "vector", "lane"))
        shape, window = self.shape, self.window
        o = symbol(panel) * shape.panel + symbol(vector) * shape.lanes + symbol(lane)
        known: dict[str, Expr] = {window.channel: Var(c), self.found.channel: from_dim(o)}

        def read(p: int, q: int) -> Expr:
            return substitute(
                self.found.w, {**known, window.row: index(p), window.column: index(q)}
            )

        body = self._transformed(
            shape.transforms.weights, read, ("w", "gw", "u"), self.u,
            lambda point: (Var(panel), index(point), Var(c), Var(vector), Var(lane)),
        )  # fmt: skip
        nest = self._loop(lane, shape.lanes, *body, kind="vector")
        nest = self._loop(vector, shape.vectors, nest)
        return self._loop(panel, shape.panels, self._loop(c, shape.inputs, nest))

    def _inputs(self, block: str) -> For:
        """V = Bᵀ x B, for the patches of a block of rows of tiles."""
        row, column, vector, lane = (self._index(n) for n in ("row", "column", "vector", "lane"))
        shape, window = self.shape, self.window
        c = from_dim(symbol(vector) * shape.lanes + symbol(lane))
        at = self._corner(block, row, column)
        x = self.found.x
        assert isinstance(x, Load)

        def read(r: int, s: int) -> Expr:
            values: dict[str, Expr] = {window.channel: c, window.row: index(0)}
            values |= {window.column: index(0)}
            places = (from_dim(at[0] + r), from_dim(at[1] + s))
            values |= dict(zip(self.found.pixels, places, strict=True))
            inside = _inside(x, self.found.pixels, self.kernel)
            return substitute(replace(x, guard=inside), values)

        body = self._transformed(
            shape.transforms.inputs, read, ("x", "bx", "v"), self.v,
            lambda point: (index(point), self._tile(row, column), c),
        )  # fmt: skip
        nest = self._loop(lane, shape.lanes, *body, kind="vector")
        nest = self._loop(vector, shape.inputs // shape.lanes, nest)
        return self._loop(row, shape.block, self._loop(column, shape.across, nest))

    def _products(self, panel: str, tile: str) -> For:
        """M[a, b] = V[a, b] · U[a, b], one number at a time: to be tiled."""
        point, vector, lane, c = (self._index(n) for n in ("point", "vector", "lane", "c"))
        shape, name = self.shape, fresh_name(self.taken, "acc")
        acc = Load(name, (), F32)
        v = Load(self.v.name, (Var(point), Var(tile), Var(c)), F32)
        u = Load(self.u.name, tuple(map(Var, (panel, point, c, vector, lane))), F32)
        step = Store(name, (), Binary("add", acc, Binary("mul", v, u)))
        o = from_dim(symbol(vector) * shape.lanes + symbol(lane))
        nest = self._loop(
            lane,
            shape.lanes,
            Alloc(Buffer(name, F32, (), "register"), self.kernel.span),
            Store(name, (), Const(0.0, F32)),
            self._loop(c, shape.inputs, step),
            Store(self.m.name, (Var(point), Var(tile), o), acc),
        )
        nest = self._loop(vector, shape.vectors, nest)
        nest = self._loop(tile, shape.block * shape.across, nest)
        return self._loop(point, shape.points, nest)

    def _outputs(self, block: str, panel: str) -> For:
        """Y = Aᵀ M A, and what the kernel does with each of its numbers."""
        row, column, vector, lane = (self._index(n) for n in ("row", "column", "vector", "lane"))
        shape = self.shape
        o = symbol(vector) * shape.lanes + symbol(lane)

        def read(a: int, b: int) -> Expr:
            point = index(a * shape.transforms.size + b)
            return Load(self.m.name, (point, self._tile(row, column), from_dim(o)), F32)

        lines = Lines(self.taken)
        made = lines.sandwich(shape.transforms.outputs, read, ("m", "am", "y"))
        at = self._corner(block, row, column)
        body: list[Statement] = list(lines.lets)
        for u, line in enumerate(made):
            for v, value in enumerate(line):
                channel = from_dim(symbol(panel) * shape.panel + o)
                body.append(self._epilogue((at[0] + u, at[1] + v), channel, value))
        nest = self._loop(lane, shape.lanes, *body, kind="vector")
        nest = self._loop(vector, shape.vectors, nest)
        return self._loop(row, shape.block, self._loop(column, shape.across, nest))

    def _epilogue(self, at: tuple[Dim, Dim], channel: Expr, value: Expr) -> Statement:
        """What follows the sum in the naive nest, at one pixel; nothing outside the image."""
        inner = find_loop(self.kernel.body, self.found.channel)
        inner = find_loop(self.kernel.body, perfect_nest(self.kernel, inner.index)[-1])
        (acc,) = (b.name for b in allocations(inner.body))
        rest: Block = tuple(
            s
            for s in inner.body
            if not isinstance(s, (Alloc, For)) and not (isinstance(s, Store) and s.buffer == acc)
        )
        rest = map_expressions(
            fresh_copy(rest, self.taken),
            lambda e: rewrite(e, lambda x: value if x == Load(acc, (), F32) else x),
        )
        places = dict(zip(self.found.pixels, map(from_dim, at), strict=True))
        rest = substitute_block(rest, {**places, self.found.channel: channel})
        sides = (
            Binary("lt", from_dim(place), index(size))
            for place, size in zip(at, (self.shape.height, self.shape.width), strict=True)
        )
        return If(Binary("and", *sides), rest)

    def _transformed(
        self,
        matrix: Matrix,
        read: Callable[[int, int], Expr],
        hints: tuple[str, str, str],
        buffer: Buffer,
        place: Callable[[int], tuple[Expr, ...]],
    ) -> tuple[Statement, ...]:
        """matrix · d · matrixᵀ, and stores of its elements."""
        lines = Lines(self.taken)
        made = [value for line in lines.sandwich(matrix, read, hints) for value in line]
        stores = (Store(buffer.name, place(point), value) for point, value in enumerate(made))
        return (*lines.lets, *stores)

    def _corner(self, block: str, row: str, column: str) -> tuple[Dim, Dim]:
        """The first pixel of a tile."""
        m = self.shape.transforms.m
        return (symbol(block) * self.shape.block + symbol(row)) * m, symbol(column) * m

    def _tile(self, row: str, column: str) -> Expr:
        """The number of a tile in its block."""
        return from_dim(symbol(row) * self.shape.across + symbol(column))

    def _tiled(self, panel: str, products: For, tile: str) -> Block:
        """The products in register tiles; made alone, for the straight lines beside are long."""
        kernel = simplify_kernel(self._whole(self._loop(panel, self.shape.panels, products)))
        names = perfect_nest(kernel, tile)[:3]
        piece = dict(zip(("column", "vector", "lane"), names, strict=True))
        size = self.shape.columns
        whole = extent_of(kernel, tile) // size * size
        kernel, pieces = cut_pieces(kernel, piece, {"column": [whole]})
        for piece in pieces:
            kernel, loops = split_piece(kernel, piece, {"column": size})
            order = ("column_tile", "column", "vector", "lane")
            kernel, loops = reordered(kernel, loops, order)
            for role in ("column", "vector"):
                kernel = jam(kernel, loops[role], "unrolled")
            kernel = jam(kernel, loops["lane"], "vector")
        self.taken |= taken_names(kernel)
        return find_loop(kernel.body, panel).body


def _inside(x: Load, pixels: tuple[str, ...], kernel: Kernel) -> Expr:
    """Whether the subscripts along rows and columns are on their axes."""
    shape = kernel_buffers(kernel)[x.buffer].shape
    tests: list[Expr] = []
    for subscript, extent in zip(x.indices, shape, strict=True):
        if variables(subscript) & set(pixels):
            tests += [Binary("ge", subscript, index(0)), Binary("lt", subscript, from_dim(extent))]
    total = tests[0]
    for test in tests[1:]:
        total = Binary("and", total, test)
    return total
