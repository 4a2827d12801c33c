"""Nodes to records: names get their meanings, and expressions their element types.

In: nodes of `stepwell.ir.syntax`, and a `Scope` that knows the dtypes of names and of buffers.
Out: records of `stepwell.ir.scalar`, dims, types and spans; or a `UserError` with a place.

    x[i - 1] * 2.0, Scope({"i": I64}, {"x": F32})
    →  Binary("mul", Load("x", (Binary("sub", Var("i"), index(1)),), F32), Const(2.0, F32))
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from stepwell.ir import scalar
from stepwell.ir.diagnostics import Diagnostic, Label, UserError
from stepwell.ir.dtypes import BOOL, BY_NAME, F32, I64, DType
from stepwell.ir.scalar import Axis, Const, Expr, Formula
from stepwell.ir.size import Dim
from stepwell.ir.span import Span
from stepwell.ir.syntax import (
    Access,
    AxisNode,
    Call,
    ExprNode,
    FormulaNode,
    Infix,
    Name,
    Number,
    Place,
    Prefix,
    Reduction,
    SpanNode,
    TypeNode,
)
from stepwell.ir.text import INFIX
from stepwell.ir.types import TensorType


def mistake(
    file: str, text: str, at: Place, code: str, message: str, help: str | None = None
) -> UserError:
    """The error for one place in an IR text."""
    span = Span(file, at.line, at.column, at.end_line, at.end_column)
    return UserError([Diagnostic(code, message, (Label(span),), (), help)], {file: text})


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint with the closest known name."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean `{close[0]}`?" if close else None


@dataclass(frozen=True)
class Scope:
    """What names stand for: numbers (axes, loop indices, sizes, `let`s) and buffers."""

    names: Mapping[str, DType] = field(default_factory=dict)
    buffers: Mapping[str, DType] = field(default_factory=dict)
    sizes_open: bool = False  # a name nobody declared is a size

    def with_names(self, names: Iterable[str], dtype: DType = I64) -> Scope:
        added = {**self.names, **dict.fromkeys(names, dtype)}
        return Scope(added, self.buffers, self.sizes_open)

    def with_buffer(self, name: str, dtype: DType) -> Scope:
        return Scope(self.names, {**self.buffers, name: dtype}, self.sizes_open)


class Resolver:
    """Nodes to records. `file` and `text` are for messages, `files` maps spans' short names."""

    def __init__(self, file: str, text: str, files: Mapping[str, str] | None = None) -> None:
        self.file, self.text, self.files = file, text, dict(files or {})

    def fail(self, at: Place, code: str, message: str, help: str | None = None) -> NoReturn:
        raise mistake(self.file, self.text, at, code, message, help)

    # Dims, types and spans

    def dim(self, node: ExprNode, scope: Scope | None = None) -> Dim:
        """An integer expression over sizes, in normal form."""
        scope = scope if scope is not None else Scope(sizes_open=True)
        expr = self.expr(node, scope)
        dim = scalar.as_dim(_without_negation(expr)) if expr.dtype == I64 else None
        if dim is None:
            self.fail(node.at, "SW0905", "a size is made of integers, names and + - * // % max min")
        return dim

    def type(self, node: TypeNode, scope: Scope | None = None) -> TensorType:
        return TensorType(self.dtype(node.dtype), tuple(self.dim(d, scope) for d in node.shape))

    def dtype(self, node: Name) -> DType:
        if node.text not in BY_NAME:
            hint = did_you_mean(node.text, BY_NAME) or f"one of {', '.join(BY_NAME)}"
            self.fail(node.at, "SW0902", f"`{node.text}` is not an element type", hint)
        return BY_NAME[node.text]

    def span(self, node: SpanNode | None) -> Span | None:
        if node is None:
            return None
        short, line, rest = node.text[1:].split(":", 2)
        column, end = rest.split("-")
        end_line, end_column = end.split(":") if ":" in end else (line, end)
        file = self.files.get(short.strip("`"))
        if file is None:
            hint = did_you_mean(short, self.files)
            self.fail(node.at, "SW0903", f"`{short}` is not among the sources", hint)
        try:
            return Span(file, int(line), int(column), int(end_line), int(end_column))
        except ValueError:
            self.fail(node.at, "SW0906", "a line or column number is too long")

    # Expressions

    def formula(self, node: FormulaNode, scope: Scope) -> Formula:
        axes = self._axes(node.axes, scope)
        inner = scope.with_names(axis.name for axis in axes)
        return Formula(axes, self.expr(node.value, inner))

    def _axes(self, nodes: Sequence[AxisNode], scope: Scope) -> tuple[Axis, ...]:
        return tuple(Axis(node.name.text, self.dim(node.extent, scope)) for node in nodes)

    def expr(self, node: ExprNode, scope: Scope) -> Expr:
        try:
            return self._expr(node, scope)
        except RecursionError:
            self.fail(node.at, "SW0901", "the expression is nested too deeply")

    def _expr(self, node: ExprNode, scope: Scope) -> Expr:
        match node:
            case Number():
                return self.number(node)
            case Name():
                return self._name(node, scope)
            case Prefix(op="neg", x=Number() as number):
                return self.number(number, negative=True)
            case Prefix(op="neg", x=Name() as name) if _special(name) is not None:
                constant = _special(name)
                assert constant is not None
                return Const(-constant.value, constant.dtype)
            case Prefix(op=op, x=x):
                return self._unary(op, self._expr(x, scope), node.at)
            case Infix(op=op, x=x, y=y, at=at):
                return self._binary(op, self._expr(x, scope), self._expr(y, scope), at)
            case Access(buffer=buffer, indices=indices, guard=guard):
                return scalar.Load(
                    buffer.text,
                    tuple(self._index(index, scope) for index in indices),
                    self.buffer(buffer, scope),
                    None if guard is None else self.condition(guard, scope),
                )
            case Reduction():
                return self._reduction(node, scope)
            case Call():
                return self._call(node, scope)

    def number(self, node: Number, negative: bool = False) -> Const:
        """A literal with its dtype: a suffix, or f32 with a point and i64 without."""
        text, _, suffix = node.text.partition("_")
        is_float = any(c in text for c in ".eE")
        dtype = BY_NAME.get(suffix, None) if suffix else F32 if is_float else I64
        if dtype is None or dtype.is_bool or (is_float and not dtype.is_float):
            self.fail(node.at, "SW0906", f"a number cannot end in `_{suffix}`")
        if dtype.is_float:
            return Const(-float(text) if negative else float(text), dtype)
        value = int(text) if len(text) < 40 else 10**40
        value = -value if negative else value
        if not dtype.lowest <= value <= dtype.highest:
            self.fail(node.at, "SW0906", f"{text} does not fit {dtype}")
        return Const(value, dtype)

    def _name(self, node: Name, scope: Scope) -> Expr:
        special = _special(node)
        if special is not None:
            return special
        if node.text in scope.names:
            return scalar.Var(node.text, scope.names[node.text])
        if scope.sizes_open and node.text not in scope.buffers:
            return scalar.Var(node.text)
        message = f"`{node.text}` is not defined here"
        if node.text in scope.buffers:
            message = f"`{node.text}` is a buffer: an element of it is `{node.text}[...]`"
        self.fail(node.at, "SW0903", message, did_you_mean(node.text, scope.names))

    def buffer(self, node: Name, scope: Scope) -> DType:
        """The element type of the buffer of this name."""
        if node.text not in scope.buffers:
            hint = did_you_mean(node.text, scope.buffers)
            self.fail(node.at, "SW0903", f"there is no buffer `{node.text}` here", hint)
        return scope.buffers[node.text]

    def _index(self, node: ExprNode, scope: Scope) -> Expr:
        expr = self._expr(node, scope)
        if expr.dtype != I64:
            message = f"a subscript is i64, this is {expr.dtype}"
            self.fail(node.at, "SW0904", message, "cast it: `i64(...)`")
        return expr

    def condition(self, node: ExprNode, scope: Scope) -> Expr:
        """An expression that must be bool."""
        expr = self.expr(node, scope)
        if expr.dtype != BOOL:
            self.fail(node.at, "SW0904", f"a condition is bool, this is {expr.dtype}")
        return expr

    def _unary(self, op: str, x: Expr, at: Place) -> Expr:
        if not _unary_takes(op, x.dtype):
            self.fail(at, "SW0904", f"{op} does not take {x.dtype}")
        return scalar.Unary(op, x)

    def _binary(self, op: str, x: Expr, y: Expr, at: Place) -> Expr:
        if x.dtype != y.dtype:
            shown = INFIX[op][0] if op in INFIX else op
            self.fail(at, "SW0904", f"the operands of {shown} differ: {x.dtype} and {y.dtype}")
        if not _binary_takes(op, x.dtype):
            self.fail(at, "SW0904", f"{op} does not take {x.dtype}")
        return scalar.Binary(op, x, y)

    def _reduction(self, node: Reduction, scope: Scope) -> Expr:
        if node.kind not in scalar.REDUCTIONS:
            hint = did_you_mean(node.kind, scalar.REDUCTIONS)
            self.fail(node.at, "SW0903", f"there is no reduction `{node.kind}`", hint)
        axes = self._axes(node.axes, scope)
        inner = scope.with_names(axis.name for axis in axes)
        guard = None if node.guard is None else self.condition(node.guard, inner)
        body = self._expr(node.body, inner)
        if node.kind in ("any", "all") and body.dtype != BOOL:
            self.fail(node.body.at, "SW0904", f"{node.kind} takes bool, this is {body.dtype}")
        if node.kind in ("sum", "prod") and body.dtype.is_bool:
            self.fail(node.body.at, "SW0904", f"{node.kind} does not take bool")
        return scalar.Reduce(node.kind, axes, body, guard)

    def _call(self, node: Call, scope: Scope) -> Expr:
        name = node.function
        if name[:1] == "h" and name[1:] in scalar.COMBINE:
            return self._horizontal(node, scope)
        arity = _ARITY.get(name)
        if arity is None:
            hint = did_you_mean(name, _ARITY)
            self.fail(node.at, "SW0903", f"there is no function `{name}`", hint)
        if len(node.arguments) != arity:
            given = len(node.arguments)
            message = f"{name} takes {arity} argument{'s' * (arity > 1)}, not {given}"
            self.fail(node.at, "SW0904", message)
        arguments = [self._expr(argument, scope) for argument in node.arguments]
        if name in BY_NAME:
            return scalar.Cast(arguments[0], BY_NAME[name])
        if name == "select":
            return self._select(node, arguments)
        if name == "philox":
            return self._philox(node, arguments)
        if arity == 2:
            return self._binary(name, arguments[0], arguments[1], node.at)
        return self._unary(name, arguments[0], node.at)

    def _select(self, node: Call, arguments: Sequence[Expr]) -> Expr:
        condition, x, y = arguments
        if condition.dtype != BOOL:
            message = f"select chooses by bool, this is {condition.dtype}"
            self.fail(node.arguments[0].at, "SW0904", message)
        if x.dtype != y.dtype:
            self.fail(node.at, "SW0904", f"select's values differ: {x.dtype} and {y.dtype}")
        return scalar.Select(condition, x, y)

    def _philox(self, node: Call, arguments: Sequence[Expr]) -> Expr:
        low, high, key, word = arguments
        for argument, place in zip((low, high, key), node.arguments, strict=False):
            if argument.dtype != I64:
                message = f"philox takes a counter and a key in i64, this is {argument.dtype}"
                self.fail(place.at, "SW0904", message)
        if not isinstance(word, Const) or word not in map(scalar.index, range(4)):
            self.fail(node.arguments[3].at, "SW0904", "philox gives the word 0, 1, 2 or 3")
        return scalar.Philox(low, high, key, int(word.value))

    def _horizontal(self, node: Call, scope: Scope) -> Expr:
        match node.arguments:
            case (Name() as buffer,):
                dtype = self.buffer(buffer, scope)
                return scalar.Horizontal(node.function[1:], buffer.text, dtype)
            case (Access(buffer=buffer, indices=nodes, guard=None),):
                dtype = self.buffer(buffer, scope)
                indices = tuple(self._expr(index, scope) for index in nodes)
                return scalar.Horizontal(node.function[1:], buffer.text, dtype, indices)
        self.fail(node.at, "SW0904", f"{node.function} takes the name of a register array")


# Functions that are written as calls, and how many arguments they take.
_ARITY = {op: 1 for op in (*scalar.UNARY, *BY_NAME) if op != "not"}
_ARITY |= {"max": 2, "min": 2, "pow": 2, "select": 3, "philox": 4}


def _unary_takes(op: str, dtype: DType) -> bool:
    if op in scalar.FLOAT_UNARY or op in scalar.PREDICATES:
        return dtype.is_float
    return not dtype.is_float if op == "not" else not dtype.is_bool


def _binary_takes(op: str, dtype: DType) -> bool:
    if op in scalar.LOGIC:
        return not dtype.is_float
    if op == "div":
        return dtype.is_float
    return not dtype.is_bool or op in ("min", "max", *scalar.COMPARISONS)


def _without_negation(expr: Expr) -> Expr:
    """-x as 0 - x, which is what dims know."""
    expr = scalar.map_children(expr, _without_negation)
    if isinstance(expr, scalar.Unary) and expr.op == "neg":
        return scalar.Binary("sub", scalar.index(0), expr.x)
    return expr


def _special(node: Name) -> Const | None:
    """`true`, `false`, `inf`, `nan` and `inf_f64` and the like; None for other names."""
    if node.quoted:
        return None
    if node.text in ("true", "false"):
        return Const(node.text == "true", BOOL)
    head, _, suffix = node.text.partition("_")
    dtype = BY_NAME.get(suffix) if suffix else F32
    if head in ("inf", "nan") and dtype is not None and dtype.is_float:
        return Const(float(head), dtype)
    return None
