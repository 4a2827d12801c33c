"""Index arithmetic simplified under ranges keeps its value, for every value of the indices."""

from __future__ import annotations

import random
from itertools import product

import pytest

from stepwell.ir.ranges import simplify_dim
from stepwell.ir.size import Dim, evaluate, floordiv, mod, provably_le, symbol

P, V, L = symbol("p"), symbol("v"), symbol("l")
RANGES: dict[str, Dim | None] = {"p": 5, "v": 2, "l": 16}


def test_an_aligned_run_stays_whole() -> None:
    lanes = 160 * P + 16 * V + L
    assert simplify_dim(mod(lanes, 64), RANGES) == 32 * mod(P, 2) + 16 * V + L
    assert simplify_dim(floordiv(lanes + 16, 96), RANGES) == floordiv(10 * P + V + 1, 6)
    apart = 24 * P + L
    assert simplify_dim(mod(apart, 64), RANGES) == mod(apart, 64)


@pytest.mark.parametrize("seed", range(60))
def test_quotients_and_remainders_keep_their_value(seed: int) -> None:
    generator = random.Random(seed)
    factors = [generator.choice((0, 1, 8, 16, 32, 48, 160)) for _ in range(3)]
    dim = factors[0] * P + factors[1] * V + factors[2] * L + generator.choice((0, 1, 16, 40))
    divisor = generator.choice((12, 16, 64, 96))
    for function in (floordiv, mod):
        simpler = simplify_dim(function(dim, divisor), RANGES)
        for p, v, lane in product(range(5), range(2), range(16)):
            values = {"p": p, "v": v, "l": lane}
            assert evaluate(simpler, values) == evaluate(function(dim, divisor), values)


def test_whole_tiles_are_no_more_than_all() -> None:
    rows = 49 * P + L
    assert provably_le(14 * floordiv(rows, 14), rows)
    assert provably_le(14 * floordiv(rows, 14) + 3 * floordiv(P, 3), rows + P)
    assert not provably_le(15 * floordiv(rows, 14), rows)
    assert not provably_le(14 * floordiv(rows, 14) + 1, rows)
