"""Padding: guards that say no more than that subscripts are on their axes; and copies with zeros.

x[i + p - 1 | i + p - 1 >= 0 and i + p - 1 < 8]   of f32[8]:  x with zeros around it
x[i + p - 1 | i + p - 1 >= 0 and i + p - 1 < 5]   of f32[8]:  not that
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.ir.loop.core import Kernel
from stepwell.ir.scalar import Binary, Expr, Load, as_dim
from stepwell.ir.size import Dim
from stepwell.lowering.transforms.navigate import as_kind
from stepwell.lowering.transforms.split import split
from stepwell.lowering.transforms.stage import stage


def is_padded(load: Load, shape: Sequence[Dim]) -> bool:
    """Whether the load reads its buffer, of this shape, with zeros around it."""
    bounds: set[tuple[str, Dim]] = set()
    for subscript, extent in zip(load.indices, shape, strict=True):
        at = as_dim(subscript)
        if at is not None:
            bounds |= {("ge", at), ("lt", at - extent)}
    return load.guard is None or all(_bound(e) in bounds for e in conjuncts(load.guard))


def conjuncts(guard: Expr) -> list[Expr]:
    """What the guard is the conjunction of."""
    if isinstance(guard, Binary) and guard.op == "and":
        return [*conjuncts(guard.x), *conjuncts(guard.y)]
    return [guard]


def with_padding(kernel: Kernel, load: Load, before: str, lanes: int) -> Kernel:
    """What a load reads copied to scratch with its padding around it, in vectors."""
    kernel, copy = stage(kernel, load, "padded", before)
    parts = split(kernel, copy, lanes, "peel")
    kernel = as_kind(parts.kernel, parts.inner, "vector")
    return as_kind(kernel, parts.rest, "vector") if parts.rest else kernel


def _bound(expr: Expr) -> tuple[str, Dim] | None:
    """(op, gap) where the expression is `gap op 0`."""
    if not isinstance(expr, Binary):
        return None
    left, right = as_dim(expr.x), as_dim(expr.y)
    return None if left is None or right is None else (expr.op, left - right)
