"""The mathematical functions of native kernels, as LLVM instructions: polynomials, no library.

In: an IR builder, a function's name, operands of type f32, f64 or a vector of either with any
number of lanes. Out: the result, of the operands' type.

    emit(builder, "exp", [%x], MathTarget(fma=True))   →   %e = fmul <16 x float> %p, %s

Infinities, NaN, signed zeros and subnormal numbers, in and out, are as in NumPy. Largest errors in
ulp, measured against float64 and longdouble:

             exp  exp2  expm1  log  log2  log1p  sin  cos  tanh  sigmoid  erf  sqrt  rsqrt  pow
    f32     1.04  1.04  1.53  0.94  1.08  1.48  1.54 1.54  1.20   1.95   1.67  0.50  1.49  0.53
    no FMA  1.00  1.00  1.65  0.93  1.20  1.55  1.56 1.56  1.20   1.95   1.97  0.50  1.49  0.53
    f64     1.1   1.1   2.1   1.3   2.0   1.7   2.5  2.5   1.2    1.9    1.6   0.50  1.5   1.5

f32 with FMA: every one of the 2^32 arguments; without: every sin, cos, log2, and for the others
every argument where the result neither saturates nor is trivial; pow and f64: some millions each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llvmlite import ir

from stepwell.codegen.math.error_function import erf
from stepwell.codegen.math.exponential import exp, exp2, expm1, sigmoid, tanh
from stepwell.codegen.math.formats import MathTarget
from stepwell.codegen.math.lanes import Real
from stepwell.codegen.math.logarithm import log, log1p, log2
from stepwell.codegen.math.power import power
from stepwell.codegen.math.trigonometric import cos, sin

__all__ = ["FUNCTIONS", "MathTarget", "emit"]


def _sqrt(x: Real) -> Real:
    return x.square_root()


def _rsqrt(x: Real) -> Real:
    return 1.0 / x.square_root()


FUNCTIONS: Mapping[str, Callable[..., Real]] = {
    "exp": exp,
    "exp2": exp2,
    "expm1": expm1,
    "log": log,
    "log2": log2,
    "log1p": log1p,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "sin": sin,
    "cos": cos,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "pow": power,
}


def emit(
    builder: ir.IRBuilder, name: str, operands: Sequence[ir.Value], target: MathTarget
) -> ir.Value:
    """Emits function `name` of FUNCTIONS on `operands`, all of one type; returns the result.

    sin and cos add basic blocks: the builder ends in another block than it was in. Raises KeyError
    for an unknown name and TypeError for operands that are neither f32 nor f64.
    """
    return FUNCTIONS[name](*(Real.of(builder, operand, target) for operand in operands)).value
