"""Register tiles that measuring may prefer to the analytic one.

In: a tile, how many rows and columns there are. Out: tiles of every shape that the registers hold,
their blocks as large as before; and the same tile with smaller and larger blocks.

    14 × 2 vectors, blocks of 6 and 24 panels   →   1 × 1 … 14 × 2 …; blocks of 3 and 12, …
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from stepwell.ir.size import Dim
from stepwell.ir.target import Target

if TYPE_CHECKING:
    from stepwell.lowering.strategies.register_tile import Tile

WIDEST = 4  # vectors of a tile's columns
TALLEST = 14  # rows of a tile: more do not pay for the code
QUARTERS = (1, 2, 4, 8, 16)  # of a block


def tile_candidates(tile: Tile, rows: Dim, columns: Dim, target: Target) -> Iterator[Tile]:
    """Other shapes first, then other blocks."""
    widest = min(WIDEST, ceil(columns / tile.lanes)) if isinstance(columns, int) else WIDEST
    for vectors in range(1, widest + 1):
        most = min(TALLEST, (target.vector_registers - 1 - vectors) // vectors)  # one for A
        for height in range(1, (min(most, rows) if isinstance(rows, int) else most) + 1):
            down = max(1, tile.row_panels * tile.rows // height)
            across = max(1, tile.column_panels * tile.vectors // vectors)
            yield replace(tile, rows=height, vectors=vectors, row_panels=down, column_panels=across)
    for a in QUARTERS:
        for b in QUARTERS:
            down, across = max(1, tile.row_panels * a // 4), max(1, tile.column_panels * b // 4)
            yield replace(tile, row_panels=down, column_panels=across)
