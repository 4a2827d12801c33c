"""What a program's sizes are, from the arrays that it is given; and whether they are allowed.

x: f32[N, 2*H] given as float32[8, 6]   →   {"N": 8, "H": 3}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stepwell.ir.diagnostics import InputError
from stepwell.ir.graph.core import Value
from stepwell.ir.graph.sizes import check_constraint, solve_sizes
from stepwell.ir.loop.core import GIVEN, Buffer, Program
from stepwell.ir.size import substitute

Array = np.ndarray[Any, np.dtype[Any]]


def bind_sizes(
    program: Program, arrays: Mapping[str, Array], sizes: Mapping[str, int]
) -> dict[str, int]:
    """The value of each size of the program; `sizes` gives those that no shape determines.

    Raises InputError where an array is missing or unknown, its dtype or shape does not fit, a size
    stays unknown, or a constraint does not hold.
    """
    buffers = [item.buffer for item in program.buffers if item.role in GIVEN]
    _check_names(buffers, arrays)
    shapes = {name: array.shape for name, array in arrays.items()}
    values = [_value(buffer, sizes) for buffer in buffers]
    unknown = [size for size in program.sizes if size not in sizes]
    bound = {**sizes, **solve_sizes(unknown, values, (), shapes)}
    for constraint in program.constraints:
        check_constraint(constraint, bound)
    return {size: bound[size] for size in program.sizes}


def _value(buffer: Buffer, sizes: Mapping[str, int]) -> Value:
    shape = tuple(substitute(dim, sizes) for dim in buffer.shape)
    return Value(buffer.name, buffer.type.with_shape(shape))


def _check_names(buffers: list[Buffer], arrays: Mapping[str, Array]) -> None:
    unknown = sorted(arrays.keys() - {buffer.name for buffer in buffers})
    if unknown:
        raise InputError(f"there is no input or parameter `{unknown[0]}`")
    for buffer in buffers:
        if buffer.name not in arrays:
            raise InputError(f"`{buffer.name}: {buffer.type}` is missing")
        given = arrays[buffer.name].dtype
        if given != buffer.dtype.numpy:
            raise InputError(f"`{buffer.name}` is {buffer.type}, given {given}")
