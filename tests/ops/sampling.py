"""Random arrays for operator tests: plain numbers, with the extremes that a dtype has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Array, Example, OpDef
from stepwell.ir.graph.interpreter import static_type

SIZES = ({"N": 1}, {"N": 5}, {"N": 0})


def arrays_for(
    definition: OpDef, example: Example, sizes: dict[str, int], seed: int = 0
) -> list[Array]:
    """One array per operand; indices of a gather are in range."""
    random = np.random.default_rng(seed)
    types = [static_type(type, sizes) for type in example.operands]
    arrays = [sample(random, type.dtype, type.shape) for type in types]
    if definition.name in ("gather", "scatter_add"):
        size = types[0].shape[example.attributes["axis"]]
        indices = random.integers(0, max(1, int(size)), types[1].shape)
        arrays[1] = np.asarray(indices).astype(types[1].dtype.numpy)
    return arrays


def sample(random: np.random.Generator, dtype: DType, shape: Sequence[object]) -> Array:
    """Numbers of moderate size; the first few are the dtype's own extremes for integers."""
    static = [int(str(n)) for n in shape]
    if dtype.is_bool:
        return np.asarray(random.random(static) < 0.5)
    if dtype.is_int:
        low = -9 if dtype.signed else 0
        array = np.asarray(random.integers(low, 10, static)).astype(dtype.numpy)
        if array.size > 12:
            array.flat[0], array.flat[1], array.flat[2] = dtype.lowest, dtype.highest, 0
        return array
    return np.asarray(random.normal(0, 1.5, static)).astype(dtype.numpy)
