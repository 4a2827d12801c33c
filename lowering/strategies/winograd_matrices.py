"""Winograd's minimal filtering: the matrices, and how far rounding can take it.

F(m×m, 3×3) computes m×m outputs of a 3×3 correlation from an (m+2)×(m+2) patch d and the weights g:

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A

with (m+2)² products where the direct way takes 9m²: 2.25 times fewer for m = 2, 4 times for m = 4.
The matrices are those of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
CVPR 2016, from the points 0, ±1 (m = 2) and 0, ±1, ±2 (m = 4), and infinity.

*Error bound.* As real numbers both ways are equal. In floating point each of the three transforms
rounds, and what was added is taken away again. To first order in the unit roundoff u, over C
channels, with k = 10 for m = 2 and 18 for m = 4,

    |Ŷ - Y| ≤ (C + k) u · Σ_c |Aᵀ| [ (|G| |g_c| |Gᵀ|) ⊙ (|Bᵀ| |d_c| |B|) ] |A|

(Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks", ACM TOMS 46(4), 2020). `growth` is the largest value of that
for one channel of numbers of size 1: it would be 9 for the direct way, and is 64 for m = 2 and 2304
for m = 4. No data reach it: on random numbers the error is a few times that of the direct way.
Infinities and NaN spread to all outputs of the tile whose patch holds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Transforms:
    """F(m×m, 3×3): `inputs` is Bᵀ, `weights` G, `outputs` Aᵀ."""

    m: int
    inputs: Matrix
    weights: Matrix
    outputs: Matrix

    @property
    def size(self) -> int:
        """Of a patch, along one axis."""
        return self.m + 2


F2 = Transforms(
    2,
    inputs=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    weights=((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    outputs=((1, 1, 1, 0), (0, 1, -1, -1)),
)
F4 = Transforms(
    4,
    inputs=(
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    weights=(
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    outputs=((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
)


def growth(transforms: Transforms) -> float:
    """What the error bound multiplies the unit roundoff and the channels by, at sizes of 1."""
    a, g, b = (
        np.abs(np.array(matrix))
        for matrix in (transforms.outputs, transforms.weights, transforms.inputs)
    )
    along_one_axis = a @ (g.sum(axis=1) * b.sum(axis=1))
    return float(along_one_axis.max()) ** 2
