"""Values while emitting: LLVM types of dtypes, constants, splats, and linear index values.

In: dtypes, numbers, LLVM values. Out: LLVM values of the right type.

    element_type(F16)   → float        in a register: what arithmetic is done in
    storage_type(F16)   → i16          in memory
    Linear(%b, 3, 1)    stands for     %b + 3 + lane

An i64 scalar is always a `Linear`: a base, a constant and a step per lane. So `16*k + l` in a
vector loop over `l` is known to be contiguous, and constants fold, without any analysis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir

from stepwell.ir.dtypes import DType

LLVMType = Any  # llvmlite carries no type annotations
LLVMValue = Any

I1 = ir.IntType(1)
I8 = ir.IntType(8)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
POINTER = ir.PointerType()


@dataclass(frozen=True)
class Linear:
    """The i64 `base + constant + step * lane`; a base of None is 0."""

    base: LLVMValue | None
    constant: int = 0
    step: int = 0

    @property
    def is_constant(self) -> bool:
        return self.base is None and self.step == 0


Value = Linear | LLVMValue


def element_type(dtype: DType) -> LLVMType:
    """The scalar type in registers: f16 and bf16 compute as float, bool is i1."""
    if dtype.is_float:
        return ir.DoubleType() if dtype.bits == 64 else ir.FloatType()
    return ir.IntType(dtype.bits)


def storage_type(dtype: DType) -> LLVMType:
    """The scalar type in memory: f16 and bf16 are i16, bool is i8."""
    if dtype.is_float:
        return {64: ir.DoubleType(), 32: ir.FloatType(), 16: ir.IntType(16)}[dtype.bits]
    return ir.IntType(max(8, dtype.bits))


def with_lanes(element: LLVMType, lanes: int | None) -> LLVMType:
    """The type, or a vector of it."""
    return element if lanes is None else ir.VectorType(element, lanes)


def lanes_of(value: LLVMValue) -> int | None:
    """How many lanes an LLVM value has; None for a scalar."""
    return value.type.count if isinstance(value.type, ir.VectorType) else None


def scalar_of(type: LLVMType) -> LLVMType:
    """The type of one lane."""
    return type.element if isinstance(type, ir.VectorType) else type


def constant(type: LLVMType, number: float | int | bool) -> LLVMValue:
    """A number as a constant of a scalar type, or on every lane of a vector type."""
    element = scalar_of(type)
    if isinstance(element, ir.IntType):
        bits = element.width
        number = int(number) & ((1 << bits) - 1)
        if bits > 1 and number >> (bits - 1):
            number -= 1 << bits
        scalar = ir.Constant(element, bool(number) if bits == 1 else number)
    else:
        with np.errstate(over="ignore"):
            exact = np.float32(number) if isinstance(element, ir.FloatType) else number
        scalar = ir.Constant(element, float(exact))
    return _splat_constant(type, scalar) if isinstance(type, ir.VectorType) else scalar


def _splat_constant(type: LLVMType, scalar: LLVMValue) -> LLVMValue:
    result = _formatted(type, f"splat ({scalar})")
    result.splat_of = scalar
    return result


def undefined(type: LLVMType) -> LLVMValue:
    """A value that nothing may depend on."""
    return _formatted(type, "poison")


def _formatted(type: LLVMType, text: str) -> LLVMValue:
    result = ir.FormattedConstant(scalar_of(type), text)
    result.type = type  # the constructor would take the text for a vector's elements
    return result


def constant_number(value: LLVMValue) -> float | int | bool | None:
    """The number of a constant made here, scalar or splat; None for what is computed."""
    scalar: Any = getattr(value, "splat_of", value)
    if type(scalar) is ir.Constant and isinstance(scalar.constant, (float, int)):
        return scalar.constant
    return None


def numbers(element: LLVMType, values: list[int]) -> LLVMValue:
    """A vector constant of integers."""
    return _numbers(element.width, tuple(values))


@lru_cache(maxsize=1024)
def _numbers(width: int, values: tuple[int, ...]) -> LLVMValue:
    return ir.Constant(ir.VectorType(ir.IntType(width), len(values)), list(values))


def splat(builder: Any, value: LLVMValue, lanes: int) -> LLVMValue:
    """A scalar on every lane; a vector as it is."""
    if isinstance(value.type, ir.VectorType):
        return value
    type = ir.VectorType(value.type, lanes)
    if isinstance(value, ir.Constant):
        return _splat_constant(type, value)
    first = builder.insert_element(undefined(type), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined(type), numbers(I32, [0] * lanes))


def suffix(type: LLVMType) -> str:
    """The part of an intrinsic's name that spells a type: `v16f32`, `i64`, `p0`."""
    if isinstance(type, ir.VectorType):
        return f"v{type.count}{suffix(type.element)}"
    if isinstance(type, ir.IntType):
        return f"i{type.width}"
    if isinstance(type, ir.PointerType):
        return "p0"
    return {"float": "f32", "double": "f64", "half": "f16"}[str(type)]


def intrinsic(builder: Any, name: str, result: LLVMType, operands: list[LLVMValue]) -> LLVMValue:
    """A call of the function `name`, declared on first use."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        function = ir.Function(module, kind, name)
    return builder.call(function, operands)
