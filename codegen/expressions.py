"""Scalar expressions to LLVM values, on one lane or on all lanes of a vector loop.

In: an expression and the state of emission. Out: its value; an i64 that is the same on every lane,
or advances by a constant step per lane, as a `Linear`.

    x[i, k] * w[k] + acc     →   %r = call float @llvm.fma.f32(float %x, float %w, float %acc)

A product added to something is one fused multiply-add where the target has it: always, so that the
result does not depend on what LLVM finds.
"""

from __future__ import annotations

import math
from functools import reduce

from stepwell.codegen import arithmetic, conversions, division, memory
from stepwell.codegen.comparison import compare
from stepwell.codegen.philox import philox
from stepwell.codegen.registers import RegisterArray, combined
from stepwell.codegen.state import (
    CodegenError,
    Emission,
    add,
    alike,
    materialise,
    product,
    scale,
)
from stepwell.codegen.values import (
    I32,
    Linear,
    LLVMValue,
    Value,
    constant,
    constant_number,
    element_type,
    lanes_of,
)

from stepwell.ir.dtypes import BOOL, I64 as INDEX  # isort: skip
from stepwell.ir.scalar import (
    COMBINE,
    COMPARISONS,
    Binary,
    Cast,
    Const,
    Expr,
    Horizontal,
    Load,
    Philox,
    Select,
    Unary,
    Var,
    from_dim,
)
from stepwell.ir.size import Dim, symbols


def evaluate(e: Emission, expr: Expr) -> Value:
    """The value of an expression."""
    match expr:
        case Const(value=value, dtype=dtype):
            return Linear(None, int(value)) if dtype == INDEX else _constant(expr)
        case Var(name=name):
            if name not in e.variables:
                raise CodegenError(f"{name} is not in scope")
            return e.variables[name]
        case Load():
            return _wrapped(_load(e, expr), expr)
        case Unary(op=op, x=x):
            return _unary(e, op, x)
        case Binary():
            return _binary(e, expr)
        case Select():
            return _select(e, expr)
        case Cast():
            return _cast(e, expr)
        case Philox(low=low, high=high, key=key, word=word):
            return philox(e, llvm_value(e, low), llvm_value(e, high), llvm_value(e, key), word)
        case Horizontal():
            return _wrapped(_horizontal(e, expr), expr)
    raise CodegenError(f"{type(expr).__name__} is not of the loop IR")


def llvm_value(e: Emission, expr: Expr) -> LLVMValue:
    """The value of an expression, as an LLVM value."""
    return materialise(e, evaluate(e, expr))


def dim_value(e: Emission, dim: Dim) -> Value:
    """A dim's value; where it depends on sizes only, computed once at the kernel's start."""
    if isinstance(dim, int):
        return Linear(None, dim)
    if not symbols(dim) <= e.sizes:
        return evaluate(e, from_dim(dim))
    if dim not in e.size_values:
        with e.in_entry():
            e.size_values[dim] = evaluate(e, from_dim(dim))
    return e.size_values[dim]


def _constant(expr: Const) -> LLVMValue:
    return constant(element_type(expr.dtype), expr.value)


def _wrapped(value: LLVMValue, expr: Expr) -> Value:
    """An i64 scalar as a `Linear`."""
    if expr.dtype != INDEX or lanes_of(value) is not None:
        return value
    number = constant_number(value)
    return Linear(value) if number is None else Linear(None, int(number))


def _load(e: Emission, expr: Load) -> LLVMValue:
    if expr.buffer in e.registers:
        return _load_register(e, expr)
    guard = None if expr.guard is None else llvm_value(e, expr.guard)
    if guard is not None and constant_number(guard) is not None:
        if not constant_number(guard):
            return constant(element_type(expr.dtype), 0)
        guard = None
    buffer = e.memory.get(expr.buffer)
    if buffer is None:
        raise CodegenError(f"{expr.buffer} is no buffer of the kernel")
    with e.masked(guard):  # what is read to find the address is guarded too
        subscripts = [evaluate(e, subscript) for subscript in expr.indices]
        offset = memory.element_offset(
            e, buffer.buffer.shape, subscripts, lambda dim: dim_value(e, dim)
        )
    return memory.load(e, buffer, offset, guard)


def _load_register(e: Emission, expr: Load) -> LLVMValue:
    array = e.registers[expr.buffer]
    places = register_subscripts(e, expr.buffer, expr.indices)
    if array.lanes is None:
        return array.values[array.position(places)]
    row = array.values[array.position(places[:-1])]
    last = places[-1]
    return row if last == -1 else e.builder.extract_element(row, constant(I32, last))


def register_subscripts(e: Emission, name: str, indices: tuple[Expr, ...]) -> list[int]:
    """The subscripts of a register array as numbers; -1 for the vector loop's index."""
    places: list[int] = []
    for index in indices:
        value = evaluate(e, index)
        if isinstance(value, Linear) and value.is_constant:
            places.append(value.constant)
        elif value == Linear(None, 0, 1) and index is indices[-1]:
            places.append(-1)
        else:
            raise CodegenError(f"a subscript of the register array {name} is not constant")
    return places


def _horizontal(e: Emission, expr: Horizontal) -> LLVMValue:
    op, dtype = COMBINE[expr.kind], expr.dtype
    array = e.registers[expr.buffer].part(register_subscripts(e, expr.buffer, expr.indices))
    if op in ("min", "max") and dtype.is_float and not e.target.carries_nan:
        return _extremum_of_all(e, op, array)
    return combined(
        e.builder, array, lambda x, y: arithmetic.binary(e.builder, e.target, op, dtype, x, y)
    )


def _extremum_of_all(e: Emission, op: str, array: RegisterArray) -> LLVMValue:
    """The elements' extremum as if all were numbers, which is one instruction a step; NaN where
    one of them is none, which is looked up beside it."""
    number = combined(
        e.builder, array, lambda x, y: arithmetic.extremum_of_numbers(e.builder, op, x, y)
    )
    values = array.values
    pairs = zip(values[::2], [*values[1::2], values[0]], strict=False)
    nan = reduce(e.builder.or_, [e.builder.fcmp_unordered("uno", x, y) for x, y in pairs])
    if array.lanes is not None:
        nan = memory.any_lane(e, nan)
    return e.builder.select(nan, constant(number.type, math.nan), number)


def _unary(e: Emission, op: str, x: Expr) -> Value:
    value = evaluate(e, x)
    if isinstance(value, Linear) and op == "neg":
        return scale(e, value, -1)
    result = arithmetic.unary(e.builder, e.target, op, x.dtype, materialise(e, value))
    return _wrapped(result, Unary(op, x))


def _binary(e: Emission, expr: Binary) -> Value:
    dtype = expr.x.dtype
    if dtype.is_float and expr.op in ("add", "sub"):
        fused = _fused(e, expr)
        if fused is not None:
            return fused
    x, y = evaluate(e, expr.x), evaluate(e, expr.y)
    if isinstance(x, Linear) and isinstance(y, Linear):
        linear = _linear(e, expr, x, y)
        if linear is not None:
            return linear
    if dtype == INDEX and expr.op in ("floordiv", "mod"):
        signs = is_nonnegative(e, expr.x), is_nonnegative(e, expr.y)
        divided = division.divided(e, expr.op, x, y, signs)
        if divided is not None:
            return divided
    left, right = materialise(e, x), materialise(e, y)
    if expr.op in ("and", "or") and dtype == BOOL:
        known = _known_logic(expr.op, left, right)
        if known is not None:
            return known
    left, right = alike(e, left, right)
    return _wrapped(arithmetic.binary(e.builder, e.target, expr.op, dtype, left, right), expr)


def _known_logic(op: str, x: LLVMValue, y: LLVMValue) -> LLVMValue | None:
    """`and` or `or` of which one side is a constant."""
    for one, other in ((x, y), (y, x)):
        number = constant_number(one)
        if number is not None:
            return other if bool(number) == (op == "and") else one
    return None


def _fused(e: Emission, expr: Binary) -> LLVMValue | None:
    """x*y + z, z + x*y, x*y - z or z - x*y as one fused multiply-add."""
    left, right = expr.x, expr.y
    minus = expr.op == "sub"
    if not e.target.has_fma:
        return None
    if isinstance(left, Binary) and left.op == "mul":
        x, y, z = (llvm_value(e, part) for part in (left.x, left.y, right))
        z = e.builder.fneg(z) if minus else z
    elif isinstance(right, Binary) and right.op == "mul":
        z, x, y = (llvm_value(e, part) for part in (left, right.x, right.y))
        x = e.builder.fneg(x) if minus else x
    else:
        return None
    x, y, z = alike(e, x, y, z)
    return arithmetic.fused(e.builder, e.target, x, y, z)


def _linear(e: Emission, expr: Binary, x: Linear, y: Linear) -> Value | None:
    """Index arithmetic on linear values; None where the general way is right."""
    match expr.op:
        case "add":
            return add(e, x, y)
        case "sub":
            return add(e, x, scale(e, y, -1))
        case "mul":
            return product(e, x, y)
        case op if op in COMPARISONS:
            return compare(e, op, x, y)
    if x.is_constant and y.is_constant:
        return _folded(expr.op, x.constant, y.constant)
    return None


def _folded(op: str, x: int, y: int) -> Linear | None:
    match op:
        case "floordiv":
            return Linear(None, x // y if y else 0)
        case "mod":
            return Linear(None, x % y if y else 0)
        case "min":
            return Linear(None, min(x, y))
        case "max":
            return Linear(None, max(x, y))
    return None


def is_nonnegative(e: Emission, expr: Expr) -> bool:
    """Whether an index expression is at least 0 for sure."""
    match expr:
        case Const(value=value):
            return value >= 0
        case Var(name=name):
            return name in e.nonnegative
        case Binary(op="add" | "mul" | "floordiv" | "mod" | "min", x=x, y=y):
            return is_nonnegative(e, x) and is_nonnegative(e, y)
        case Binary(op="max", x=x, y=y):
            return is_nonnegative(e, x) or is_nonnegative(e, y)
    return False


def _select(e: Emission, expr: Select) -> Value:
    condition = llvm_value(e, expr.condition)
    number = constant_number(condition)
    if number is not None:
        return evaluate(e, expr.x if number else expr.y)
    x, y = llvm_value(e, expr.x), llvm_value(e, expr.y)
    if lanes_of(condition) is not None:
        condition, x, y = alike(e, condition, x, y)
    else:
        x, y = alike(e, x, y)
    return _wrapped(e.builder.select(condition, x, y), expr)


def _cast(e: Emission, expr: Cast) -> Value:
    value = evaluate(e, expr.x)
    if expr.x.dtype == expr.dtype:
        return value
    if isinstance(value, Linear) and value.is_constant and expr.dtype.is_float:
        number = constant(element_type(expr.dtype), float(value.constant))
        return conversions.round_to(e.builder, e.target, number, expr.dtype)
    source = materialise(e, value)
    result = conversions.cast(e.builder, e.target, source, expr.x.dtype, expr.dtype)
    return _wrapped(result, expr)
