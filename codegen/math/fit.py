"""Derives the coefficients: `python -m stepwell.codegen.math.fit` prints `coefficients.py`.

In: the functions of `FITS`, each with an interval, a degree and the weight that turns an error of
the polynomial into a relative error of the result. Out: for each, the polynomial with the least
largest weighted error among those whose coefficients are numbers of the format.

    Fit("EXP", F32, degree 4, |r| <= ln2/2, (e^r - 1 - r)/r^2)   →   EXP[F32] = (0.5, 0.16666664, …)

Method: Lawson's algorithm (C. L. Lawson, 1961; see J. R. Rice, K. H. Usow, *The Lawson algorithm
and extensions*, Math. Comp. 22, 1968): least squares whose weights grow where the error is large,
on Chebyshev points, in 60-digit arithmetic. Rounding all coefficients at the end would cost a
digit, so they are rounded one by one from the lowest degree up, and those still free are fitted
anew after each rounding (N. Brisebarre, J.-M. Muller, A. Tisserand, *Computing machine-efficient
polynomial approximations*, 2006, state the problem; this is the simple sequential answer).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mpmath
import numpy as np
from mpmath import mp, mpf

mp.dps = 60

Function = Callable[[mpf], mpf]


@dataclass(frozen=True)
class Fit:
    """A polynomial close to `target(x)` on [low, high], its error weighted by `weight(x)`."""

    name: str
    meaning: str
    format: str
    degree: int
    low: mpf
    high: mpf
    target: Function
    weight: Function


def solve(fit: Fit, grid_density: int = 12) -> tuple[tuple[float, ...], float]:
    """The rounded coefficients, lowest degree first, and the largest weighted error they cause."""
    count = grid_density * (fit.degree + 2)
    middle, half = (fit.low + fit.high) / 2, (fit.high - fit.low) / 2
    grid = [middle - half * mpmath.cos(mpmath.pi * (i + mpf(1) / 2) / count) for i in range(count)]
    residual = [fit.target(x) for x in grid]
    weights = [fit.weight(x) for x in grid]
    coefficients: list[float] = []
    for power in range(fit.degree + 1):
        basis = [[x**k for k in range(power, fit.degree + 1)] for x in grid]
        number = float(_minimax(basis, residual, weights)[0])
        coefficients.append(float(np.float32(number)) if fit.format == "F32" else number)
        residual = [r - coefficients[-1] * row[0] for r, row in zip(residual, basis, strict=True)]
    error = max(abs(r * w) for r, w in zip(residual, weights, strict=True))
    return tuple(coefficients), float(error)


def _minimax(
    basis: Sequence[Sequence[mpf]], target: Sequence[mpf], weights: Sequence[mpf], turns: int = 8
) -> list[mpf]:
    """Lawson: least squares, again and again, each point counting more by the error that it had."""
    best: list[mpf] = []
    least = mpf("inf")
    share = [mpf(1)] * len(target)
    for _ in range(turns):
        squares = [s * w * w for s, w in zip(share, weights, strict=True)]
        solution = _least_squares(basis, target, squares)
        errors = [
            abs(w * (t - mpmath.fdot(solution, row)))
            for w, t, row in zip(weights, target, basis, strict=True)
        ]
        if max(errors) < least:
            best, least = solution, max(errors)
        total = mpmath.fdot(share, errors)
        share = [s * e / total for s, e in zip(share, errors, strict=True)]
    return best


def _least_squares(
    basis: Sequence[Sequence[mpf]], target: Sequence[mpf], weights: Sequence[mpf]
) -> list[mpf]:
    """The normal equations: 60 digits leave room for their squared condition number."""
    columns = list(zip(*basis, strict=True))
    weighted = [[w * x for w, x in zip(weights, column, strict=True)] for column in columns]
    matrix = mpmath.matrix(len(columns))
    for i, row in enumerate(weighted):
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = mpmath.fdot(row, columns[j])
    return list(mpmath.lu_solve(matrix, [mpmath.fdot(row, target) for row in weighted]))


_HALF_LN2 = mpmath.log(2) / 2 * mpf("1.0005")
_SQRT_HALF, _SQRT_2 = mpmath.sqrt(mpf(1) / 2) - mpf("1e-6"), mpmath.sqrt(2) + mpf("1e-6")
_QUARTER_PI_SQUARED = (mpmath.pi / 4) ** 2 * mpf("1.0005")
_TANH_SPLIT = mpf("0.625")
_ERF_SPLIT = mpf("1.17")
_ERF_END = {"F32": mpf("3.93"), "F64": mpf("5.95")}
_ATANH_END = (mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1) * mpf("1.0005")


def _exp(format: str, degree: int) -> Fit:
    return Fit(
        "EXP", "e^r = 1 + r + r² EXP(r), the error relative to e^r - 1",
        format, degree, -_HALF_LN2, _HALF_LN2,
        lambda r: (mpmath.expm1(r) - r) / r**2, lambda r: r**2 / mpmath.expm1(r),
    )  # fmt: skip


def _log(format: str, degree: int) -> Fit:
    return Fit(
        "LOG", "log(1 + f) = f - f²/2 + f³ LOG(f)",
        format, degree, _SQRT_HALF - 1, _SQRT_2 - 1,
        lambda f: (mpmath.log1p(f) - f + f**2 / 2) / f**3, lambda f: f**3 / mpmath.log1p(f),
    )  # fmt: skip


def _sin(format: str, degree: int) -> Fit:
    return Fit(
        "SIN", "sin r = r + r³ SIN(r²)",
        format, degree, mpf(0), _QUARTER_PI_SQUARED,
        lambda z: (mpmath.sin(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1) / z,
        lambda z: z * mpmath.sqrt(z) / mpmath.sin(mpmath.sqrt(z)),
    )  # fmt: skip


def _cos(format: str, degree: int) -> Fit:
    return Fit(
        "COS", "cos r = 1 - r²/2 + r⁴ COS(r²)",
        format, degree, mpf(0), _QUARTER_PI_SQUARED,
        lambda z: (mpmath.cos(mpmath.sqrt(z)) - 1 + z / 2) / z**2,
        lambda z: z**2 / mpmath.cos(mpmath.sqrt(z)),
    )  # fmt: skip


def _tanh(format: str, degree: int) -> Fit:
    return Fit(
        "TANH", "tanh x = x + x³ TANH(x²) for |x| below the split",
        format, degree, mpf(0), _TANH_SPLIT**2 * mpf("1.0001"),
        lambda z: (mpmath.tanh(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1) / z,
        lambda z: z * mpmath.sqrt(z) / mpmath.tanh(mpmath.sqrt(z)),
    )  # fmt: skip


def _erf_near(format: str, degree: int) -> Fit:
    return Fit(
        "ERF_NEAR", "erf x = x + x ERF_NEAR(x²) for |x| below the split",
        format, degree, mpf(0), _ERF_SPLIT**2 * mpf("1.0001"),
        lambda z: mpmath.erf(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1,
        lambda z: mpmath.sqrt(z) / mpmath.erf(mpmath.sqrt(z)),
    )  # fmt: skip


def _erf_far(format: str, degree: int) -> Fit:
    return Fit(
        "ERF_FAR", "erf x = 1 - ERF_FAR(x)⁸ from the split to where erf rounds to 1",
        format, degree, _ERF_SPLIT, _ERF_END[format],
        lambda x: mpmath.erfc(x) ** (mpf(1) / 8),
        lambda x: 8 * mpmath.erfc(x) ** (mpf(7) / 8) / mpmath.erf(x),
    )  # fmt: skip


def _log2_short(format: str, degree: int) -> Fit:
    return Fit(
        "LOG2_SHORT", "log2(1 + f) = f LOG2_SHORT(f): binary64 arithmetic for a binary32 power",
        format, degree, _SQRT_HALF - 1, _SQRT_2 - 1,
        lambda f: mpmath.log(1 + f, 2) / f, lambda f: f / mpmath.log(1 + f, 2),
    )  # fmt: skip


def _exp2_short(format: str, degree: int) -> Fit:
    return Fit(
        "EXP2_SHORT", "2^f = 1 + f EXP2_SHORT(f): binary64 arithmetic for a binary32 power",
        format, degree, -mpf("0.5005"), mpf("0.5005"),
        lambda f: (mpf(2) ** f - 1) / f, lambda f: f / mpf(2) ** f,
    )  # fmt: skip


def _atanh_tail(format: str, degree: int) -> Fit:
    return Fit(
        "ATANH_TAIL", "log((1 + s)/(1 - s)) = 2s + 2s³/3 + s⁵ ATANH_TAIL(s²)",
        format, degree, mpf(0), _ATANH_END**2,
        lambda w: (2 * mpmath.atanh(mpmath.sqrt(w)) / mpmath.sqrt(w) - 2 - 2 * w / 3) / w**2,
        lambda w: w**2 * mpmath.sqrt(w) / (2 * mpmath.atanh(mpmath.sqrt(w))),
    )  # fmt: skip


FITS: tuple[tuple[Fit, ...], ...] = (
    (_exp("F32", 4), _exp("F64", 9)),
    (_log("F32", 7), _log("F64", 18)),
    (_sin("F32", 2), _sin("F64", 5)),
    (_cos("F32", 2), _cos("F64", 5)),
    (_tanh("F32", 4), _tanh("F64", 10)),
    (_erf_near("F32", 6), _erf_near("F64", 13)),
    (_erf_far("F32", 6), _erf_far("F64", 17)),
    (_log2_short("F64", 12),),
    (_exp2_short("F64", 6),),
    (_atanh_tail("F64", 7),),
)


_HEADER = '''"""Coefficients by name and format, lowest degree first, as `fit.py` prints them.

Before each stands what it is for, behind it log2 of the largest relative error that it causes.
"""

from __future__ import annotations

from stepwell.codegen.math.formats import F32, F64'''


def coefficients_file() -> str:
    """The text of `coefficients.py`."""
    lines = [_HEADER]
    for fits in FITS:
        lines += ["", f"# {fits[0].meaning}", f"{fits[0].name} = {{"]
        for fit in fits:
            numbers, error = solve(fit)
            lines.append(f"    {fit.format}: (  # {math.log2(error):.1f}")
            lines += [f"        {number!r}," for number in numbers]
            lines.append("    ),")
        lines.append("}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(coefficients_file())
