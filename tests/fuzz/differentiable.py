"""Random index formulas to be differentiated: every kind of subscript, guard and reduction.

In: random numbers. Out: a graph of one `index` op in f64, and arrays that its subscripts fit.

    [i: 3, j: 2] -> max[k: 4 where k >= j] x0[2 * i + k, x1[j]] * sin(x2[4 - k] * x0[i, 0])

A subscript is made together with the range of its values, and an operand with as many elements as
its subscripts reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stepwell.ir.dtypes import F64, I64
from stepwell.ir.graph import Graph, GraphBuilder
from stepwell.ir.graph.core import Array
from stepwell.ir.scalar import (
    Axis,
    Binary,
    Const,
    Expr,
    Formula,
    Load,
    Reduce,
    Select,
    Unary,
    Var,
    index,
    map_children,
)
from stepwell.ir.types import TensorType

UNARY = ("sin", "cos", "tanh", "sigmoid", "erf", "neg", "abs")
KINDS = ("sum", "sum", "sum", "max", "min", "prod")


@dataclass(frozen=True)
class _Subscript:
    """An index expression, and the least and largest value it has."""

    expr: Expr
    low: int
    high: int


@dataclass
class FormulaMaker:
    """One formula being made: its operands, and how far the subscripts of each reach."""

    random: np.random.Generator
    shapes: list[list[int]] = field(default_factory=list)  # of floats
    tables: list[tuple[tuple[int, ...], int]] = field(default_factory=list)  # shape, largest
    axes: int = 0

    def graph(self) -> tuple[Graph, dict[str, Array]]:
        """The graph and its arrays."""
        axes = [self._axis() for _ in range(self._below(3))]
        value = self._value(axes, 2 + (self._below(4) == 0))
        if not self.shapes:
            value = Binary("mul", value, self._load(axes))
        b, arrays = GraphBuilder("formula"), dict[str, Array]()
        inputs = [b.input(f"x{i}", TensorType(F64, tuple(s))) for i, s in enumerate(self.shapes)]
        for i, (shape, most) in enumerate(self.tables):
            inputs.append(b.input(f"t{i}", TensorType(I64, shape)))
            arrays[f"t{i}"] = self.random.integers(0, most + 1, shape)
        for value_ in inputs[: len(self.shapes)]:
            shape = tuple(int(str(dim)) for dim in value_.type.shape)
            arrays[value_.name] = np.asarray(self.random.normal(size=shape))
        names = {v.name: f"x{i}" for i, v in enumerate(inputs)}
        formula = Formula(tuple(axes), _renamed(value, names))
        return b.finish([("y", b.op("index", inputs, formula=formula))]), arrays

    def _below(self, count: int) -> int:
        return int(self.random.integers(0, count))

    def _axis(self) -> Axis:
        self.axes += 1
        return Axis(f"a{self.axes}", 1 + self._below(5))

    # Values

    def _value(self, axes: list[Axis], depth: int) -> Expr:
        makers: list[Callable[[], Expr]] = [
            lambda: self._load(axes),
            lambda: Unary(UNARY[self._below(len(UNARY))], self._value(axes, depth - 1)),
            lambda: self._binary(axes, depth),
            lambda: self._binary(axes, depth),
            lambda: self._reduce(axes, depth),
            lambda: self._reduce(axes, depth),
            lambda: Select(self._condition(axes), *(self._value(axes, depth - 1) for _ in "xy")),
        ]
        return makers[self._below(len(makers)) if depth else 0]()

    def _binary(self, axes: list[Axis], depth: int) -> Expr:
        x, y = (self._value(axes, depth - 1) for _ in "xy")
        op = ("add", "sub", "mul", "mul", "max", "min", "div", "pow")[self._below(8)]
        if op == "div":
            y = Binary("add", Const(1.5, F64), Unary("sigmoid", y))
        if op == "pow":
            x = Binary("add", Const(0.5, F64), Unary("sigmoid", x))
            y = Const(float(self._below(4)), F64) if self._below(2) else Unary("sin", y)
        return Binary(op, x, y)

    def _reduce(self, axes: list[Axis], depth: int) -> Expr:
        inner = [self._axis() for _ in range(1 + self._below(2))]
        guard = self._condition([*axes, *inner]) if self._below(3) == 0 else None
        body = self._value([*axes, *inner], depth - 1)
        kind = KINDS[self._below(len(KINDS))]
        if kind in ("max", "min") and guard is not None:  # so that it is not over nothing
            guard = Binary("or", guard, Binary("eq", Var(inner[0].name), index(0)))
        return Reduce(kind, tuple(inner), body, guard)

    def _condition(self, axes: list[Axis]) -> Expr:
        left, right = self._subscript(axes), self._subscript(axes)
        return Binary(("le", "lt", "ge", "eq", "ne")[self._below(5)], left.expr, right.expr)

    # Loads

    def _load(self, axes: list[Axis]) -> Expr:
        subscripts = [self._subscript(axes) for _ in range(self._below(3))]
        guard: Expr | None = None
        if subscripts and self._below(4) == 0:  # one that may leave the array, guarded
            first = subscripts[0]
            moved = Binary("sub", first.expr, index(1 + self._below(2)))
            guard = Binary("ge", moved, index(0))
            subscripts[0] = _Subscript(moved, 0, max(first.high, 0))
        same = [i for i, s in enumerate(self.shapes) if len(s) == len(subscripts)]
        if not same or self._below(2):
            self.shapes.append([1] * len(subscripts))
            same = [len(self.shapes) - 1]
        number = same[self._below(len(same))]
        shape = self.shapes[number]
        for axis, subscript in enumerate(subscripts):
            shape[axis] = max(shape[axis], subscript.high + 1)
        return Load(f"x{number}", tuple(s.expr for s in subscripts), F64, guard)

    def _subscript(self, axes: list[Axis]) -> _Subscript:
        """One whose values are never below 0."""
        found = self._affine(axes)
        match self._below(7):
            case 0:
                found = _Subscript(Binary("floordiv", found.expr, index(2)), 0, found.high // 2)
            case 1:
                found = _Subscript(Binary("mod", found.expr, index(3)), 0, min(found.high, 2))
            case 2:
                found = self._looked_up(found)
            case 3:
                turned = Binary("sub", index(found.high), found.expr)
                found = _Subscript(turned, 0, found.high - found.low)
        return found

    def _affine(self, axes: list[Axis]) -> _Subscript:
        if not axes or self._below(8) == 0:
            number = self._below(3)
            return _Subscript(index(number), number, number)
        parts = [self._scaled(axes) for _ in range(1 + self._below(2))]
        total = parts[0]
        for part in parts[1:]:
            op = "mul" if self._below(6) == 0 else "add"
            high = total.high * part.high if op == "mul" else total.high + part.high
            total = _Subscript(Binary(op, total.expr, part.expr), 0, high)
        return total

    def _scaled(self, axes: list[Axis]) -> _Subscript:
        axis = axes[self._below(len(axes))]
        assert isinstance(axis.extent, int), "made so"
        factor, offset = (1, 1, 1, 2, 3)[self._below(5)], (0, 0, 0, 1)[self._below(4)]
        expr: Expr = Var(axis.name)
        expr = expr if factor == 1 else Binary("mul", index(factor), expr)
        expr = Binary("add", expr, index(offset)) if offset else expr
        return _Subscript(expr, offset, factor * (axis.extent - 1) + offset)

    def _looked_up(self, at: _Subscript) -> _Subscript:
        """An element of a table of subscripts."""
        most = self._below(4)
        self.tables.append(((at.high + 1,), most))
        return _Subscript(Load(f"t{len(self.tables) - 1}", (at.expr,), I64), 0, most)


def _renamed(expr: Expr, names: dict[str, str]) -> Expr:
    inner = map_children(expr, lambda child: _renamed(child, names))
    if isinstance(inner, Load):
        return Load(names[inner.buffer], inner.indices, inner.dtype, inner.guard)
    return inner
