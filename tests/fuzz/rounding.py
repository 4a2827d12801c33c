"""How far a value may be off: a bound on rounding errors, op by op, along with the value itself.

In: an op, its operands' arrays and error bounds. Out: the result's array (by the operator's
reference) and a bound on the difference to what any correct order of evaluation gives. A result
that hangs on a rounding error (a comparison of nearly equal numbers, the position of a maximum) or
that grew too large to be compared is `Unfit`.

Arithmetic on multiples of small powers of two is exact, and so has no error: such values can go
through `floor`, comparisons and casts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Array, Op, Value
from stepwell.ir.graph.interpreter import run_op

EPS = {"f64": 2.0**-53, "f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}
LARGEST = {"f64": 1e6, "f32": 1e4, "f16": 300.0, "bf16": 1e4}
WORST = {"f64": 1e-3, "f32": 1e-2, "f16": 0.1, "bf16": 0.2}  # error by magnitude, at most
ULPS = 8  # of a function, ours and the reference's together


class Unfit(Exception):
    """A value that tells nothing."""


@dataclass(frozen=True)
class Known:
    array: Array
    error: float = 0.0

    @property
    def wide(self) -> Array:
        return self.array.astype(np.float64)

    @property
    def largest(self) -> float:
        return float(np.max(np.abs(self.wide), initial=0.0))

    @property
    def least(self) -> float:
        """The smallest magnitude, the error taken off."""
        return float(np.min(np.abs(self.wide), initial=np.inf)) - self.error


MOVES = {"broadcast", "reshape", "transpose", "slice", "reverse", "pad", "concat", "gather"}
MOVES |= {"neg", "abs", "select", "max", "min", "reduce_max", "reduce_min", "window_max"}
MOVES |= {"constant", "iota", "dim", "reduce_any", "reduce_all"}
STEPS = {"floor", "ceil", "round", "trunc", "sign"}
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}
SUMS = {"reduce_sum", "window_sum", "cumsum", "contract", "conv", "index"}
SLOPES: dict[str, Callable[[Known], float]] = {
    "exp": lambda x: float(np.exp(x.largest)),
    "exp2": lambda x: float(np.exp2(x.largest)),
    "expm1": lambda x: float(np.exp(x.largest)),
    "log": lambda x: 1 / _away(x),
    "log2": lambda x: 1.5 / _away(x),
    "log1p": lambda x: 1 / _away(Known(x.wide + 1, x.error)),
    "sqrt": lambda x: 0.5 / _away(x) ** 0.5 if x.error else 0.0,
    "rsqrt": lambda x: 0.5 / _away(x) ** 1.5,
    **dict.fromkeys(("sin", "cos", "tanh", "sigmoid"), lambda x: 1.0),
    "erf": lambda x: 1.2,
}


def _away(x: Known) -> float:
    """The distance from zero of positive numbers."""
    if np.min(x.wide, initial=np.inf) - x.error < 0.05:
        raise Unfit
    return max(x.least, 0.05) if np.isfinite(x.least) else 1.0


def known(op: Op, values: Mapping[Value, Known], sizes: Mapping[str, int]) -> Known:
    """The op's result. Raises Unfit."""
    arrays = {value: values[value].array for value in op.operands}
    try:
        (array,) = run_op(op, arrays, sizes, "native")
    except IndexError:
        raise Unfit from None
    operands = [values[value] for value in op.operands]
    result = Known(array, _error(op, operands, array, sizes))
    name = op.result.type.dtype.name
    worst = WORST.get(name, 0) * max(1, result.largest)
    too_large = name in EPS and LARGEST[name] < result.largest < np.inf
    if too_large or result.error > worst:
        raise Unfit
    return result


def _error(op: Op, operands: list[Known], array: Array, sizes: Mapping[str, int]) -> float:
    name, worst = op.name, max((x.error for x in operands), default=0.0)
    dtype = op.result.type.dtype
    if any(not np.isfinite(x.largest) for x in operands):
        raise Unfit
    if name in MOVES:
        return worst
    if name in STEPS and worst:
        _stable(op, operands[0], sizes)
        return 0.0
    if name in COMPARISONS and worst:
        gaps = np.abs(operands[0].wide - operands[1].wide)
        if np.any(gaps <= 2 * worst):
            raise Unfit
        return 0.0
    if not dtype.is_float:
        if worst and name not in ("is_nan", "is_finite"):
            raise Unfit
        return 0.0
    if name in STEPS:
        return 0.0
    if name in SUMS:
        return _sum_error(op, operands, array, sizes)
    return _arithmetic(op, operands, array, dtype)


def _stable(op: Op, x: Known, sizes: Mapping[str, int]) -> None:
    """A step function must not step within the error."""
    (value,) = op.operands
    low, high = (
        run_op(op, {value: (x.wide + shift).astype(x.array.dtype)}, sizes, "native")[0]
        for shift in (-2 * x.error, 2 * x.error)
    )
    if np.any(low != high):
        raise Unfit


def _rounding(array: Array, exact: Array | None, dtype: DType, ulps: float = 1.0) -> float:
    """What one rounding of the result costs; nothing where the exact result is representable."""
    if exact is not None and np.array_equal(array.astype(np.float64), exact):
        return 0.0
    return ulps * EPS[dtype.name] * float(np.max(np.abs(array.astype(np.float64)), initial=0.0))


def _arithmetic(op: Op, operands: list[Known], array: Array, dtype: DType) -> float:
    x = operands[0]
    y = operands[1] if len(operands) > 1 else x
    lossless = not x.error and not y.error
    match op.name:
        case "add" | "sub":
            exact = x.wide + y.wide if op.name == "add" else x.wide - y.wide
            exact = exact if lossless and dtype.bits < 64 else None
            return x.error + y.error + 2 * _rounding(array, exact, dtype)
        case "mul":
            exact = x.wide * y.wide if lossless and dtype.bits < 64 else None
            grown = x.largest * y.error + y.largest * x.error + x.error * y.error
            return grown + 2 * _rounding(array, exact, dtype)
        case "div":
            if y.least < 0.05:
                raise Unfit
            quotient = float(np.max(np.abs(array.astype(np.float64)), initial=0.0))
            room = y.least if np.isfinite(y.least) else 1.0
            return (x.error + quotient * y.error) / room + 2 * _rounding(array, None, dtype)
        case "floordiv" | "mod":
            if not lossless or y.least == 0 or not all(map(_coarse, operands)):
                raise Unfit
            return 0.0
        case "pow":
            if y.error or np.min(x.wide, initial=1.0) < 0.2:
                raise Unfit
            slope = np.abs(y.wide * x.wide ** (y.wide - 1))
            return 2 * float(np.max(slope, initial=0)) * x.error + _rounding(array, None, dtype, 16)
        case "cast":
            source = operands[0]
            return source.error + _rounding(array, source.wide, dtype)
        case "reduce_prod":
            count = x.array.size // max(array.size, 1)
            growth = count * max(x.largest, 1.0) ** max(count - 1, 0)
            if growth > 1e4:
                raise Unfit
            return growth * x.error + _rounding(array, None, dtype, 2 * count + 2)
    if x.error:
        slope = SLOPES[op.name](x)
    else:
        slope = 0.0
        if op.name in ("log", "log2", "rsqrt", "log1p", "sqrt"):
            SLOPES[op.name](Known(x.array, 1e-9))
    return slope * x.error * 1.5 + _rounding(array, None, dtype, ULPS) + 1e-30


def _coarse(x: Known) -> bool:
    return bool(np.all(x.wide * 64 == np.rint(x.wide * 64))) and x.largest < 256


def _terms(op: Op, operands: list[Known], array: Array) -> float:
    """How many terms each element of the result sums, at most."""
    attributes, x = op.attributes, operands[0].array
    match op.name:
        case "reduce_sum":
            return x.size / max(array.size, 1)
        case "cumsum":
            return x.shape[attributes["axis"]]
        case "window_sum":
            return float(np.prod(attributes["window"]))
        case "conv":
            return operands[1].array.size / max(operands[1].array.shape[0], 1)
        case "contract":
            inputs, _, output = attributes["spec"].partition("->")
            sizes: dict[str, int] = {}
            for part, operand in zip(inputs.split(","), operands, strict=True):
                sizes.update(zip(part, operand.array.shape, strict=True))
            return float(np.prod([n for letter, n in sizes.items() if letter not in output]))
    return float(max((max(o.array.shape, default=1) for o in operands), default=1))


def _sum_error(op: Op, operands: list[Known], array: Array, sizes: Mapping[str, int]) -> float:
    """Terms are elements, or products of an element of each of two operands."""
    dtype = op.result.type.dtype
    magnitudes = {value: np.abs(x.array) for value, x in zip(op.operands, operands, strict=True)}
    (total,) = run_op(op, magnitudes, sizes, "native")
    size = float(np.max(np.abs(total.astype(np.float64)), initial=0.0))
    count = _terms(op, operands, array)
    x, y = operands[0], operands[1] if len(operands) > 1 else Known(np.ones(1))
    own = x.largest * y.error + y.largest * x.error + x.error * y.error
    if not own and all(map(_coarse, operands)) and size * 4096 < 2**24:
        return _rounding(array, None, dtype) if dtype.bits == 16 else 0.0
    compute = EPS[dtype.compute.name]
    return count * own + 2 * (count + 2) * compute * size + _rounding(array, None, dtype)
