"""Writing bodies: axes with fresh names, and loads and results of 16-bit floats by way of f32.

    index = axes(shape, types)            [Axis("i", N), Axis("j", 784)]
    load("x", index, F16)                 f32(x[i, j])
    result(index, value, F16)             [i: N, j: 784] -> f16(value)

A name of an axis never is the name of a size in sight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stepwell.ir.dtypes import DType
from stepwell.ir.scalar import (
    Axis,
    Binary,
    Cast,
    Expr,
    Formula,
    Load,
    Reduce,
    Var,
    from_dim,
    index,
    map_children,
    simplify_index,
)
from stepwell.ir.size import Dim, Size, product, symbols
from stepwell.ir.types import TensorType


class Names:
    """Fresh names for axes: none is a size's in `shapes`."""

    def __init__(self, *shapes: Sequence[Dim]) -> None:
        self.taken = {name for shape in shapes for dim in shape for name in symbols(dim)}

    def fresh(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name

    def axes(self, shape: Sequence[Dim], letters: str = "ijklmn") -> tuple[Axis, ...]:
        """One axis per dim: `i`, `j`, …, then `i6`, …"""
        wanted = (c if n < len(letters) else f"i{n}" for n, c in enumerate(_endless(letters)))
        return tuple(Axis(self.fresh(name), dim) for name, dim in zip(wanted, shape, strict=False))


def _endless(letters: str) -> Iterator[str]:
    while True:
        yield from letters


def axes(shape: Sequence[Dim], types: Sequence[TensorType] = ()) -> tuple[Axis, ...]:
    """Axes over a shape."""
    return Names(shape, *(type.shape for type in types)).axes(shape)


def variables(items: Sequence[Axis]) -> tuple[Var, ...]:
    """The indices along axes."""
    return tuple(Var(axis.name) for axis in items)


def load(
    name: str, indices: Sequence[Expr], dtype: DType, guard: Expr | None = None
) -> Load | Cast:
    """An element, in the dtype in which arithmetic is done."""
    element = Load(name, tuple(simplify_index(i) for i in indices), dtype, guard)
    return element if dtype.compute is dtype else Cast(element, dtype.compute)


def narrow(value: Expr, dtype: DType) -> Expr:
    """A computed value as it is stored."""
    return value if value.dtype is dtype else Cast(value, dtype)


def result(items: Sequence[Axis], value: Expr, dtype: DType) -> tuple[Formula, ...]:
    """The body with one formula."""
    return (Formula(tuple(items), narrow(value, dtype)),)


def as_expr(value: Expr | Dim) -> Expr:
    """A dim as an expression."""
    return from_dim(value) if isinstance(value, (int, Size)) else value


def arithmetic(op: str, x: Expr | Dim, y: Expr | Dim) -> Expr:
    """Index arithmetic on expressions and dims, in normal form."""
    return simplify_index(Binary(op, as_expr(x), as_expr(y)))


def plus(*terms: Expr | Dim) -> Expr:
    """A sum of index expressions, in normal form."""
    total: Expr | Dim = 0
    for term in terms:
        total = arithmetic("add", total, term)
    return as_expr(total)


def both(*conditions: Expr | None) -> Expr | None:
    """All of the conditions; None where there is none."""
    total: Expr | None = None
    for condition in conditions:
        if condition is not None:
            total = condition if total is None else Binary("and", total, condition)
    return total


def nested(*conditions: Expr | None) -> Expr | None:
    """All of the conditions, each asked for only where those before it hold."""
    total: Expr | None = None
    for condition in conditions:
        if condition is not None:
            total = both(total, guarded(condition, total))
    return total


def guarded(expr: Expr, guard: Expr | None) -> Expr:
    """The expression, which reads nothing where the guard does not hold."""
    if guard is None:
        return expr
    if isinstance(expr, Reduce):
        return replace(expr, guard=nested(guard, expr.guard))
    inner = map_children(expr, lambda child: guarded(child, guard))
    return replace(inner, guard=both(guard, inner.guard)) if isinstance(inner, Load) else inner


def inside(position: Expr, extent: Dim) -> Expr:
    """0 <= position < extent."""
    return Binary("and", Binary("ge", position, index(0)), Binary("lt", position, as_expr(extent)))


def flat(positions: Sequence[Expr], shape: Sequence[Dim]) -> Expr:
    """The row-major number of a position."""
    total: Expr = index(0)
    for position, dim in zip(positions, shape, strict=True):
        total = plus(arithmetic("mul", total, dim), position)
    return total


def strides(shape: Sequence[Dim]) -> list[Dim]:
    """Elements per step along each axis, row-major."""
    return [product(list(shape[i + 1 :])) for i in range(len(shape))]
