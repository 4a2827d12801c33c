"""Reverse mode for scalar expressions: what each load of one contributes to the gradient.

In: an expression without reductions, and its cotangent, an expression too. Out: each load of a
float in it with its own cotangent.

    x[i] * sin(y[i]),  d        →     x[i]:  d * sin(y[i])
                                      y[i]:  d * x[i] * cos(y[i])

Where a function has a kink: max(x, y) and min(x, y) give the whole cotangent to y where both are
equal; abs has slope 0 at 0; sign, floor, ceil, round, trunc and the quotient `//` have slope 0
everywhere; sqrt has slope infinity at 0. x ** y has slope 0 in x where y is 0, and in y where x is
not above 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from stepwell.ir.scalar import Binary, Cast, Const, Expr, Load, Select, Unary

FLAT = ("sign", "floor", "ceil", "round", "trunc")  # slope 0 wherever they have one


def cotangents(expr: Expr, cotangent: Expr) -> Iterator[tuple[Load, Expr]]:
    """Each load of a float and its cotangent, once for every place where it stands."""
    waiting = [(expr, cotangent)]
    while waiting:
        expr, d = waiting.pop()
        match expr:
            case Load() if expr.dtype.is_float:
                yield expr, d
            case Cast(x=x) if x.dtype.is_float and expr.dtype.is_float:
                waiting.append((x, Cast(d, x.dtype)))
            case Unary(op=op, x=x) if op in UNARY:
                waiting.append((x, UNARY[op](d, x, expr)))
            case Binary(op=op, x=x, y=y) if op in BINARY and expr.dtype.is_float:
                waiting += [
                    (operand, given)
                    for operand, given in zip((y, x), BINARY[op](d, x, y, expr)[::-1], strict=True)
                    if given is not None
                ]
            case Select(condition=condition, x=x, y=y):
                zero = constant(0, d)
                waiting.append((y, Select(condition, zero, d)))
                waiting.append((x, Select(condition, d, zero)))


def constant(value: float, like: Expr) -> Const:
    """A number of an expression's type."""
    return Const(value, like.dtype)


def times(x: Expr, y: Expr) -> Expr:
    """x * y, where a factor that is the number 1 is left out."""
    if isinstance(x, Const) and x.value == 1:
        return y
    return x if isinstance(y, Const) and y.value == 1 else Binary("mul", x, y)


def product(*factors: Expr) -> Expr:
    """The product of expressions, left to right."""
    total = factors[0]
    for factor in factors[1:]:
        total = times(total, factor)
    return total


def _minus(x: Expr) -> Expr:
    return Unary("neg", x)


def _divided(x: Expr, y: Expr) -> Expr:
    return Binary("div", x, y)


def _erf(d: Expr, x: Expr, y: Expr) -> Expr:
    bell = Unary("exp", _minus(Binary("mul", x, x)))
    return times(d, times(bell, constant(2 / math.sqrt(math.pi), d)))


# The cotangent of x from (the cotangent d of y, x, y = f(x)).
UNARY: dict[str, Callable[[Expr, Expr, Expr], Expr]] = {
    "neg": lambda d, x, y: _minus(d),
    "abs": lambda d, x, y: times(d, Unary("sign", x)),
    "exp": lambda d, x, y: times(d, y),
    "exp2": lambda d, x, y: times(d, times(y, constant(math.log(2), d))),
    "expm1": lambda d, x, y: times(d, Binary("add", y, constant(1, d))),
    "log": lambda d, x, y: _divided(d, x),
    "log2": lambda d, x, y: _divided(times(d, constant(1 / math.log(2), d)), x),
    "log1p": lambda d, x, y: _divided(d, Binary("add", x, constant(1, d))),
    "sqrt": lambda d, x, y: _divided(times(d, constant(0.5, d)), y),
    "rsqrt": lambda d, x, y: product(d, constant(-0.5, d), y, Binary("mul", y, y)),
    "sin": lambda d, x, y: times(d, Unary("cos", x)),
    "cos": lambda d, x, y: _minus(times(d, Unary("sin", x))),
    "tanh": lambda d, x, y: times(d, Binary("sub", constant(1, d), Binary("mul", y, y))),
    "sigmoid": lambda d, x, y: times(d, times(y, Binary("sub", constant(1, d), y))),
    "erf": _erf,
}


def _chosen(compare: str, d: Expr, x: Expr, y: Expr) -> tuple[Expr, Expr]:
    """d to x where the comparison holds, to y elsewhere."""
    condition, zero = Binary(compare, x, y), constant(0, d)
    return Select(condition, d, zero), Select(condition, zero, d)


def _div(d: Expr, x: Expr, y: Expr, z: Expr) -> tuple[Expr, Expr]:
    dx = _divided(d, y)
    return dx, _minus(times(dx, z))


def _power(d: Expr, x: Expr, n: float) -> Expr | None:
    """Of x ** n for a number n."""
    if n == 0:
        return None
    below = x if n == 2 else Binary("pow", x, constant(n - 1, d))
    return d if n == 1 else times(d, times(constant(n, d), below))


def _pow(d: Expr, x: Expr, y: Expr, z: Expr) -> tuple[Expr | None, Expr | None]:
    if isinstance(y, Const):
        return _power(d, x, float(y.value)), None
    zero, one = constant(0, d), constant(1, d)
    slope = times(y, Binary("pow", x, Binary("sub", y, one)))
    dx = times(d, Select(Binary("eq", y, zero), zero, slope))
    log = Unary("log", Select(Binary("gt", x, zero), x, one))
    return dx, times(d, times(z, log))


def _mod(d: Expr, x: Expr, y: Expr, z: Expr) -> tuple[Expr, Expr]:
    return d, _minus(times(d, Unary("floor", _divided(x, y))))


# The cotangents of x and y from (the cotangent d of z, x, y, z = f(x, y)).
BINARY: dict[str, Callable[[Expr, Expr, Expr, Expr], Sequence[Expr | None]]] = {
    "add": lambda d, x, y, z: (d, d),
    "sub": lambda d, x, y, z: (d, _minus(d)),
    "mul": lambda d, x, y, z: (times(d, y), times(d, x)),
    "div": _div,
    "pow": _pow,
    "mod": _mod,
    "floordiv": lambda d, x, y, z: (None, None),
    "max": lambda d, x, y, z: _chosen("gt", d, x, y),
    "min": lambda d, x, y, z: _chosen("lt", d, x, y),
}
