"""The shape of a convolution's register tile.

In: how many pixels and channels a convolution computes, and the target. Out: a `PixelTile`.

    56 × 56 pixels, 64 channels, 32 registers of 16 lanes   →   1 × 14 pixels × 2 vectors
    7 × 7 pixels, 512 channels                              →   2 × 7 pixels × 2 vectors

A step of the reduction loads `vectors` vectors of weights, and one number of each pixel, for
pixels × vectors multiply-adds. It takes as long as the busiest of the multiply-add ports, the load
ports, the second cache, and, for a small tile, the latency of one multiply-add after the other.
What does not divide is done by tiles of its own size: the cheapest shape has the cheapest sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose

MOST_ROWS = 4  # rows of a tile
START = 20  # cycles that starting and ending a tile costs, its stores aside
FEED = 32  # bytes per cycle at which weights come from the second cache


@dataclass(frozen=True)
class PixelTile:
    """A register tile of (rows × columns) pixels × (vectors × lanes) channels."""

    rows: int
    columns: int
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        """Channels."""
        return self.vectors * self.lanes


def choose_pixel_tile(
    height: int, width: int, channels: int, depth: int, lanes: int, target: Target
) -> PixelTile:
    """The tile that takes the fewest cycles over all pixels and channels, `depth` steps each."""
    best, _ = tiled_cycles(height, width, channels, depth, lanes, target)
    return choose("pixel_tile", best, lambda: _candidates(height, width, channels, lanes, target))


def tiled_cycles(
    height: int, width: int, channels: int, depth: int, lanes: int, target: Target
) -> tuple[PixelTile, float]:
    """The best tile, and how many cycles it takes for all."""

    def cycles(tile: PixelTile) -> float:
        panels = ceil(channels / tile.width)
        return panels * sum(
            down * across * _tile_cycles(rows * columns, tile.vectors, depth, target)
            for down, rows in _parts(height, tile.rows)
            for across, columns in _parts(width, tile.columns)
        )

    best = min(_candidates(height, width, channels, lanes, target), key=cycles)
    return best, cycles(best)


def _candidates(
    height: int, width: int, channels: int, lanes: int, target: Target
) -> Iterator[PixelTile]:
    for vectors in range(1, min(4, ceil(channels / lanes)) + 1):
        most = max(1, (target.vector_registers - vectors - 1) // vectors)  # and one for a pixel
        for rows in range(1, min(MOST_ROWS, height, most) + 1):
            for columns in range(1, min(width, most // rows) + 1):
                yield PixelTile(rows, columns, vectors, lanes)


def _tile_cycles(pixels: int, vectors: int, depth: int, target: Target) -> float:
    busy = max(
        pixels * vectors / target.fma_ports,
        (pixels + vectors) / target.loads,
        vectors * (target.vector_bits // 8) / FEED,
        target.fma_latency,
    )
    return depth * busy + START + pixels * vectors / target.stores


def _parts(extent: int, size: int) -> list[tuple[int, int]]:
    """(how many, how long): the whole tiles, and the tail."""
    whole, rest = divmod(extent, size)
    return [part for part in ((whole, size), (1, rest)) if part[0] and part[1]]
