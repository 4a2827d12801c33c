"""Attention: scores, softmax and mix of a few rows at a time; the T×T scores are never whole.

In: a naive nest over rows whose body has a sum of products into a row of scratch (the scores),
loops over that row (softmax), and a second sum of products with it (the mix). Out:

    pack the keys, transposed: panels of columns, contiguous in the depth
    for row tile {
      for panel  { scores[rows, panel]  += query[rows, e] × keys[e, panel]    in registers }
      for row    { softmax along the row, in vectors;  weights[row, :] }
      for panel  { result[rows, panel]  += weights[rows, j] × values[j, panel]    in registers }
    }

Panels in which every row of the tile has a weight of 0 (`position_masks.py`) are passed over.
The rows of a tile stay in the first or second cache. See Dao et al., "FlashAttention", 2022, for
the idea; whole rows need no correction of the maximum.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial, reduce

from stepwell.ir.loop.analysis import (
    allocations,
    kernel_buffers,
    let_names,
    map_statements,
    reads,
    variables_of,
    writes,
)
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    For,
    If,
    Kernel,
    Let,
    LoopKind,
    Statement,
    Store,
    statements,
)
from stepwell.ir.ranges import Ranges, lower_bound
from stepwell.ir.scalar import (
    Binary,
    Expr,
    Load,
    Unary,
    Var,
    as_dim,
    coefficient,
    from_dim,
    loads,
    variables,
)
from stepwell.ir.size import Dim, ceildiv, provably_le, substitute, symbol
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose
from stepwell.lowering.strategies.loops import vectorize_inward
from stepwell.lowering.strategies.position_masks import COLUMN, PositionMask, position_mask
from stepwell.lowering.strategies.products import factors_of, term_of, without_outer_lets
from stepwell.lowering.strategies.register_tile import TALLEST, VECTORS, analytic_tile
from stepwell.lowering.transforms.fission import fission, widen
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.reorder import perfect_nest, reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.skip import common_width, skip
from stepwell.lowering.transforms.split import split
from stepwell.lowering.transforms.squares import squares

SIDE_BY_SIDE = 4  # rows of a softmax


def schedule_attention(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel; None where the kernel is none, or has another form."""
    return _tiled(kernel, target) if kernel.family == "attention" else None


def _tiled(kernel: Kernel, target: Target) -> Kernel:
    kernel, row = _row_innermost(without_outer_lets(kernel))
    parts = _parts(kernel, row)
    extent = find_loop(kernel.body, row).extent
    columns = find_loop(kernel.body, parts.score).extent
    kept = frozenset(b.name for b in allocations(kernel.body) if b.space == "scratch")
    mask = position_mask(find_loop(kernel.body, row).body, row, columns, kept)
    kernel = _score_alone(kernel, row, parts)
    kernel = _plain(kernel, parts.mix)
    weights = _factors(kernel, parts.mix)[0]
    deep = _deep(kernel, parts.mix).index
    kernel = pack(kernel, weights, "weights", [(deep, columns)], parts.mix)
    kernel = _scratch_first(kernel)

    dtype = weights.dtype
    tile = analytic_tile(extent, columns, 0, dtype, target)
    height = dividing(extent, tile.rows)
    height = choose("attention_rows", height, lambda: range(1, TALLEST + 1))
    tiles = split(kernel, row, height, "bound", ("row_tile", "row"))
    kernel, row = roomy(simplify_kernel(tiles.kernel), parts.scores, tile.width), tiles.inner
    kernel, softmax = fission(kernel, row, parts.scores, height)
    packed = next(load.buffer for load in loads(_factors(kernel, parts.mix)[0]))
    kernel, mix = fission(kernel, softmax, packed, height)
    kernel = tiled_product(kernel, row, parts.score, height, tiles.outer, target)
    kernel = tiled_product(kernel, mix, parts.mix, height, tiles.outer, target)
    kernel = vectorize_inward(kernel, softmax, target.lanes(dtype), target, most=2)
    kernel = _side_by_side(kernel, softmax, height)
    if mask is not None:
        rows = Rows(mask.row, tiles.outer, height)
        kernel = without_hidden(kernel, mask, rows, deep, kept | {parts.scores, packed})
    return without_single_loops(kernel)


@dataclass(frozen=True)
class Rows:
    """The tiles of a loop over rows: its index, that of the tiles, rows in a tile."""

    index: str
    tile: str
    height: int

    def outermost(self, dim: Dim, greatest: bool) -> Dim:
        """The dim over rows at that of the tile's rows where it is greatest, or least."""
        factor = coefficient(dim, self.index)
        last = isinstance(factor, int) and (factor > 0) == greatest
        row = symbol(self.tile) * self.height + (self.height - 1 if last else 0)
        return substitute(dim, {self.index: row})


def without_hidden(
    kernel: Kernel, mask: PositionMask, rows: Rows, mix: str, kept: frozenset[str]
) -> Kernel:
    """The kernel that passes over columns in which no row of a tile has a weight; not in tiles in
    which some row may see no column: it would see all of them."""
    tiles = find_loop(kernel.body, rows.tile)
    ranges = {rows.tile: tiles.extent} | dict.fromkeys((*mask.data, *let_names(kernel.body)))
    least = [rows.outermost(dim, greatest=False) for dim in mask.seen]
    unsure = [mask.holds(dim) for dim in least if not _is_natural(dim, ranges)]

    def needed(first: Dim, last: Dim) -> Expr:
        bounds = (rows.outermost(dim, greatest=True) for dim in mask.bounds)
        conditions = [
            mask.holds(substitute(dim, {COLUMN: last if coefficient(dim, COLUMN) == 1 else first}))
            for dim in bounds
        ]
        found = reduce(partial(Binary, "and"), conditions)
        return reduce(lambda x, sure: Binary("or", x, Unary("not", sure)), unsure, found)

    width = common_width(kernel, rows.tile, kept)
    kernel = split(kernel, mix, width, "bound", (f"{mix}_block", mix)).kernel
    return skip(_scratch_inside(kernel, rows.tile, kept), rows.tile, kept, width, needed)


def _is_natural(dim: Dim, ranges: Ranges) -> bool:
    low = lower_bound(dim, ranges)
    return low is not None and provably_le(0, low)


@dataclass(frozen=True)
class _Parts:
    """The loop over scores, the scratch that it stores to, and the loop over what is mixed."""

    score: str
    scores: str
    mix: str


def _parts(kernel: Kernel, row: str) -> _Parts:
    loops = [s for s in find_loop(kernel.body, row).body if isinstance(s, For)]
    if len(loops) < 3:
        raise ScheduleError("there is no softmax between two products")
    score, mix = loops[0], loops[-1]
    stored = [s for s in score.body if isinstance(s, Store) and s.indices == (Var(score.index),)]
    if len(stored) != 1:
        raise ScheduleError("the scores are not kept in a row")
    return _Parts(score.index, stored[0].buffer, mix.index)


def _row_innermost(kernel: Kernel) -> tuple[Kernel, str]:
    """The loop over the queries' rows brought inside those over heads and batch."""
    nests = [s for s in kernel.body if isinstance(s, For)]
    if len(nests) != 1:
        raise ScheduleError("several results")
    nest = perfect_nest(kernel, nests[0].index)
    parts = _parts(kernel, nest[-1])
    query, key = _factors(kernel, parts.score)
    rows = [name for name in nest if name in variables(query) and name not in variables(key)]
    if len(rows) != 1:
        raise ScheduleError("one axis numbers the rows")
    order = (*(name for name in nest if name != rows[0]), rows[0])
    scratch = {buffer.name for buffer in allocations(kernel.body)}
    kernel = reorder(_scratch_inside(kernel, nest[-1], scratch), nest[0], order)
    return _scratch_first(kernel), rows[0]


def _scratch_inside(kernel: Kernel, index: str, names: Collection[str]) -> Kernel:
    """Scratch allocated in the loop that uses it: its iterations share nothing."""
    moved = tuple(s for s in kernel.body if isinstance(s, Alloc) and s.buffer.name in names)
    rest = tuple(s for s in kernel.body if s not in moved)
    body = replace_loop(rest, index, lambda loop: (replace(loop, body=(*moved, *loop.body)),))
    return replace(kernel, body=body)


def _scratch_first(kernel: Kernel) -> Kernel:
    """Scratch allocated before everything else."""

    def is_scratch(statement: Statement) -> bool:
        return isinstance(statement, Alloc) and statement.buffer.space == "scratch"

    allocations = tuple(s for s in statements(kernel.body) if is_scratch(s))
    body = map_statements(kernel.body, lambda s: () if is_scratch(s) else s)
    return replace(kernel, body=(*allocations, *body))


def roomy(kernel: Kernel, name: str, by: int) -> Kernel:
    """Scratch with room for whole panels of columns: their stores are not guarded."""

    def widened(statement: Statement) -> Statement:
        if isinstance(statement, Alloc) and statement.buffer.name == name:
            *outer, last = statement.buffer.shape
            shape = (*outer, ceildiv(last, by) * by)
            return replace(statement, buffer=replace(statement.buffer, shape=shape))
        return statement

    return replace(kernel, body=map_statements(kernel.body, widened))


def _score_alone(kernel: Kernel, row: str, parts: _Parts) -> Kernel:
    """The loop over scores with nothing but the scores in it, as the first of the row's body."""
    body = replace_loop(kernel.body, parts.score, lambda loop: (_scores_first(loop, parts),))
    kernel = replace(kernel, body=body)
    score = find_loop(kernel.body, parts.score)
    last = score.body[-1]
    if not (isinstance(last, Store) and last.buffer == parts.scores):
        kernel, _ = fission(kernel, parts.score, parts.scores, score.extent)

    def reordered(loop: For) -> Block:
        first = next(s for s in loop.body if isinstance(s, For) and s.index == parts.score)
        before = loop.body[: loop.body.index(first)]
        lets = {s.name for s in before if isinstance(s, Let)}
        if lets & variables_of((first,)) or writes(before) & reads((first,)):
            raise ScheduleError("the scores need what is computed before them")
        return (replace(loop, body=(first, *(s for s in loop.body if s is not first))),)

    return replace(kernel, body=replace_loop(kernel.body, row, reordered))


def _scores_first(loop: For, parts: _Parts) -> For:
    """The loop over scores with lets that these do not need behind them."""
    at = next(i for i, s in enumerate(loop.body) if parts.scores in writes((s,)))
    first: Block = ()
    late: Block = ()
    for statement in reversed(loop.body[: at + 1]):
        if isinstance(statement, Let) and statement.name not in variables_of(first):
            late = (statement, *late)
        else:
            first = (statement, *first)
    return replace(loop, body=(*first, *late, *loop.body[at + 1 :]))


def _deep(kernel: Kernel, column: str) -> For:
    """The one loop of a sum inside the loop over its results."""
    inner = [s for s in find_loop(kernel.body, column).body if isinstance(s, For)]
    if len(inner) != 1:
        raise ScheduleError(f"there is no sum in the loop over {column}")
    return inner[0]


def _factors(kernel: Kernel, column: str) -> tuple[Expr, Expr]:
    """What depends on the rows, and what is read across the columns."""
    term = term_of(_deep(kernel, column).body)
    factors = [] if term is None else factors_of(term)
    across = [f for f in factors if column in variables(f)]
    along = [f for f in factors if column not in variables(f)]
    if len(across) != 1 or not along:
        raise ScheduleError(f"the sum over {column} is not one of products")
    a = along[0]
    for factor in along[1:]:
        a = Binary("mul", a, factor)
    return a, across[0]


def dividing(extent: object, tallest: int) -> int:
    """A height that leaves no rest, where one is near."""
    if isinstance(extent, int):
        for height in range(min(tallest, extent), tallest // 2, -1):
            if extent % height == 0:
                return height
    return tallest


# ---------------------------------------------------------------------- one product


def tiled_product(
    kernel: Kernel, row: str, column: str, height: int, before: str, target: Target
) -> Kernel:
    """The product of a tile's rows, in a register tile; what is strided across columns is packed
    before the loop `before`."""
    deep, lanes = _deep(kernel, column).index, target.lanes(_factors(kernel, column)[1].dtype)
    extent = find_loop(kernel.body, column).extent
    kernel = padded(_plain(kernel, column), row, height)
    wide = min(VECTORS, -(-extent // lanes)) if isinstance(extent, int) else VECTORS
    columns = split(kernel, column, wide * lanes, "guard", (f"{column}_panel", column))
    vectors = split(columns.kernel, columns.inner, lanes, "guard", (f"{column}_vector", column))
    kernel = simplify_kernel(vectors.kernel)
    panel, vector, lane = columns.outer, vectors.outer, vectors.inner
    kernel = reorder(kernel, row, (panel, row, vector, lane))
    kernel = _pack_strided(kernel, (panel, deep, vector, lane), before)
    kernel = jam(kernel, row, "unrolled")
    kernel = jam(kernel, vector, "unrolled")
    return jam(kernel, lane, "vector")


def _side_by_side(kernel: Kernel, row: str, height: int) -> Kernel:
    """Several rows of the softmax at once: one hides the latency of the other's sums of lanes."""
    rows = next(rows for rows in range(SIDE_BY_SIDE, 0, -1) if height % rows == 0)
    kernel = simplify_kernel(widen(padded(kernel, row, height), row, height))
    parts = split(kernel, row, rows)
    return jam(parts.kernel, parts.inner, "unrolled")


def _plain(kernel: Kernel, column: str) -> Kernel:
    """The sum's body as one statement, `acc[] = acc[] + a * b`."""
    a, b = _factors(kernel, column)

    def plain(loop: For) -> Block:
        store = loop.body[-1]
        assert isinstance(store, Store) and isinstance(store.value, Binary)
        value = Binary("add", store.value.x, Binary("mul", a, b))
        return (replace(loop, body=(replace(store, value=value),)),)

    return replace(kernel, body=replace_loop(kernel.body, _deep(kernel, column).index, plain))


def padded(kernel: Kernel, row: str, height: int) -> Kernel:
    """A loop of at most `height` iterations as one of exactly so many, the spare ones guarded."""

    def whole(loop: For) -> Block:
        if loop.extent == height:
            return (loop,)
        inside = Binary("lt", Var(row), from_dim(loop.extent))
        return (replace(loop, extent=height, body=_under(loop.body, inside)),)

    return replace(kernel, body=replace_loop(kernel.body, row, whole))


def _under(block: Block, condition: Expr) -> Block:
    if len(block) == 1 and isinstance(block[0], For):
        return (replace(block[0], body=_under(block[0].body, condition)),)
    return (If(condition, block),)


def _pack_strided(kernel: Kernel, loops: tuple[str, str, str, str], before: str) -> Kernel:
    panel, deep, vector, lane = loops
    store = find_loop(kernel.body, deep).body[-1]
    assert isinstance(store, Store) and isinstance(store.value, Binary)
    assert isinstance(store.value.y, Binary)
    b = store.value.y.y
    if isinstance(b, Load) and b.guard is None and _steps_by_one(b, lane):
        return kernel
    rooms = [(name, find_loop(kernel.body, name).extent) for name in (panel, vector, deep, lane)]
    nest = find_loop(kernel.body, panel)
    guards = [
        s.condition
        for s in statements((nest,))
        if isinstance(s, If) and lane in variables(s.condition)
    ]
    kinds: tuple[LoopKind, ...] = ("serial", "serial", "serial", "vector")
    taken = set(kernel_buffers(kernel))
    kernel = pack(kernel, b, "panels", rooms, before, guards, kinds)
    (packed,) = set(kernel_buffers(kernel)) - taken
    return squares(kernel, packed)


def _steps_by_one(load: Load, lane: str) -> bool:
    dims = [as_dim(index) for index in load.indices]
    if any(dim is None for dim in dims):
        return False
    steps = [coefficient(dim, lane) for dim in dims if dim is not None]
    return steps[-1] == 1 and all(step == 0 for step in steps[:-1])
