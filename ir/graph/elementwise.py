"""Element-wise operators: unary, binary, `select` and `cast`.

    %y = exp(%x) : f32[N]               [i: N] -> exp(x[i])
    %z = add(%x, %y) : f32[N]           [i: N] -> x[i] + y[i]

Shapes must be equal: broadcasting is an op of its own. Comparisons give bool. 16-bit floats are
computed in f32 and rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stepwell.ir import adjoint, numerics, scalar
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
from stepwell.ir.scalar import (
    Binary,
    Cast,
    Const,
    Expr,
    Formula,
    Load,
    Select,
    Unary,
    Var,
    children,
)
from stepwell.ir.size import symbol
from stepwell.ir.text import format_expr
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
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


def _emit(b: GraphBuilder, expr: Expr, named: Mapping[str, Value], like: TensorType) -> Value:
    """Ops for a scalar expression over named tensors, element by element."""
    made: dict[Expr, Value] = {}

    def value(e: Expr) -> Value:
        if e not in made:
            made[e] = one(e)
        return made[e]

    def one(e: Expr) -> Value:
        match e:
            case Var(name=name):
                return named[name]
            case Const(value=number):
                return full(b, number, like)
            case Unary(op=op) | Binary(op=op):
                return b.op(op, [value(child) for child in children(e)])
            case Select():
                return b.op("select", [value(child) for child in children(e)])
        raise TypeError(f"a slope does not hold {type(e).__name__}")

    return value(expr)


def _slopes(
    b: GraphBuilder, op: Op, dy: Value, rule: Callable[[list[Expr]], Sequence[Expr | None]]
) -> list[Value | None]:
    """A rule of `stepwell.ir.adjoint` on tensors, its arguments dy, the operands, the result."""
    values, dtype = [dy, *op.operands, op.result], dy.type.dtype
    named = {f"v{i}": value for i, value in enumerate(values)}
    found = rule([Var(name, dtype) for name in named])
    return [None if e is None else _emit(b, e, named, dy.type) for e in found]


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
        if name in adjoint.FLAT:
            return [None]
        return _slopes(b, op, cotangents[0], lambda given: [adjoint.UNARY[name](*given)])

    differentiable = name in adjoint.UNARY or name in adjoint.FLAT
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


def _is_constant(b: GraphBuilder, value: Value) -> bool:
    """Whether the value is one number everywhere."""
    while (op := b.producer(value)) is not None and op.name == "broadcast":
        (value,) = op.operands
    return op is not None and op.name == "constant"


def _clipped_gradient(b: GraphBuilder, op: Op, dy: Value) -> list[Value | None]:
    """Of max(x, c) and min(x, c), where the slope can be told from the result: x is not needed."""
    turned = _is_constant(b, op.operands[0])
    constant = op.operands[0 if turned else 1]
    compare = "gt" if op.name == "max" else "lt"
    inside = b.op(compare, [op.result, constant])
    dx = b.op("select", [inside, dy, full(b, 0, dy.type)])
    return [None, dx] if turned else [dx, None]


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
        x, y = op.operands
        if name in ("max", "min") and (_is_constant(b, x) or _is_constant(b, y)):
            return _clipped_gradient(b, op, cotangents[0])
        return _slopes(b, op, cotangents[0], lambda given: adjoint.BINARY[name](*given))

    return OpDef(
        name,
        f"z = {format_expr(Binary(name, Var('x', F32), Var('y', F32)))}",
        ("x", "y"),
        (),
        infer,
        reference,
        gradient if name in adjoint.BINARY else NotDifferentiable(f"{name} gives no float"),
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
