"""What a program's sizes are, from the arrays that it is given; and whether they are allowed.

x: f32[N, 2*H] given as float32[8, 6]   →   {"N": 8, "H": 3}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stepwell.ir.diagnostics import InputError
from stepwell.ir.graph.core import Constraint
from stepwell.ir.loop.core import Buffer, Program
from stepwell.ir.size import Dim, evaluate, solve, substitute

Array = np.ndarray[Any, np.dtype[Any]]


def bind_sizes(
    program: Program, arrays: Mapping[str, Array], sizes: Mapping[str, int]
) -> dict[str, int]:
    """The value of each size of the program; `sizes` gives those that no shape determines.

    Raises InputError where an array is missing or unknown, its dtype or rank is wrong, shapes
    disagree, or a size stays unknown.
    """
    buffers = [item.buffer for item in program.buffers if item.role in ("input", "parameter")]
    _check_names(buffers, arrays)
    equations = [
        (dim, extent, buffer.name)
        for buffer in buffers
        for dim, extent in zip(buffer.shape, arrays[buffer.name].shape, strict=True)
    ]
    values = dict(sizes)
    while solved := _solve_one(equations, values):
        values |= solved
    for dim, extent, name in equations:
        wanted = substitute(dim, values)
        if isinstance(wanted, int) and wanted != extent:
            shown = f"{dim} = {wanted}" if str(dim) != str(wanted) else str(dim)
            raise InputError(f"`{name}`: an axis of size {shown} is given with size {extent}")
    for size in program.sizes:
        if size not in values:
            raise InputError(f"the size `{size}` does not follow from the inputs' shapes: give it")
    return {size: values[size] for size in program.sizes}


def _check_names(buffers: list[Buffer], arrays: Mapping[str, Array]) -> None:
    unknown = sorted(arrays.keys() - {buffer.name for buffer in buffers})
    if unknown:
        raise InputError(f"there is no input or parameter `{unknown[0]}`")
    for buffer in buffers:
        if buffer.name not in arrays:
            raise InputError(f"`{buffer.name}: {buffer.type}` is missing")
        array = arrays[buffer.name]
        if array.dtype != buffer.dtype.numpy or array.ndim != len(buffer.shape):
            given = f"{array.dtype}{list(array.shape)}"
            raise InputError(f"`{buffer.name}` is {buffer.type}, given {given}")


def _solve_one(
    equations: list[tuple[Dim, int, str]], values: Mapping[str, int]
) -> dict[str, int] | None:
    """The first size that an equation gives, or None."""
    for dim, extent, _ in equations:
        found = solve(substitute(dim, values), extent)
        if found is not None and isinstance(found[1], int) and found[0] not in values:
            return {found[0]: found[1]}
    return None


def check_constraints(constraints: tuple[Constraint, ...], sizes: Mapping[str, int]) -> None:
    """Raises InputError, with its message, for the first constraint that does not hold."""
    for constraint in constraints:
        left, right = evaluate(constraint.left, sizes), evaluate(constraint.right, sizes)
        if not holds(left, constraint.relation, right):
            raise InputError(constraint.message)


def holds(left: int, relation: str, right: int) -> bool:
    """Whether `left relation right`; % means that right divides left."""
    match relation:
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<=":
            return left <= right
        case "<":
            return left < right
        case "%":
            return right != 0 and left % right == 0
    raise ValueError(f"unknown relation {relation}")
