"""The shape of a register tile.

In: how many rows, columns and terms a product has, and the target. Out: a `Tile`.

    1024 × 1024 × 1024 in f32 with 32 registers of 16 lanes  →  14 rows × 2 vectors
    128 rows                                                  →  13 × 2, and a tail of 11 × 2

Each step of the reduction loads `vectors` vectors of B and one scalar of A per row, for
rows × vectors multiply-adds. It takes as long as the busier of the multiply-add ports and the load
ports, and no less than the latency of one multiply-add after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from stepwell.ir.dtypes import DType
from stepwell.ir.size import Dim
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose
from stepwell.lowering.strategies.tile_candidates import tile_candidates

UNKNOWN = 1024  # taken for a symbolic size where a choice needs a number
VECTORS = 2  # of a tile's columns
TALLEST = 14  # rows of a tile: more do not pay for the code
START = 20  # cycles that starting and ending a tile costs


@dataclass(frozen=True)
class Tile:
    """A register tile of `rows` × (`vectors` × `lanes`), and blocks in panels of it."""

    rows: int
    vectors: int
    lanes: int
    row_panels: int
    column_panels: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.vectors * self.lanes


def choose_tile(rows: Dim, columns: Dim, depth: Dim, dtype: DType, target: Target) -> Tile:
    """The tile of a product: the analytic one, unless another was measured to be faster."""
    tile = analytic_tile(rows, columns, depth, dtype, target)
    return choose("tile", tile, lambda: tile_candidates(tile, rows, columns, target))


def analytic_tile(rows: Dim, columns: Dim, depth: Dim, dtype: DType, target: Target) -> Tile:
    """A tile that fills the registers, wastes little at the edges, and blocks: rows of A
    for half of the first cache, columns of B for half of the second."""
    lanes, registers = target.lanes(dtype), target.vector_registers
    vectors = VECTORS
    if isinstance(columns, int):
        vectors = max(1, min(vectors, -(-columns // lanes)))
    tallest = min(TALLEST, max(1, (registers - 2 - vectors) // vectors))
    steps = max(1, depth if isinstance(depth, int) else UNKNOWN)
    height = tallest
    if isinstance(rows, int):
        heights = range(1, min(tallest, rows) + 1)
        height = min(heights, key=lambda m: (_cycles(rows, m, vectors, steps, target), -m))
    panel = dtype.compute.bytes * steps
    row_panels = max(1, target.l1 // 2 // (panel * height))
    column_panels = max(1, target.l2 // 2 // (panel * vectors * lanes))
    return Tile(height, vectors, lanes, row_panels, column_panels)


def _cycles(rows: int, height: int, vectors: int, steps: int, target: Target) -> float:
    """Of one panel of columns: whole tiles, and a tail of its own height."""
    whole, rest = divmod(rows, height)
    tails = _tile_cycles(rest, vectors, steps, target) if rest else 0
    return whole * _tile_cycles(height, vectors, steps, target) + tails


def _tile_cycles(rows: int, vectors: int, steps: int, target: Target) -> float:
    busy = max(rows * vectors / target.fma_ports, (rows + vectors) / target.loads)
    return steps * max(ceil(busy), target.fma_latency) + START
