"""Arithmetic at compile time: ints, floats, bools, sizes, and what must wait for the sizes.

    2 * H + 1       → a Size                 D / heads   → Deferred("div"): exact where it is a size
    sqrt(64 / 4)    → 4.0                    sqrt(D)     → Deferred("sqrt"): computed on entry

Every mistake (division by zero, overflow, huge numbers) is a diagnostic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.limits import MAX_NUMBER, MAX_SIZE
from stepwell.frontend.values import Deferred, is_dim, is_number, kind_of
from stepwell.ir import size
from stepwell.ir.size import Dim, Size
from stepwell.ir.span import Span

SCALAR_OPS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "and": "and",
    "or": "or",
}

_FLOAT_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "exp": math.exp,
    "exp2": lambda x: 2.0**x,
    "expm1": math.expm1,
    "log": math.log,
    "log2": math.log2,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1.0 / math.sqrt(x),
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "erf": math.erf,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": lambda x: float(round(x)),
    "trunc": math.trunc,
    "sigmoid": lambda x: 1.0 / (1.0 + math.exp(-x)),
}


def static_binary(e: Elaboration, op: str, left: Any, right: Any, span: Span) -> Any:
    """`left op right` for two values known at compile time; `op` as written in the source."""
    return bounded(e, _binary(e, op, left, right, span), span)


def bounded(e: Elaboration, value: Any, span: Span) -> Any:
    """The value, refused where it has grown beyond all measure."""
    large = isinstance(value, Deferred) and value.nodes > MAX_SIZE
    large = large or (isinstance(value, Size) and len(str(value)) > MAX_SIZE)
    if large:
        e.fail("SW0502", "this size has become too long a formula", span)
    return value


def _binary(e: Elaboration, op: str, left: Any, right: Any, span: Span) -> Any:
    if op in ("and", "or"):
        return _logic(e, op, left, right, span)
    if op in ("==", "!=") and isinstance(left, str) and isinstance(right, str):
        return (left == right) == (op == "==")
    if not is_number(left) or not is_number(right) or _is_bool(left) != _is_bool(right):
        e.fail("SW0213", f"`{op}` does not take {kind_of(left)} and {kind_of(right)}", span)
    if isinstance(left, bool) and op not in ("==", "!="):
        e.fail("SW0213", f"`{op}` does not take bools", span, help="bools take and, or, not")
    if op in ("==", "!=", "<", "<=", ">", ">="):
        return _compare(op, left, right)
    if is_dim(left) and is_dim(right):
        return _dims(e, op, left, right, span)
    if isinstance(left, (Size, Deferred)) or isinstance(right, (Size, Deferred)):
        if op in ("//", "%"):
            e.fail(
                "SW0213",
                f"`{op}` of {kind_of(left)} and {kind_of(right)}: sizes divide by whole numbers",
                span,
            )
        return _deferred(e, op, left, right, span)
    return _floats(e, op, left, right, span)


def _deferred(e: Elaboration, op: str, left: Any, right: Any, span: Span) -> Any:
    """A quotient times or over a size stays a quotient: `D/heads * 2` can still be a size."""
    if op in ("*", "/") and isinstance(left, Deferred) and left.op == "div" and is_dim(right):
        over, under = left.operands
        if is_dim(over) and is_dim(under):
            if op == "*":
                return _dims(e, "/", over * right, under, span)
            return _dims(e, "/", over, under * right, span)
    if op == "*" and isinstance(right, Deferred) and is_dim(left):
        return _deferred(e, op, right, left, span)
    return Deferred(SCALAR_OPS[op], (left, right))


def _is_bool(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, Deferred) and value.op in _BOOL_OPS)


_BOOL_OPS = {"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not"}


def _logic(e: Elaboration, op: str, left: Any, right: Any, span: Span) -> Any:
    if not _is_bool(left) or not _is_bool(right):
        e.fail("SW0213", f"`{op}` takes bools, not {kind_of(left)} and {kind_of(right)}", span)
    if isinstance(left, bool):
        left, right = right, left
    if isinstance(right, bool):
        if op == "and":
            return left if right else False
        return True if right else left
    return Deferred(op, (left, right))


def _compare(op: str, left: Any, right: Any) -> Any:
    if is_dim(left) and is_dim(right):
        return _compare_dims(op, left, right)
    if isinstance(left, (Size, Deferred)) or isinstance(right, (Size, Deferred)):
        return Deferred(SCALAR_OPS[op], (left, right))
    return _COMPARE[op](left, right)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _compare_dims(op: str, left: Dim, right: Dim) -> Any:
    difference = left - right
    if isinstance(difference, int):
        return _COMPARE[op](difference, 0)
    at_most, at_least = size.provably_le(left, right), size.provably_le(right, left)
    less, more = size.provably_le(left + 1, right), size.provably_le(right + 1, left)
    known = {
        "==": (False, less or more),
        "!=": (less or more, False),
        "<": (less, at_least),
        "<=": (at_most, more),
        ">": (more, at_most),
        ">=": (at_least, less),
    }
    yes, no = known[op]
    return True if yes else False if no else Deferred(SCALAR_OPS[op], (left, right))


def _dims(e: Elaboration, op: str, left: Dim, right: Dim, span: Span) -> Any:
    match op:
        case "+":
            result: Any = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case "**":
            return _power(e, left, right, span)
        case _:
            if right == 0:
                e.fail("SW0501", f"division by zero: {left} {op} 0", span)
            if op == "//":
                result = size.floordiv(left, right)
            elif op == "%":
                result = size.mod(left, right)
            else:
                exact = size.exact_quotient(left, right)
                result = exact if exact is not None else Deferred("div", (left, right))
    return _bounded(e, result, span)


def _power(e: Elaboration, left: Dim, right: Dim, span: Span) -> Any:
    if isinstance(right, Size):
        return Deferred("pow", (left, right))
    if isinstance(left, int):
        if right < 0:
            return _floats(e, "**", float(left), float(right), span)
        if abs(left) > 1 and right * math.log2(abs(left)) > 64:
            e.fail("SW0501", f"{left} ** {right} has more than 64 bits", span)
        return _bounded(e, left**right, span)
    if not 0 <= right <= 8:
        return Deferred("pow", (left, right))
    result: Dim = 1
    for _ in range(right):
        result = result * left
    return result


def _bounded(e: Elaboration, value: Any, span: Span) -> Any:
    if isinstance(value, Size) and len(value.terms) > 64:
        e.fail("SW0501", "this size has more than 64 terms", span, help="give its parts names")
    largest = abs(value) if isinstance(value, int) else 0
    if isinstance(value, Size):
        largest = max(abs(c) for _, c in value.terms)
    if largest > MAX_NUMBER:
        e.fail("SW0501", "this whole number has more than 64 bits", span)
    return value


def _floats(e: Elaboration, op: str, left: Any, right: Any, span: Span) -> Any:
    try:
        match op:
            case "+":
                result = left + right
            case "-":
                result = left - right
            case "*":
                result = left * right
            case "/":
                result = left / right
            case "//":
                result = left // right
            case "%":
                result = left % right
            case _:
                result = left**right
    except ZeroDivisionError:
        e.fail("SW0501", f"division by zero: {left} {op} {right}", span)
    except OverflowError:
        e.fail("SW0501", f"{left} {op} {right} is too large", span)
    if isinstance(result, complex):
        e.fail("SW0501", f"{left} ** {right} is not a real number", span)
    if math.isinf(result) and not (math.isinf(left) or math.isinf(right)):
        e.fail("SW0501", f"{left} {op} {right} is too large", span)
    return result


def static_unary(e: Elaboration, name: str, value: Any, span: Span) -> Any:
    """neg, not, abs, sign or a float function of a number known at compile time."""
    return bounded(e, _unary(e, name, value, span), span)


def _unary(e: Elaboration, name: str, value: Any, span: Span) -> Any:
    if name == "not":
        if isinstance(value, bool):
            return not value
        if _is_bool(value):
            return Deferred("not", (value,))
        e.fail("SW0213", f"`not` takes a bool, not {kind_of(value)}", span)
    if not is_number(value) or _is_bool(value):
        e.fail("SW0213", f"`{_SIGNS.get(name, name)}` does not take {kind_of(value)}", span)
    if name == "neg":
        return Deferred("neg", (value,)) if isinstance(value, Deferred) else -value
    if name == "abs" and not isinstance(value, Deferred):
        if isinstance(value, Size):
            return value if size.provably_le(0, value) else Deferred("abs", (value,))
        return abs(value)
    if name == "sign" and not isinstance(value, (Size, Deferred)):
        return (value > 0) - (value < 0) if value == value else value
    if isinstance(value, Deferred) and value.op == "div":
        numbers = value.operands
        if all(isinstance(x, (int, float)) for x in numbers):
            value = numbers[0] / numbers[1]
    if isinstance(value, (Size, Deferred)):
        return Deferred(name, (value,))
    return _function(e, name, value, span)


_SIGNS = {"neg": "-"}


def _function(e: Elaboration, name: str, value: float, span: Span) -> Any:
    if name == "is_nan":
        return value != value
    if name == "is_finite":
        return math.isfinite(value)
    try:
        return _FLOAT_FUNCTIONS[name](value)
    except (ValueError, ZeroDivisionError):
        e.fail("SW0501", f"{name}({value}) is not a real number", span)
    except OverflowError:
        e.fail("SW0501", f"{name}({value}) is too large", span)


def as_dim(e: Elaboration, value: Any, span: Span, what: str = "a size") -> Dim:
    """A value as a size. A quotient that cannot be proved exact is checked on entry."""
    if is_dim(value):
        result: Dim = value
        return result
    if isinstance(value, Deferred) and value.op == "div":
        left, right = value.operands
        if is_dim(left) and is_dim(right):
            return _exact_quotient(e, left, right, span)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    help = None
    if isinstance(value, (float, Deferred)):
        help = "`//` divides and rounds down"
    e.fail("SW0204", f"{what} must be a whole number, not {kind_of(value)}", span, help=help)


def _exact_quotient(e: Elaboration, left: Dim, right: Dim, span: Span) -> Dim:
    if isinstance(left, int) and isinstance(right, int):
        e.fail(
            "SW0205",
            f"{left} / {right} is not a whole number",
            span,
            f"{left} = {left // right} * {right} + {left % right}",
            help="`//` divides and rounds down",
        )
    left, right = _cancelled(left, right)
    e.constrain(left, "%", right, f"{left} must be divisible by {right}", span)
    return size.floordiv(left, right)


def _cancelled(left: Dim, right: Dim) -> tuple[Dim, Dim]:
    """The fraction without the symbols that both sides have as a factor."""
    for name in sorted(size.symbols(right)):
        factor = size.symbol(name)
        over, under = size.exact_quotient(left, factor), size.exact_quotient(right, factor)
        if over is not None and under is not None:
            left, right = over, under
    return left, right


def number_value(value: Any) -> Any:
    """A quotient of two known numbers as a float; anything else unchanged."""
    if isinstance(value, Deferred) and value.op == "div":
        left, right = value.operands
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return left / right
    return value
