"""The shape of a register tile.

In: how many rows, columns and terms a product has, and the target. Out: a `Tile`.

    1024 × 1024 × 1024 in f32 with 32 registers of 16 lanes  →  14 rows × 2 vectors
"""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.ir.dtypes import DType
from stepwell.ir.size import Dim
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose
from stepwell.lowering.strategies.tile_candidates import tile_candidates

UNKNOWN = 1024  # taken for a symbolic size where a choice needs a number
VECTORS = 2  # of a tile's columns
TALLEST = 14  # rows of a tile: more do not pay for the code


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
    """A tile that fills the registers, wastes little at the edges, and blocks for the L2 cache.

    Each step of the reduction loads `vectors` vectors of B and one scalar of A per row, for
    rows × vectors multiply-adds: two vectors halve the loads of A against one.
    """
    lanes, registers = target.lanes(dtype), target.vector_registers
    vectors = VECTORS
    if isinstance(columns, int):
        vectors = max(1, min(vectors, -(-columns // lanes)))
    tallest = min(TALLEST, max(1, (registers - 2 - vectors) // vectors))
    height = tallest
    if isinstance(rows, int):
        heights = range(1, min(tallest, rows) + 1)
        height = min(heights, key=lambda m: (-(-rows // m) * (m + 1), -m))
    panel = dtype.compute.bytes * max(1, depth if isinstance(depth, int) else UNKNOWN)
    block = target.l2 // 3
    row_panels = max(1, block // (panel * height))
    column_panels = max(1, block // (panel * vectors * lanes))
    tile = Tile(height, vectors, lanes, row_panels, column_panels)
    return choose("tile", tile, lambda: tile_candidates(tile, rows, columns, target))
