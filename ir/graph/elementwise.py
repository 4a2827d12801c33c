"""Element-wise operators: unary, binary, `select` and `cast`.

    %y = exp(%x) : f32[N]               [i: N] -> exp(x[i])
    %z = add(%x, %y) : f32[N]           [i: N] -> x[i] + y[i]

Shapes must be equal: broadcasting is an op of its own. Comparisons give bool. 16-bit floats are
computed in f32 and rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from stepwell.ir import numerics, scalar
from stepwell.ir.dtypes import ALL, BOOL, F32, DType
from stepwell.ir.graph.body import axes, load, result, variables
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import (
    Array,
    AttributeDef,
    Attributes,
    Example,
    NotDifferentiable,
    Op,
    OpDef,
    Value,
)
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import same_dtype, same_shape, takes
from stepwell.ir.scalar import Binary, Cast, Formula, Load, Select, Unary, Var
from stepwell.ir.size import symbol
from stepwell.ir.text import format_expr
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Gradient = Callable[[GraphBuilder, Op, Sequence[Value]], Sequence[Value | None]]
SHAPES = ((), (1,), (0, 3), (17,), (2, 31))


def full(b: GraphBuilder, value: float, like: TensorType) -> Value:
    """A constant of a type."""
    return b.op("constant", value=value, dtype=like.dtype, shape=like.shape)


def _examples(count: int, allowed: Callable[[DType], bool]) -> Callable[[DType], list[Example]]:
    def examples(dtype: DType) -> list[Example]:
        if not allowed(dtype):
            return []
        shapes = [*SHAPES, (symbol("N"), 5)]
        return [Example((TensorType(dtype, shape),) * count) for shape in shapes]

    return examples


# Unary


def _unary_takes(op: str) -> tuple[Callable[[DType], bool], str]:
    if op in scalar.FLOAT_UNARY or op in scalar.PREDICATES:
        return lambda dtype: dtype.is_float, "floats"
    if op == "not":
        return lambda dtype: not dtype.is_float, "bools and integers"
    return lambda dtype: not dtype.is_bool, "numbers"


def _scaled(b: GraphBuilder, dy: Value, x: Value, factor: float) -> Value:
    return b.op("mul", [dy, b.op("mul", [x, full(b, factor, x.type)])])


_LOG2_E = 1 / math.log(2)

# name → the cotangent of x, from the builder, x, the result y, and y's cotangent
_UNARY_GRADIENTS: dict[str, Callable[[GraphBuilder, Value, Value, Value], Value | None]] = {
    "neg": lambda b, x, y, dy: b.op("neg", [dy]),
    "abs": lambda b, x, y, dy: b.op("mul", [dy, b.op("sign", [x])]),
    "exp": lambda b, x, y, dy: b.op("mul", [dy, y]),
    "exp2": lambda b, x, y, dy: _scaled(b, dy, y, math.log(2)),
    "expm1": lambda b, x, y, dy: b.op("mul", [dy, b.op("add", [y, full(b, 1, x.type)])]),
    "log": lambda b, x, y, dy: b.op("div", [dy, x]),
    "log2": lambda b, x, y, dy: b.op("div", [_scaled(b, dy, full(b, 1, x.type), _LOG2_E), x]),
    "log1p": lambda b, x, y, dy: b.op("div", [dy, b.op("add", [x, full(b, 1, x.type)])]),
    "sqrt": lambda b, x, y, dy: b.op("div", [b.op("mul", [dy, full(b, 0.5, x.type)]), y]),
    "rsqrt": lambda b, x, y, dy: b.op("div", [_scaled(b, dy, y, -0.5), x]),
    "sin": lambda b, x, y, dy: b.op("mul", [dy, b.op("cos", [x])]),
    "cos": lambda b, x, y, dy: b.op("neg", [b.op("mul", [dy, b.op("sin", [x])])]),
    "tanh": lambda b, x, y, dy: b.op(
        "mul", [dy, b.op("sub", [full(b, 1, x.type), b.op("mul", [y, y])])]
    ),
    "sigmoid": lambda b, x, y, dy: b.op(
        "mul", [dy, b.op("mul", [y, b.op("sub", [full(b, 1, x.type), y])])]
    ),
    "erf": lambda b, x, y, dy: _scaled(
        b, dy, b.op("exp", [b.op("neg", [b.op("mul", [x, x])])]), 2 / math.sqrt(math.pi)
    ),
}
_FLAT = ("sign", "floor", "ceil", "round", "trunc")  # zero wherever they have a derivative


def _unary(name: str) -> OpDef:
    allowed, what = _unary_takes(name)

    def infer(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
        takes(types[0], allowed(types[0].dtype), what)
        dtype = BOOL if name in scalar.PREDICATES else types[0].dtype
        return (types[0].with_dtype(dtype),)

    def reference(
        arrays: Sequence[Array], attributes: Attributes, results: Types
    ) -> tuple[Array, ...]:
        return (numerics.unary(name, arrays[0]),)

    def body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
        index = axes(types[0].shape)
        x = load("x", variables(index), types[0].dtype)
        return result(index, Unary(name, x), results[0].dtype)

    def gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> Sequence[Value | None]:
        if name in _FLAT:
            return [None]
        return [_UNARY_GRADIENTS[name](b, op.operands[0], op.result, cotangents[0])]

    differentiable = name in _UNARY_GRADIENTS or name in _FLAT
    return OpDef(
        name,
        f"y = {format_expr(Unary(name, Var('x', F32)))}",
        ("x",),
        (),
        infer,
        reference,
        gradient if differentiable else NotDifferentiable(f"{name} gives no float"),
        body,
        _examples(1, allowed),
    )


# Binary


def _binary_takes(op: str) -> tuple[Callable[[DType], bool], str]:
    if op == "div":
        return lambda dtype: dtype.is_float, "floats"
    if op in scalar.LOGIC:
        return lambda dtype: not dtype.is_float, "bools and integers"
    if op in scalar.COMPARISONS:
        return lambda dtype: True, "everything"
    return lambda dtype: not dtype.is_bool, "numbers"


def _chosen(b: GraphBuilder, compare: str, op: Op, dy: Value) -> tuple[Value, Value]:
    """dy to x where the comparison holds, to y elsewhere."""
    x, y = op.operands
    condition, zero = b.op(compare, [x, y]), full(b, 0, dy.type)
    return b.op("select", [condition, dy, zero]), b.op("select", [condition, zero, dy])


def _div_gradient(b: GraphBuilder, op: Op, dy: Value) -> tuple[Value, Value]:
    dx = b.op("div", [dy, op.operands[1]])
    return dx, b.op("neg", [b.op("mul", [dx, op.result])])


def _pow_gradient(b: GraphBuilder, op: Op, dy: Value) -> tuple[Value, Value]:
    x, y = op.operands
    zero, one = full(b, 0, x.type), full(b, 1, x.type)
    below = b.op("pow", [x, b.op("sub", [y, one])])
    positive = b.op("gt", [x, zero])
    log = b.op("log", [b.op("select", [positive, x, one])])
    dx = b.op("mul", [dy, b.op("mul", [y, below])])
    return dx, b.op("mul", [dy, b.op("mul", [op.result, log])])


def _mod_gradient(b: GraphBuilder, op: Op, dy: Value) -> tuple[Value, Value]:
    quotient = b.op("floor", [b.op("div", list(op.operands))])
    return dy, b.op("neg", [b.op("mul", [dy, quotient])])


_BINARY_GRADIENTS: dict[str, Callable[[GraphBuilder, Op, Value], Sequence[Value | None]]] = {
    "add": lambda b, op, dy: (dy, dy),
    "sub": lambda b, op, dy: (dy, b.op("neg", [dy])),
    "mul": lambda b, op, dy: (
        b.op("mul", [dy, op.operands[1]]),
        b.op("mul", [dy, op.operands[0]]),
    ),
    "div": _div_gradient,
    "pow": _pow_gradient,
    "mod": _mod_gradient,
    "floordiv": lambda b, op, dy: (None, None),
    "max": lambda b, op, dy: _chosen(b, "ge", op, dy),
    "min": lambda b, op, dy: _chosen(b, "le", op, dy),
}


def _binary(name: str) -> OpDef:
    allowed, what = _binary_takes(name)

    def infer(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
        for position, type in enumerate(types):
            takes(type, allowed(type.dtype), what, position)
        dtype = same_dtype(types)
        return (TensorType(BOOL if name in scalar.COMPARISONS else dtype, same_shape(types)),)

    def reference(
        arrays: Sequence[Array], attributes: Attributes, results: Types
    ) -> tuple[Array, ...]:
        return (numerics.binary(name, arrays[0], arrays[1]),)

    def body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
        index = axes(types[0].shape)
        x, y = (load(n, variables(index), types[0].dtype) for n in ("x", "y"))
        return result(index, Binary(name, x, y), results[0].dtype)

    def gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> Sequence[Value | None]:
        return _BINARY_GRADIENTS[name](b, op, cotangents[0])

    return OpDef(
        name,
        f"z = {format_expr(Binary(name, Var('x', F32), Var('y', F32)))}",
        ("x", "y"),
        (),
        infer,
        reference,
        gradient if name in _BINARY_GRADIENTS else NotDifferentiable(f"{name} gives no float"),
        body,
        _examples(2, allowed),
    )


# Select and cast


def _infer_select(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    takes(types[0], types[0].dtype.is_bool, "a bool as its condition")
    dtype = same_dtype(types[1:])
    return (TensorType(dtype, same_shape(types)),)


def _select(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    return (np.where(*arrays),)


def _select_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    condition, dy = op.operands[0], cotangents[0]
    zero = full(b, 0, dy.type)
    chosen = b.op("select", [condition, dy, zero]), b.op("select", [condition, zero, dy])
    return [None, *chosen]


def _select_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    index = axes(types[1].shape)
    at, dtype = variables(index), types[1].dtype
    condition = Load("condition", at, BOOL)
    return result(index, Select(condition, Load("x", at, dtype), Load("y", at, dtype)), dtype)


def _select_examples(dtype: DType) -> list[Example]:
    shapes = [*SHAPES, (symbol("N"), 5)]
    value = [TensorType(dtype, shape) for shape in shapes]
    return [Example((type.with_dtype(BOOL), type, type)) for type in value]


def _infer_cast(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    return (types[0].with_dtype(attributes["dtype"]),)


def _cast(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    return (numerics.cast(arrays[0], results[0].dtype),)


def _cast_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    source, target = op.operands[0].type.dtype, op.result.type.dtype
    if not (source.is_float and target.is_float):
        return [None]
    return [b.op("cast", cotangents, dtype=source)]


def _cast_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    index, target = axes(types[0].shape), results[0].dtype
    value = load("x", variables(index), types[0].dtype)
    if value.dtype is not target and target.compute is not target:
        value = value if value.dtype is F32 else Cast(value, F32)
    return result(index, value, target)


def _cast_examples(dtype: DType) -> list[Example]:
    found = [Example((TensorType(dtype, (19,)),), {"dtype": target}) for target in ALL]
    return [*found, Example((TensorType(dtype, (symbol("N"), 3)),), {"dtype": F32})]


UNARY = tuple(register(_unary(name)) for name in scalar.UNARY)
BINARY = tuple(register(_binary(name)) for name in scalar.BINARY)
SELECT = register(
    OpDef(
        "select",
        "z = x where condition, else y",
        ("condition", "x", "y"),
        (),
        _infer_select,
        _select,
        _select_gradient,
        _select_body,
        _select_examples,
    )
)
CAST = register(
    OpDef(
        "cast",
        "y = x in another element type; floats to integers saturate, NaN to 0",
        ("x",),
        (AttributeDef("dtype", "dtype", "the element type of the result"),),
        _infer_cast,
        _cast,
        _cast_gradient,
        _cast_body,
        _cast_examples,
    )
)
