"""Printing what both IRs share: numbers, dims, types, expressions, formulas and spans.

In: records of `stepwell.ir.scalar` and friends. Out: text that reads as mathematics and that
`stepwell.ir.parse` reads back as the same records.

    Binary("mul", Load("x", (Binary("sub", Var("i"), index(1)),), F32), Const(2.0, F32))
    -> x[i - 1] * 2.0

A number without a suffix is f32 where it has a point, and i64 where it has none; others carry
their type: `1.5_f64`, `255_u8`, `inf_f16`. A name that is not one, or is a keyword, stands in
backquotes: `` `and`[i] ``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import numpy as np

from stepwell.ir.dtypes import F32, I64, DType
from stepwell.ir.scalar import (
    Axis,
    Binary,
    Cast,
    Const,
    Expr,
    Formula,
    Horizontal,
    Load,
    Philox,
    Reduce,
    Select,
    Unary,
    Var,
    index,
)
from stepwell.ir.size import Dim, Size, substitute, symbol, symbols
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

# Operator → (text, precedence). All associate to the left; comparisons do not chain.
INFIX = {
    "or": ("or", 1),
    "xor": ("xor", 2),
    "and": ("and", 3),
    "eq": ("==", 5),
    "ne": ("!=", 5),
    "lt": ("<", 5),
    "le": ("<=", 5),
    "gt": (">", 5),
    "ge": (">=", 5),
    "add": ("+", 6),
    "sub": ("-", 6),
    "mul": ("*", 8),
    "div": ("/", 8),
    "floordiv": ("//", 8),
    "mod": ("%", 8),
}
NOT, COMPARISON, REDUCTION, NEGATION, ATOM = 4, 5, 7, 9, 10

KEYWORDS = frozenset({"or", "xor", "and", "not", "where", "true", "false", "inf", "nan"})
_RESERVED = re.compile(r"(inf|nan)_\w+")
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)


def format_name(name: str) -> str:
    """A name as the lexer takes it: in backquotes where it would be read as something else."""
    plain = _NAME.fullmatch(name) and name not in KEYWORDS and not _RESERVED.fullmatch(name)
    return name if plain else f"`{name}`"


def format_number(value: float | int | bool, dtype: DType) -> str:
    """A literal that reads back as exactly this value and dtype: `1.5`, `3`, `-0.0_f64`."""
    if dtype.is_bool:
        return "true" if value else "false"
    if dtype.is_int:
        text = str(int(value))
    elif dtype == F32:
        text = repr(float(str(np.float32(value))))
    else:
        text = repr(float(value))
    return text if dtype in (F32, I64) else f"{text}_{dtype}"


def format_dim(dim: Dim) -> str:
    """`2*H + 1`."""
    if isinstance(dim, Size):
        quoted = {name: format_name(name) for name in symbols(dim)}
        renamed = {name: symbol(text) for name, text in quoted.items() if name != text}
        return str(substitute(dim, renamed)) if renamed else str(dim)
    return str(dim)


def format_type(type: TensorType) -> str:
    """`f32[N, 2*H]`; a scalar is `f32`."""
    if not type.shape:
        return type.dtype.name
    return f"{type.dtype}[{', '.join(map(format_dim, type.shape))}]"


def format_axes(axes: Iterable[Axis]) -> str:
    """`i: N, j: 2*M`."""
    return ", ".join(f"{format_name(axis.name)}: {format_dim(axis.extent)}" for axis in axes)


def format_formula(formula: Formula) -> str:
    """`[i: N, j: M] -> sum[k: K] a[i, k] * b[k, j]`."""
    return f"[{format_axes(formula.axes)}] -> {format_expr(formula.value)}"


def format_expr(expr: Expr) -> str:
    """An expression with as few parentheses as the grammar allows."""
    return _expr(expr)[0]


def _expr(expr: Expr) -> tuple[str, int]:
    """The text and how tightly its outermost operator binds."""
    match expr:
        case Const(value=value, dtype=dtype):
            text = format_number(value, dtype)
            return text, NEGATION if text.startswith("-") else ATOM
        case Var(name=name):
            return format_name(name), ATOM
        case Load():
            return _load(expr), ATOM
        case Unary(op="neg", x=x) if not isinstance(x, Const):
            return f"-{_operand(x, ATOM)}", NEGATION
        case Unary(op="not", x=x):
            return f"not {_operand(x, NOT)}", NOT
        case Unary(op=op, x=x):
            return _call(op, x), ATOM
        case Binary():
            return _binary(expr)
        case Select(condition=condition, x=x, y=y):
            return _call("select", condition, x, y), ATOM
        case Cast(x=x, dtype=dtype):
            return _call(dtype.name, x), ATOM
        case Philox(low=low, high=high, key=key, word=word):
            return _call("philox", low, high, key, index(word)), ATOM
        case Reduce(kind=kind, axes=axes, body=body, guard=guard):
            where = "" if guard is None else f" where {format_expr(guard)}"
            return f"{kind}[{format_axes(axes)}{where}] {_operand(body, REDUCTION)}", REDUCTION
        case Horizontal(kind=kind, buffer=buffer, indices=indices):
            array = format_access(buffer, indices) if indices else format_name(buffer)
            return f"h{kind}({array})", ATOM


def _operand(expr: Expr, least: int) -> str:
    text, binds = _expr(expr)
    return text if binds >= least else f"({text})"


def _call(function: str, *arguments: Expr) -> str:
    return f"{function}({', '.join(map(format_expr, arguments))})"


def _load(load: Load) -> str:
    guard = "" if load.guard is None else f" | {format_expr(load.guard)}"
    return f"{format_access(load.buffer, load.indices)[:-1]}{guard}]"


def format_access(buffer: str, indices: Iterable[Expr]) -> str:
    """`x[i, k + 1]`: a load without a guard, or the place that a store writes."""
    return f"{format_name(buffer)}[{', '.join(map(format_expr, indices))}]"


def _binary(expr: Binary) -> tuple[str, int]:
    if expr.op not in INFIX:
        return _call(expr.op, expr.x, expr.y), ATOM
    text, binds = INFIX[expr.op]
    left = binds + 1 if binds == COMPARISON else binds
    return f"{_operand(expr.x, left)} {text} {_operand(expr.y, binds + 1)}", binds


def format_string(text: str) -> str:
    """A string literal, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def short_names(files: Iterable[str]) -> dict[str, str]:
    """file → a short unique name for spans: `models/mlp.well` is `mlp`."""
    found: dict[str, str] = {}
    for file in sorted(set(files)):
        stem = re.sub(r"\W", "_", PurePosixPath(file.replace("\\", "/")).stem) or "source"
        stem = f"_{stem}" if stem[0].isdigit() else stem
        name, count = stem, 1
        while name in found.values():
            count += 1
            name = f"{stem}_{count}"
        found[file] = name
    return found


def format_span(span: Span, short: Mapping[str, str]) -> str:
    """`@mlp:7:14-30`, or `@mlp:7:14-9:3` over several lines."""
    end = f"{span.end_column}"
    if span.end_line != span.line:
        end = f"{span.end_line}:{end}"
    return f"@{format_name(short[span.file])}:{span.line}:{span.column}-{end}"


def format_sources(short: Mapping[str, str]) -> str:
    """The header that gives the files behind the spans' short names; empty where there is none."""
    if not short:
        return ""
    entries = [f"{format_name(name)} = {format_string(file)}" for file, name in short.items()]
    return f"sources {{{', '.join(entries)}}}\n\n"
