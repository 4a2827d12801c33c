"""The functions that rules name: conditions on what was matched, and new attributes.

power_of_two(8.0) → True           compose((1, 2, 0), (0, 2, 1)) → (1, 0, 2)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Value
from stepwell.ir.size import Dim

Dims = tuple[Dim, ...]
Ints = tuple[int, ...]


def power_of_two(c: float) -> bool:
    """A power of two whose reciprocal every float type holds as a normal number."""
    mantissa, exponent = math.frexp(abs(c))
    return mantissa == 0.5 and abs(exponent - 1) <= 14


def usual(c: float) -> bool:
    """Neither zero nor subnormal, infinite or NaN, and its reciprocal likewise, in any type."""
    return math.isfinite(c) and 2.0**-14 <= abs(c) <= 2.0**14


def holds_all(dtype: DType, value: Value) -> bool:
    """Whether the type holds every value of the other's exactly."""
    source = value.type.dtype
    if source == dtype or source.is_bool:
        return not dtype.is_bool or source.is_bool
    if dtype.is_bool:
        return False
    if source.is_float:
        wider = dtype.is_float and dtype.bits > source.bits
        return wider
    if dtype.is_float:
        exact = {"f64": 53, "f32": 24, "f16": 11, "bf16": 8}[dtype.name]
        return source.bits - source.signed <= exact
    return dtype.bits > source.bits and (dtype.signed or not source.signed)


def only_adds_ones(value: Value, shape: Dims) -> bool:
    """Whether the shape is the value's with axes of size 1 put in."""
    return [d for d in shape if d != 1] == [d for d in value.type.shape if d != 1] and (
        1 not in value.type.shape
    )


def without_ones(value: Value, shape: Dims, axes: Ints) -> Ints:
    """Of axes for the shape, those for the axes that the value has."""
    return tuple(axis for axis, dim in zip(axes, shape, strict=True) if dim != 1)


def compose(outer: Ints, inner: Ints) -> Ints:
    """outer after inner: i ↦ outer[inner[i]]."""
    return tuple(outer[i] for i in inner)


def sums(left: Dims, right: Dims) -> Dims:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def is_whole(value: Value, start: Dims, stop: Dims, step: Ints) -> bool:
    """Whether a slice keeps everything."""
    return all(a == 0 for a in start) and stop == value.type.shape and all_one(step)


def all_one(values: Ints) -> bool:
    return all(value == 1 for value in values)


def untranspose(spec: str, operand: int, permutation: Ints) -> str:
    """The specification of a contraction of x, from the one of its transpose."""
    inputs, output = spec.split("->")
    terms = inputs.split(",")
    letters = [""] * len(permutation)
    for i, axis in enumerate(permutation):
        letters[axis] = terms[operand][i]
    terms[operand] = "".join(letters)
    return f"{','.join(terms)}->{output}"


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "power_of_two": power_of_two,
    "usual": usual,
    "reciprocal": lambda c: 1.0 / c,
    "plus": lambda c, d: c + d,
    "times": lambda c, d: c * d,
    "is_dtype": lambda value, dtype: value.type.dtype == dtype,
    "holds_all": holds_all,
    "is_shape": lambda value, shape: value.type.shape == tuple(shape),
    "shape_of": lambda value: value.type.shape,
    "only_adds_ones": only_adds_ones,
    "without_ones": without_ones,
    "compose": compose,
    "is_identity": lambda permutation: tuple(permutation) == tuple(range(len(permutation))),
    "is_whole": is_whole,
    "is_empty": lambda items: not items,
    "all_one": all_one,
    "all_zero": lambda items: all(item == 0 for item in items),
    "sums": sums,
    "untranspose_left": lambda spec, permutation: untranspose(spec, 0, permutation),
    "untranspose_right": lambda spec, permutation: untranspose(spec, 1, permutation),
    "is_channel": lambda value, axes: value.type.rank == 1 and tuple(axes) == (1,),
    "first": lambda axes: (0,),
}
