"""What type rules say, in one voice: refusals that several operators share.

A rule takes operand types and attributes and returns result types. It refuses with `TypeRuleError`:
`refuse("shapes differ, [3] and [4]", 0, 1)` names the operands at fault by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import TypeRuleError
from stepwell.ir.size import Dim, provably_le
from stepwell.ir.text import format_dim
from stepwell.ir.types import TensorType

MIXED, SHAPES, RANK, INNER, ATTRIBUTE, NEGATIVE, DTYPE = (
    *("SW0211", "SW0201", "SW0202", "SW0203", "SW0204", "SW0206", "SW0213"),
)


def refuse(message: str, *operands: int, code: str = SHAPES, help: str | None = None) -> NoReturn:
    """Raise the error of a type rule."""
    raise TypeRuleError(message, operands, help, code)


def dims(shape: Sequence[Dim]) -> str:
    """`[N, 784]`."""
    return f"[{', '.join(map(format_dim, shape))}]"


def same_dtype(types: Sequence[TensorType]) -> DType:
    """The element type that all have."""
    for position, type in enumerate(types):
        if type.dtype != types[0].dtype:
            refuse(
                f"element types differ, {types[0].dtype} and {type.dtype}",
                *(0, position),
                code=MIXED,
                help=f"cast one: `cast(x, {types[0].dtype})`",
            )
    return types[0].dtype


def same_shape(types: Sequence[TensorType]) -> tuple[Dim, ...]:
    """The shape that all have."""
    for position, type in enumerate(types):
        if type.shape != types[0].shape:
            refuse(f"shapes differ, {dims(types[0].shape)} and {dims(type.shape)}", 0, position)
    return types[0].shape


def takes(type: TensorType, allowed: bool, what: str, position: int = 0) -> None:
    """Refuse an operand whose element type is not `allowed`; `what` says which are."""
    if not allowed:
        refuse(f"takes {what}, not {type.dtype}", position, code=DTYPE)


def axis_of(axis: int, rank: int, position: int = 0) -> int:
    """An axis number that exists."""
    if not 0 <= axis < rank:
        refuse(f"there is no axis {axis} in {rank} axes", position, code=RANK)
    return axis


def axes_of(axes: Sequence[int], rank: int, position: int = 0) -> tuple[int, ...]:
    """Axis numbers that exist, each once."""
    for axis in axes:
        axis_of(axis, rank, position)
    if len(set(axes)) != len(axes):
        refuse(f"an axis is named twice in {list(axes)}", position, code=RANK)
    return tuple(axes)


def per_axis(name: str, values: Sequence[object], count: int) -> None:
    """An attribute with one entry per axis."""
    if len(values) != count:
        refuse(f"`{name}` has {len(values)} entries for {count} axes", 0, code=ATTRIBUTE)


def positive(name: str, values: Sequence[int]) -> None:
    """An attribute whose entries are at least 1."""
    for value in values:
        if value < 1:
            refuse(f"`{name}` must be at least 1, not {value}", 0, code=ATTRIBUTE)


def nonnegative(name: str, values: Sequence[Dim]) -> None:
    """Sizes that are not provably negative."""
    for value in values:
        if provably_le(value, -1):
            refuse(f"{name} {format_dim(value)} is negative", 0, code=NEGATIVE)
