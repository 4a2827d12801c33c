"""What each scalar operator means, in NumPy: one table for every interpreter.

In: arrays of one dtype. Out: arrays. Integers wrap; `//` and `%` floor and give 0 where an integer
divisor is 0; min and max propagate NaN; casts from float to integer saturate, NaN to 0.

    binary("floordiv", int32 [7, -7, 7], int32 [2, 2, 0])  ->  [3, -4, 0]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from stepwell.ir.dtypes import F32, F64, DType, from_numpy

Array = np.ndarray[Any, np.dtype[Any]]

_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function, computed in f64."""
    return np.asarray(_erf(np.asarray(x, np.float64)), np.float64).astype(x.dtype)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, x.dtype.type(1), e) / (1 + e), x.dtype)


_UNARY: dict[str, Callable[[Array], Any]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "not": np.invert,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: x.dtype.type(1) / np.sqrt(x),
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "is_nan": np.isnan,
    "is_finite": np.isfinite,
}


def _floor_division(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.asarray(np.floor_divide(x, y))
    safe = np.where(y == 0, y.dtype.type(1), y)
    return np.where(y == 0, x.dtype.type(0), np.floor_divide(x, safe))


def _modulo(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.asarray(np.mod(x, y))
    safe = np.where(y == 0, y.dtype.type(1), y)
    return np.where(y == 0, x.dtype.type(0), np.mod(x, safe))


def _power(x: Array, y: Array) -> Array:
    """x**y; integers by squaring, wrapping; a negative exponent gives 1/x cut to an integer."""
    if x.dtype.kind == "f":
        return np.asarray(np.power(x, y))
    x, y = np.broadcast_arrays(x, y)
    result, square = np.ones_like(x), x
    for bit in range(x.dtype.itemsize * 8):
        taken = (y.astype(np.int64) >> bit) & 1 == 1
        result = np.where(taken, result * square, result)
        square = square * square
    unit = np.where(y % 2 == 0, x * x, x)
    inverse = np.where(np.abs(x) == 1, unit, x.dtype.type(0))
    return np.where(y < 0, inverse, result)


_BINARY: dict[str, Callable[[Array, Array], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floordiv": _floor_division,
    "mod": _modulo,
    "pow": _power,
    "min": np.minimum,
    "max": np.maximum,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def unary(op: str, x: Array) -> Array:
    """A unary operator; 16-bit floats are computed in f32 and rounded."""
    with np.errstate(all="ignore"):
        wide = _widen(x)
        result = np.asarray(_UNARY[op](wide))
        return result if result.dtype == np.bool_ else result.astype(x.dtype, copy=False)


def binary(op: str, x: Array, y: Array) -> Array:
    """A binary operator on two arrays of one dtype; 16-bit floats are computed in f32."""
    with np.errstate(all="ignore"):
        result = np.asarray(_BINARY[op](_widen(x), _widen(y)))
        compared = result.dtype == np.bool_ and x.dtype != np.bool_
        return result if compared else result.astype(x.dtype, copy=False)


def _widen(x: Array) -> Array:
    """16-bit floats as f32."""
    dtype = from_numpy(x.dtype)
    return x if dtype is None or dtype.compute is dtype else x.astype(dtype.compute.numpy)


def cast(x: Array, target: DType) -> Array:
    """To another element type; between 16-bit floats and anything else by way of f32."""
    x = np.asarray(x)
    source = from_numpy(x.dtype)
    if source is None or source is target:
        return x.astype(target.numpy)
    if source.compute is not source:
        return cast(x.astype(F32.numpy), target)
    with np.errstate(all="ignore"):
        if target.compute is not target:
            return cast(x, F32).astype(target.numpy)
        if target.is_bool:
            return np.asarray(x != 0)
        if source.is_float and target.is_int:
            return _saturate(x.astype(F64.numpy), target)
        return x.astype(target.numpy)


def _saturate(x: Array, target: DType) -> Array:
    """f64 to an integer: truncated, clamped to the range, NaN to 0."""
    low, high = int(target.lowest), int(target.highest)
    above = x >= float(high + 1) if target.bits == 64 else x >= high
    below, unknown = x <= low, np.isnan(x)
    plain = np.where(above | below | unknown, 0.0, x).astype(target.numpy)
    limited = np.where(above, target.numpy.type(high), plain)
    return np.where(below, target.numpy.type(low), limited)


_REDUCE: dict[str, Any] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}


def reduce(kind: str, x: Array, axes: tuple[int, ...]) -> Array:
    """A reduction over axes, which are dropped; the identity over nothing. 16-bit floats
    accumulate in f32. argmax and argmin take one axis, the first of equals, NaN before all."""
    dtype = from_numpy(x.dtype)
    assert dtype is not None, f"no element type is {x.dtype}"
    wide = _widen(x)
    if kind.startswith("arg"):
        return _arg(kind, wide, axes[0])
    if not axes:
        return x
    with np.errstate(all="ignore"):
        ufunc = _REDUCE[kind]
        if kind in ("max", "min"):
            start = dtype.lowest if kind == "max" else dtype.highest
            result = ufunc.reduce(wide, axis=axes, initial=start)
        elif dtype.is_bool:
            result = ufunc.reduce(wide, axis=axes)
        else:
            result = ufunc.reduce(wide, axis=axes, dtype=wide.dtype)
        return np.asarray(result).astype(x.dtype, copy=False)


def _arg(kind: str, x: Array, axis: int) -> Array:
    if x.shape[axis] == 0:
        return np.zeros([n for i, n in enumerate(x.shape) if i != axis], np.int64)
    found = np.argmax(x, axis=axis) if kind == "argmax" else np.argmin(x, axis=axis)
    return np.asarray(found, np.int64)
