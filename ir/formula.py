"""Evaluating a formula in NumPy, over a whole grid of indices at once.

In: a formula, an array per operand, a number per size. Out: an array over the formula's axes.

    [i: N] -> sum[k: K where k <= i] x[k]      x = [1, 2, 3]  ->  [1, 3, 6]

Each axis is a dimension of the grid; a reduction adds dimensions behind and reduces them. What a
guard excludes is not read: a subscript out of range is an IndexError only where it counts. Large
grids are done in pieces along the first axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stepwell.ir import numerics
from stepwell.ir.dtypes import I64
from stepwell.ir.numerics import Array
from stepwell.ir.philox import philox
from stepwell.ir.scalar import (
    Binary,
    Cast,
    Const,
    Expr,
    Formula,
    Load,
    Philox,
    Reduce,
    Select,
    Unary,
    Var,
    children,
    from_dim,
    identity,
)
from stepwell.ir.size import Dim, evaluate

LIMIT = 1 << 21  # elements of a grid at once


def evaluate_formula(
    formula: Formula, arrays: Mapping[str, Array], sizes: Mapping[str, int]
) -> Array:
    """The formula's value. Raises IndexError where a subscript leaves its array."""
    extents = tuple(evaluate(axis.extent, sizes) for axis in formula.axes)
    names = tuple(axis.name for axis in formula.axes)
    dtype = formula.value.dtype.numpy
    if 0 in extents:
        return np.zeros(extents, dtype)
    inner = _inner_size(formula.value, {**sizes, **dict.fromkeys(names, 0)})
    ranges = [(0, extent) for extent in extents]
    result = np.empty(extents, dtype)
    for piece in _pieces(ranges, inner):
        grid = _Grid(arrays, dict(sizes), {}, np.asarray(True), len(extents))
        for axis, (name, (start, stop)) in enumerate(zip(names, piece, strict=True)):
            grid.indices[name] = _along(start, stop, axis, len(extents))
        place = tuple(slice(start, stop) for start, stop in piece)
        result[place] = grid.value(formula.value)
    return result


def _inner_size(expr: Expr, sizes: Mapping[str, int]) -> int:
    """The largest product of extents of nested reductions."""
    own = 1
    inside = dict(sizes)
    if isinstance(expr, Reduce):
        for axis in expr.axes:
            own *= max(1, evaluate(axis.extent, inside))
            inside[axis.name] = 0
    return own * max((_inner_size(child, inside) for child in children(expr)), default=1)


Range = tuple[int, int]


def _pieces(ranges: list[Range], inner: int) -> list[list[Range]]:
    """The grid cut along its first axes until a piece times `inner` is within the limit."""
    total = inner
    for start, stop in ranges:
        total *= stop - start
    if total <= LIMIT:
        return [ranges]
    for axis, (start, stop) in enumerate(ranges):
        if stop - start > 1:
            count = min(stop - start, -(-total // LIMIT))
            step = -(-(stop - start) // count)
            found = []
            for low in range(start, stop, step):
                cut = [*ranges[:axis], (low, min(low + step, stop)), *ranges[axis + 1 :]]
                found += _pieces(cut, inner)
            return found
    return [ranges]


def _along(start: int, stop: int, axis: int, rank: int) -> Array:
    return np.arange(start, stop).reshape([-1 if i == axis else 1 for i in range(rank)])


@dataclass
class _Grid:
    """Where an expression is evaluated: its indices as arrays of `rank` dimensions that broadcast,
    and `active`, which positions count."""

    arrays: Mapping[str, Array]
    sizes: Mapping[str, int]
    indices: dict[str, Array]
    active: Array
    rank: int

    def value(self, expr: Expr) -> Array:
        match expr:
            case Const(value=value, dtype=dtype):
                return np.asarray(value, dtype.numpy)
            case Var(name=name):
                found = self.indices.get(name)
                return np.asarray(self.sizes[name], I64.numpy) if found is None else found
            case Load():
                return self._load(expr)
            case Unary(op=op, x=x):
                return numerics.unary(op, self.value(x))
            case Binary(op=op, x=x, y=y):
                return numerics.binary(op, self.value(x), self.value(y))
            case Select(condition=condition, x=x, y=y):
                return np.where(self.value(condition), self.value(x), self.value(y))
            case Cast(x=x, dtype=dtype):
                return numerics.cast(self.value(x), dtype)
            case Philox(low=low, high=high, key=key, word=word):
                return philox(self.value(low), self.value(high), self.value(key), word)
            case Reduce():
                return self._reduce(expr)
        raise TypeError(f"a formula does not hold {type(expr).__name__}")

    def _load(self, load: Load) -> Array:
        array, active = self.arrays[load.buffer], self.active
        grid = self
        if load.guard is not None:
            active = active & self.value(load.guard)
            grid = _Grid(self.arrays, self.sizes, self.indices, active, self.rank)
        subscripts = [grid.value(index) for index in load.indices]
        inside = []
        for axis, (subscript, size) in enumerate(zip(subscripts, array.shape, strict=True)):
            good = (subscript >= 0) & (subscript < size)
            if not np.all(good):
                if np.any(active & ~good):
                    raise IndexError(
                        f"a subscript of axis {axis} of `{load.buffer}` is outside its size {size}"
                    )
                subscript = np.where(good, subscript, 0)
            inside.append(subscript)
        if array.size == 0:
            shape = np.broadcast_shapes(active.shape, *(s.shape for s in inside))
            return np.zeros(shape, array.dtype)
        read = array[tuple(inside)]
        if load.guard is None:
            return np.asarray(read)
        return np.where(active, read, array.dtype.type(0))

    def _reduce(self, reduce: Reduce) -> Array:
        inner = self._inside(len(reduce.axes))
        extents = []
        for position, axis in enumerate(reduce.axes):
            extent = self._extent(axis.extent)
            extents.append(extent)
            inner.indices[axis.name] = _along(0, extent, self.rank + position, inner.rank)
        if 0 in extents:
            nothing = np.zeros((1,) * self.rank + tuple(extents), reduce.body.dtype.numpy)
            return numerics.reduce(reduce.kind, nothing, tuple(range(self.rank, inner.rank)))
        guard = None
        if reduce.guard is not None:
            guard = inner.value(reduce.guard)
            inner.active = inner.active & guard
        body = inner.value(reduce.body)
        dims = tuple(range(self.rank, inner.rank))
        thin = (1,) * self.rank + tuple(extents)
        shape = np.broadcast_shapes(body.shape, thin, () if guard is None else guard.shape)
        if guard is not None:
            start = "max" if reduce.kind == "argmax" else "min"
            kind = start if reduce.kind.startswith("arg") else reduce.kind
            nothing = np.asarray(identity(kind, reduce.body.dtype).value, body.dtype)
            body = np.where(guard, body, nothing)
        return numerics.reduce(reduce.kind, np.broadcast_to(body, shape), dims)

    def _inside(self, more: int) -> _Grid:
        """The grid with dimensions added behind."""
        ones = (1,) * more
        indices = {name: a.reshape(a.shape + ones) for name, a in self.indices.items()}
        full = self.active.reshape((1,) * (self.rank - self.active.ndim) + self.active.shape + ones)
        return _Grid(self.arrays, self.sizes, indices, full, self.rank + more)

    def _extent(self, dim: Dim) -> int:
        if isinstance(dim, int):
            return dim
        value = self.value(from_dim(dim))
        if value.size != 1:
            raise ValueError(f"the extent {dim} is not one number")
        return int(value.reshape(()))
