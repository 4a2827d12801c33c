"""What each scalar operation gives, exactly: the functions that the loop interpreter calls.

In and out: Python ints for integers, Python or NumPy bools for bool, NumPy scalars for floats, so
that f32 arithmetic rounds as f32. Transcendental functions of f32 are computed in f64 and rounded
once: they are the reference that native code is measured against.

    wrap(I8)(130) → -126      saturate(U8)(np.float32(-3.7)) → 0      floordiv(7, 0) → 0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stepwell.ir.dtypes import BF16, F64, I32, DType
from stepwell.ir.philox import words
from stepwell.ir.scalar import COMBINE

Number = Any  # int, bool, or a NumPy scalar
Function = Callable[..., Number]


def wrap(dtype: DType) -> Function:
    """Any Python integer (or bool) reduced to the dtype, modulo 2**bits."""
    mask = (1 << dtype.bits) - 1
    half = 1 << (dtype.bits - 1) if dtype.signed else 0
    return lambda value: ((int(value) + half) & mask) - half


_WRAP_I32 = wrap(I32)


def saturate(dtype: DType) -> Function:
    """A float cut towards zero and clamped to the integer dtype; NaN gives 0."""
    low, high = int(dtype.lowest), int(dtype.highest)

    def convert(value: Number) -> int:
        if value != value:
            return 0
        if math.isinf(value):
            return high if value > 0 else low
        return max(low, min(high, int(float(value))))

    return convert


def floordiv(x: int, y: int) -> int:
    """Integers: floor(x / y), or 0 where y is 0. The caller wraps the lowest over -1."""
    return x // y if y else 0


def mod(x: int, y: int) -> int:
    """Integers: x - y*floor(x / y), or 0 where y is 0."""
    return x % y if y else 0


def float_floordiv(x: Number, y: Number) -> Number:
    """Floats, as in NumPy: x // 0 is an infinity or NaN."""
    return np.floor_divide(x, y)


def float_mod(x: Number, y: Number) -> Number:
    """Floats, as in NumPy: the sign of the divisor."""
    return np.mod(x, y)


def maximum(x: Number, y: Number) -> Number:
    """The larger; NaN where either is NaN."""
    return x if x >= y or x != x else y


def minimum(x: Number, y: Number) -> Number:
    """The smaller; NaN where either is NaN."""
    return x if x <= y or x != x else y


def philox(low: int, high: int, key: int, word: int) -> int:
    """One output word of Philox 4x32-10 as i32."""
    bits: int = _WRAP_I32(words(int(low), int(high), int(key))[word])
    return bits


def select(condition: Number, x: Number, y: Number) -> Number:
    """Both are computed, one is chosen."""
    return x if condition else y


def power(x: int, y: int) -> int:
    """Integers: x**y modulo 2**64; a negative exponent gives 1/x cut to an integer."""
    if y >= 0:
        return pow(x, y, 1 << 64)
    if x in (1, -1):
        return x if y % 2 else 1
    return 0


def sign(x: Number) -> Number:
    """-1, 0 or 1 for integers."""
    return (x > 0) - (x < 0)


def to_float(dtype: DType) -> Function:
    """An integer, bool or float rounded to the float dtype, to nearest even.

    Once, but for integers to f16 and bf16, which pass through f32 as in kernels.
    """
    number = dtype.numpy.type

    def convert(value: Number) -> Number:
        if isinstance(value, (int, np.bool_)):
            value = np.int64(value)  # NumPy would round a Python int twice: through f64
            return number(np.float32(value)) if dtype.bits == 16 else number(value)
        if dtype == BF16 and isinstance(value, np.float64):
            return number(_round_to_odd(value))
        return number(value)

    return convert


def _round_to_odd(value: np.float64) -> np.float32:
    """f64 to f32 with the last bit set where inexact, so that rounding again to bf16 is right."""
    near = np.float32(value)
    if near == value or not np.isfinite(near):
        return near
    if abs(np.float64(near)) > abs(value):
        near = np.nextafter(near, np.float32(0))
    return np.uint32(near.view(np.uint32) | np.uint32(1)).view(np.float32)


def _sigmoid(x: Number) -> Number:
    return np.float64(1) / (np.float64(1) + np.exp(-x))


def _rsqrt(x: Number) -> Number:
    return np.float64(1) / np.sqrt(x)


def _erf(x: np.float64) -> np.float64:
    return np.float64(math.erf(x))


_IN_F64: dict[str, Function] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "rsqrt": _rsqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
}
_EXACT: dict[str, Function] = {
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "sign": np.sign,
    "is_nan": np.isnan,
    "is_finite": np.isfinite,
}


def float_unary(op: str, dtype: DType) -> Function:
    """A unary function of a float dtype: one of `scalar.FLOAT_UNARY`, a predicate, or sign."""
    if op in _EXACT:
        return _EXACT[op]
    function, number = _IN_F64[op], dtype.numpy.type
    if dtype == F64:
        return function
    return lambda x: number(function(np.float64(x)))


def float_power(dtype: DType) -> Function:
    """x**y of floats."""
    number = dtype.numpy.type
    return lambda x, y: number(np.power(np.float64(x), np.float64(y)))


def combine(kind: str, dtype: DType) -> Function:
    """The binary function of a reduction, for `Horizontal`."""
    op = COMBINE[kind]
    if op in ("max", "min"):
        return maximum if op == "max" else minimum
    if op in ("or", "and"):
        return (lambda x, y: x | y) if op == "or" else (lambda x, y: x & y)
    exact: Function = (lambda x, y: x + y) if op == "add" else (lambda x, y: x * y)
    if dtype.is_float:
        return exact
    wrapped = wrap(dtype)
    return lambda x, y: wrapped(exact(x, y))


def horizontal(kind: str, dtype: DType) -> Function:
    """All lanes combined pairwise: the first half with the second, until one is left."""
    function = combine(kind, dtype)

    def run(lanes: Sequence[Number]) -> Number:
        values = list(lanes)
        while len(values) > 1:
            half = len(values) // 2
            values = [function(values[i], values[i + half]) for i in range(half)]
        return values[0]

    return run


def garbage(dtype: DType) -> Number:
    """What uninitialised memory holds: every byte 0xFF, so NaN, -1, 255 or true."""
    if dtype.is_bool:
        return True
    value = np.full(dtype.bytes, 0xFF, np.uint8).view(dtype.numpy)[0]
    return value if dtype.is_float else int(value)
