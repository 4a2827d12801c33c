"""Contractions: packed, register-tiled matrix products.

In: a naive nest whose heart is `acc[] = acc[] + A * B`. Its result axes fall into four groups: in
both factors (*batch*), in A only (*rows*), in B only and last in the result (*columns*), in B only
and elsewhere (*outer*). Out, with m×n a register tile:

    pack A: panels of m rows, contiguous in k
    for batch, outer { for column block jb {
      pack B of the block: panels of n columns, contiguous in k
      for row block ib { for panel j in jb { for panel i in ib {
        acc: [m, n] in registers;  for k: acc += A[i, k, :] × B[j, k, :];  epilogue from registers
    } } } } }

So a matrix product, a convolution (whose packing is im2col) and any other sum of products are one
strategy. The blocks keep A and B in the L2 cache; see Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008, for the idea.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepwell.ir.dtypes import DType
from stepwell.ir.loop.analysis import substitute_block
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Check,
    For,
    If,
    Kernel,
    Let,
    LoopKind,
    Store,
    statements,
)
from stepwell.ir.scalar import Binary, Const, Expr, Load, Select, Var, loads, variables
from stepwell.ir.size import Dim, product
from stepwell.ir.target import Target
from stepwell.lowering.transforms.fuse_loops import fuse_loops
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import find_loop, replace_loop
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.reorder import perfect_nest, reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split

SMALL = 4  # rows below which packing costs more than it saves
UNKNOWN = 1024  # taken for a symbolic size where a choice needs a number


@dataclass(frozen=True)
class Product:
    """The anatomy of a contraction's nest: loop indices by group, and the two factors."""

    batch: tuple[str, ...]
    outer: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    reduction: tuple[str, ...]
    a: Expr
    b: Expr


@dataclass(frozen=True)
class Tile:
    """A register tile of `rows` × (`vectors` × `lanes`), and blocks in panels of it."""

    rows: int
    vectors: int
    lanes: int
    row_panels: int
    column_panels: int


def schedule_contraction(kernel: Kernel, target: Target) -> Kernel | None:
    """The packed, tiled kernel; None where the kernel is not a product worth it."""
    kernel = _without_outer_lets(kernel)
    found = find_product(kernel)
    if found is None:
        return None
    extents = {name: find_loop(kernel.body, name).extent for name in (*found.rows, *found.columns)}
    rows = product([extents[name] for name in found.rows])
    if not found.rows or (isinstance(rows, int) and rows < SMALL):
        return None
    columns = product([extents[name] for name in found.columns])
    depth = product([find_loop(kernel.body, name).extent for name in found.reduction])
    tile = choose_tile(rows, columns, depth, found.a.dtype, target)
    return _tiled(kernel, found, tile)


# ---------------------------------------------------------------------- recognising


def _without_outer_lets(kernel: Kernel) -> Kernel:
    """Lets between the loops of the outer nest moved into its innermost body."""

    def sink(block: Block) -> Block:
        loops = [s for s in block if isinstance(s, For)]
        lets = [s for s in block if isinstance(s, Let)]
        if len(loops) != 1 or len(loops) + len(lets) != len(block):
            return block
        body = loops[0].body
        for let in reversed(lets):
            body = substitute_block(body, {let.name: let.value})
        return (replace(loops[0], body=sink(body)),)

    allocations = tuple(s for s in kernel.body if isinstance(s, Alloc))
    rest = tuple(s for s in kernel.body if not isinstance(s, Alloc))
    return replace(kernel, body=(*allocations, *sink(rest)))


def find_product(kernel: Kernel) -> Product | None:
    """The anatomy of the kernel, where it is one perfect nest around one sum of products."""
    nests = [s for s in kernel.body if isinstance(s, For)]
    if len(nests) != 1:
        return None
    nest = perfect_nest(kernel, nests[0].index)
    body = find_loop(kernel.body, nest[-1]).body
    inner = [s for s in body if isinstance(s, For)]
    if len(inner) != 1 or any(isinstance(s, (If, Check)) for s in body):
        return None
    reduction = perfect_nest(kernel, inner[0].index)
    term = _term(find_loop(kernel.body, reduction[-1]).body)
    stores = [s for s in body if isinstance(s, Store) and s.indices]
    if term is None or not stores:
        return None
    order = [i.name for i in stores[0].indices if isinstance(i, Var)]
    if set(order) != set(nest) or len(order) != len(nest):
        return None
    return _grouped(nest, order, reduction, _factors(term))


def _term(body: Block) -> Expr | None:
    """What is added to the accumulator, with the lets of the body put in."""
    values: dict[str, Expr] = {}
    for statement in body:
        match statement:
            case Let(name=name, value=value):
                (whole,) = substitute_block((Let(name, value),), values)
                assert isinstance(whole, Let)
                values[name] = whole.value
            case Store(buffer=name, indices=(), value=Binary(op="add", x=Load(buffer=same), y=y)):
                if name != same or statement is not body[-1]:
                    return None
                (whole_store,) = substitute_block((Store("", (), y),), values)
                assert isinstance(whole_store, Store)
                term = whole_store.value
                # A guarded load is 0 outside its guard, and so is the product.
                if isinstance(term, Select) and isinstance(term.y, Const) and term.y.value == 0:
                    term = term.x
                return term
            case _:
                return None
    return None


def _factors(term: Expr) -> list[Expr]:
    if isinstance(term, Binary) and term.op == "mul":
        return [*_factors(term.x), *_factors(term.y)]
    return [term]


def _grouped(
    nest: list[str], order: list[str], reduction: list[str], factors: list[Expr]
) -> Product | None:
    last = order[-1]
    b_factors = [f for f in factors if last in variables(f)]
    a_factors = [f for f in factors if last not in variables(f)]
    if len(b_factors) != 1 or not a_factors:
        return None
    (b,), a = b_factors, a_factors[0]
    for factor in a_factors[1:]:
        a = Binary("mul", a, factor)
    if not loads(a) or not loads(b):
        return None
    in_a, in_b = variables(a), variables(b)
    batch = [n for n in nest if n in in_a and n in in_b]
    rows = [n for n in nest if n in in_a and n not in in_b]
    columns: list[str] = []
    for name in reversed(order):
        if name in in_a:
            break
        columns.insert(0, name)
    if not columns or any(n not in in_a and n not in in_b for n in nest):
        return None
    outer = [n for n in nest if n in in_b and n not in in_a and n not in columns]
    if not all(r in in_a | in_b for r in reduction):
        return None
    return Product(tuple(batch), tuple(outer), tuple(rows), tuple(columns), tuple(reduction), a, b)


# ---------------------------------------------------------------------- choosing


def choose_tile(rows: Dim, columns: Dim, depth: Dim, dtype: DType, target: Target) -> Tile:
    """A register tile that fills the registers, wastes little at the edges, and blocks for L2."""
    lanes = target.lanes(dtype)
    registers = target.vector_registers
    most = 2 if registers <= 16 else 4
    available = registers - 2
    vectors = most if registers <= 16 else 2
    if isinstance(columns, int):
        vectors = max(1, min(vectors, -(-columns // lanes)))
    tallest = max(1, (available - vectors) // vectors)
    tallest = min(tallest, 14)
    height = tallest
    if isinstance(rows, int):
        heights = range(1, min(tallest, rows) + 1)
        height = min(heights, key=lambda m: (-(-rows // m) * (m + 1), -m))
    deep = depth if isinstance(depth, int) else UNKNOWN
    panel_bytes = max(1, deep) * dtype.compute.bytes
    row_panels = max(1, target.l2 // 3 // (panel_bytes * height))
    column_panels = max(1, target.l2 // 3 // (panel_bytes * vectors * lanes))
    return Tile(height, vectors, lanes, row_panels, column_panels)


# ---------------------------------------------------------------------- transforming


def _tiled(kernel: Kernel, found: Product, tile: Tile) -> Kernel:
    outside = (*found.batch, *found.outer)
    order = (*outside, *found.rows, *found.columns)
    kernel = reorder(_plain(kernel, found), _outermost(kernel), order)
    kernel, row = _fused(kernel, found.rows)
    kernel, column = _fused(kernel, found.columns)
    kernel, deep = _fused(kernel, found.reduction)
    kernel = simplify_kernel(kernel)

    width = tile.vectors * tile.lanes
    rows = split(kernel, row, tile.rows, "guard", ("row_tile", "row"))
    columns = split(rows.kernel, column, width, "guard", ("column_tile", "column"))
    kernel = _pack_a(columns.kernel, (rows.outer, rows.inner), deep, outside)
    row_blocks = split(kernel, rows.outer, tile.row_panels, "bound", ("row_block", "row_panel"))
    column_blocks = split(
        row_blocks.kernel, columns.outer, tile.column_panels, "bound", ("column_block", "panel")
    )
    vectors = split(column_blocks.kernel, columns.inner, tile.lanes, "guard", ("vector", "lane"))
    kernel = simplify_kernel(vectors.kernel)
    nest = _Nest(
        outside,
        (row_blocks.outer, row_blocks.inner, rows.inner),
        (column_blocks.outer, column_blocks.inner, vectors.outer, vectors.inner),
        deep,
    )
    (ib, i0, i1), (jb, j0, jv, jl) = nest.rows, nest.columns
    kernel = reorder(kernel, ib, (jb, ib, j0, i0, i1, jv, jl))
    kernel = _pack_b(kernel, nest, tile)
    kernel = jam(kernel, i1, "unrolled")
    kernel = jam(kernel, jv, "unrolled")
    kernel = jam(kernel, jl, "vector")
    return without_single_loops(kernel)


@dataclass(frozen=True)
class _Nest:
    """The loops after splitting: outside ones; block, panel, row; block, panel, vector, lane; k."""

    outside: tuple[str, ...]
    rows: tuple[str, str, str]
    columns: tuple[str, str, str, str]
    deep: str


def _plain(kernel: Kernel, found: Product) -> Kernel:
    """The reduction's body as one statement, `acc[] = acc[] + a * b`."""

    def plain(loop: For) -> Block:
        store = loop.body[-1]
        assert isinstance(store, Store) and isinstance(store.value, Binary)
        value = Binary("add", store.value.x, Binary("mul", found.a, found.b))
        return (replace(loop, body=(replace(store, value=value),)),)

    return replace(kernel, body=replace_loop(kernel.body, found.reduction[-1], plain))


def _outermost(kernel: Kernel) -> str:
    return next(s.index for s in kernel.body if isinstance(s, For))


def _fused(kernel: Kernel, names: tuple[str, ...]) -> tuple[Kernel, str]:
    index = names[0]
    for _ in names[1:]:
        kernel, index = fuse_loops(kernel, index)
    return kernel, index


def _factor(kernel: Kernel, deep: str, side: str) -> Expr:
    store = find_loop(kernel.body, deep).body[-1]
    assert isinstance(store, Store) and isinstance(store.value, Binary)
    product_ = store.value.y
    assert isinstance(product_, Binary)
    return product_.x if side == "a" else product_.y


def _pack_a(kernel: Kernel, row: tuple[str, str], deep: str, outside: tuple[str, ...]) -> Kernel:
    """Pack A over all rows, as far outside as the loops that it depends on allow."""
    a = _factor(kernel, deep, "a")
    used = [number for number, name in enumerate(outside) if name in variables(a)]
    before = (*outside, row[0])[used[-1] + 1 if used else 0]
    loops = [(name, find_loop(kernel.body, name).extent) for name in (row[0], deep, row[1])]
    # k innermost: a row of A is mostly contiguous in it.
    return pack(kernel, a, "a_panels", loops, before, _guards(kernel, row[1]), order=(0, 2, 1))


def _pack_b(kernel: Kernel, nest: _Nest, tile: Tile) -> Kernel:
    """Pack B over one block of columns, inside the loop over blocks."""
    jb, j0, jv, jl = nest.columns
    one = find_loop(kernel.body, jb).extent == 1
    room = find_loop(kernel.body, j0).extent if one else tile.column_panels
    depth = find_loop(kernel.body, nest.deep).extent
    # k inside the vectors: what depends on the lanes only is computed once for all k.
    loops = [(j0, room), (jv, tile.vectors), (nest.deep, depth), (jl, tile.lanes)]
    kinds: tuple[LoopKind, ...] = ("serial", "serial", "serial", "vector")
    b = _factor(kernel, nest.deep, "b")
    return pack(kernel, b, "b_panels", loops, nest.rows[0], _guards(kernel, jl), kinds)


def _guards(kernel: Kernel, index: str) -> list[Expr]:
    """The conditions on this loop's index around the innermost body of the nest."""
    return [
        s.condition
        for s in statements(kernel.body)
        if isinstance(s, If) and index in variables(s.condition)
    ]
