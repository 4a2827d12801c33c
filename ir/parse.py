"""Reading what both IRs' texts share, in two steps.

In: text. First, a Lark LALR grammar (`expressions.lark`, with the graph's or the loops' grammar
appended) builds the small *nodes* below, each with its place. Second, a `Resolver` turns nodes into
`stepwell.ir.scalar` records, given a `Scope` that knows the dtypes of names and of buffers.

    "x[i - 1] * 2.0", Scope({"i": I64}, {"x": F32})
    -> Binary("mul", Load("x", (Binary("sub", Var("i"), index(1)),), F32), Const(2.0, F32))

Every mistake is a `UserError` with a span: no error of Lark gets out.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError
from lark.tree import Meta
from lark.visitors import v_args
from stepwell.ir import scalar
from stepwell.ir.diagnostics import Diagnostic, Label, UserError
from stepwell.ir.dtypes import BOOL, BY_NAME, F32, I64, DType
from stepwell.ir.scalar import Axis, Const, Expr, Formula
from stepwell.ir.size import Dim
from stepwell.ir.span import Span
from stepwell.ir.text import INFIX
from stepwell.ir.types import TensorType


@dataclass(frozen=True)
class Place:
    """Lines and columns of a node, 1-based, end exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Number:
    text: str
    at: Place


@dataclass(frozen=True)
class Name:
    text: str
    at: Place
    quoted: bool = False


@dataclass(frozen=True)
class String:
    text: str
    at: Place


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[ExprNode, ...]
    at: Place


@dataclass(frozen=True)
class Access:
    """`x[i, j | guard]`"""

    buffer: Name
    indices: tuple[ExprNode, ...]
    guard: ExprNode | None
    at: Place


@dataclass(frozen=True)
class Infix:
    op: str
    x: ExprNode
    y: ExprNode
    at: Place


@dataclass(frozen=True)
class Prefix:
    op: str
    x: ExprNode
    at: Place


@dataclass(frozen=True)
class AxisNode:
    name: Name
    extent: ExprNode


@dataclass(frozen=True)
class Reduction:
    kind: str
    axes: tuple[AxisNode, ...]
    guard: ExprNode | None
    body: ExprNode
    at: Place


@dataclass(frozen=True)
class FormulaNode:
    axes: tuple[AxisNode, ...]
    value: ExprNode
    at: Place


@dataclass(frozen=True)
class ListNode:
    items: tuple[ValueNode, ...]
    at: Place


@dataclass(frozen=True)
class Data:
    """`base64 "AAAA"`: bytes as text."""

    encoding: str
    text: str
    at: Place


@dataclass(frozen=True)
class TypeNode:
    dtype: Name
    shape: tuple[ExprNode, ...]
    at: Place


@dataclass(frozen=True)
class SpanNode:
    text: str
    at: Place


@dataclass(frozen=True)
class AttributeNode:
    name: Name
    value: ValueNode
    at: Place


ExprNode = Number | Name | Call | Access | Infix | Prefix | Reduction
ValueNode = ExprNode | FormulaNode | String | ListNode | Data

_INFIX = {text: op for op, (text, _) in INFIX.items()}


def place(meta: Meta | Token) -> Place:
    """Where a rule or token stands."""
    if isinstance(meta, Meta) and meta.empty:
        return Place(1, 1, 1, 1)
    line, column = meta.line or 1, meta.column or 1
    return Place(line, column, meta.end_line or line, meta.end_column or column + 1)


def name_of(token: Token) -> Name:
    """A NAME token, out of its backquotes."""
    text = str(token)
    quoted = text.startswith("`")
    return Name(text[1:-1] if quoted else text, place(token), quoted)


@v_args(meta=True)
class ExpressionBuilder(Transformer[Any, Any]):
    """Rules of `expressions.lark` to nodes. The graph's and the loops' builders extend it."""

    def infix(self, meta: Meta, children: list[Any]) -> Infix:
        return Infix(_INFIX[str(children[1])], children[0], children[2], place(meta))

    def prefix(self, meta: Meta, children: list[Any]) -> Prefix:
        op = "neg" if str(children[0]) == "-" else "not"
        return Prefix(op, children[1], place(meta))

    def number(self, meta: Meta, children: list[Any]) -> Number:
        return Number(str(children[0]), place(meta))

    def name(self, meta: Meta, children: list[Any]) -> Name:
        return name_of(children[0])

    def call(self, meta: Meta, children: list[Any]) -> Call:
        return Call(str(children[0]), children[1] or (), place(meta))

    def load(self, meta: Meta, children: list[Any]) -> Access:
        return Access(name_of(children[0]), children[1] or (), children[2], place(meta))

    def reduction(self, meta: Meta, children: list[Any]) -> Reduction:
        kind, axes, _, guard, body = children
        return Reduction(str(kind), axes, guard, body, place(meta))

    def axis(self, meta: Meta, children: list[Any]) -> AxisNode:
        return AxisNode(name_of(children[0]), children[1])

    def formula(self, meta: Meta, children: list[Any]) -> FormulaNode:
        return FormulaNode(children[0] or (), children[1], place(meta))

    def type(self, meta: Meta, children: list[Any]) -> TypeNode:
        return TypeNode(name_of(children[0]), children[1] or (), place(meta))

    def span(self, meta: Meta, children: list[Any]) -> SpanNode:
        return SpanNode(str(children[0]), place(meta))

    def string(self, meta: Meta, children: list[Any]) -> String:
        return String(unquote(children[0]), place(meta))

    def list(self, meta: Meta, children: list[Any]) -> ListNode:
        return ListNode(children[0] or (), place(meta))

    def data(self, meta: Meta, children: list[Any]) -> Data:
        return Data(str(children[0]), unquote(children[1]), place(meta))

    def attribute(self, meta: Meta, children: list[Any]) -> AttributeNode:
        return AttributeNode(name_of(children[0]), children[1], place(meta))

    def source(self, meta: Meta, children: list[Any]) -> tuple[str, str]:
        return name_of(children[0]).text, unquote(children[1])

    def _tuple(self, meta: Meta, children: list[Any]) -> tuple[Any, ...]:
        return tuple(child for child in children if child is not None)

    exprs = axes = values = attributes = _tuple

    def sources(self, meta: Meta, children: list[Any]) -> dict[str, str]:
        return dict(child for child in children if child is not None)


def unquote(literal: str) -> str:
    """The text of a string literal; escapes that JSON does not know stay as they are."""
    try:
        return str(json.loads(literal, strict=False))
    except ValueError:
        return literal[1:-1]


# Terminals of the grammars, as a person would say them.
_TERMS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "VALUE": "a value such as `%x`",
    "SPAN": "a span such as `@file:1:2-5`",
    "GLOBAL": "a name such as `@main`",
    "COMPARE": "a comparison",
    "$END": "the end",
}
_OPERATORS = ("PLUS", "MINUS", "STAR", "FLOOR", "SLASH", "MOD", "AND", "OR", "XOR", "COMPARE")


class Parser:
    """A grammar file (on top of the shared one) with its builder, made once."""

    def __init__(self, grammar: str, builder: ExpressionBuilder, start: Sequence[str]) -> None:
        folder = Path(__file__).parent
        texts = [(folder / "expressions.lark").read_text("utf-8")]
        if grammar:
            texts.append((folder / grammar).read_text("utf-8"))
        self.lark = Lark(
            "\n".join(texts),
            parser="lalr",
            start=list(start),
            propagate_positions=True,
            maybe_placeholders=True,
        )
        self.builder = builder
        self.terminals = {terminal.name: terminal.pattern for terminal in self.lark.terminals}

    def parse(self, text: str, start: str, file: str) -> Any:
        """What the builder makes of `text`. Raises UserError."""
        try:
            return self.builder.transform(self.lark.parse(text, start=start))
        except UnexpectedInput as error:
            raise self._mistake(error, text, file) from None
        except (VisitError, RecursionError) as error:
            if isinstance(error, VisitError) and not isinstance(error.orig_exc, RecursionError):
                raise error.orig_exc from None
            message = "the text is nested too deeply"
            raise mistake(file, text, Place(1, 1, 1, 2), "SW0901", message) from None

    def _mistake(self, error: UnexpectedInput, text: str, file: str) -> UserError:
        if isinstance(error, UnexpectedCharacters):
            found, expected = f"`{text[error.pos_in_stream or 0]}`", error.allowed or set()
            at = Place(error.line, error.column, error.line, error.column + 1)
        else:
            assert isinstance(error, UnexpectedToken)
            token, expected = error.token, error.expected or set()
            found, at = f"`{token}`", place(token)
            if token.type == "$END":
                lines = text.split("\n")
                found, at = "the end of the text", Place(len(lines), len(lines[-1]) + 1, len(lines), len(lines[-1]) + 2)  # fmt: skip
        message = f"unexpected {found}; expected {self._expectation(expected)}"
        return mistake(file, text, at, "SW0901", message)

    def _expectation(self, expected: Iterable[str]) -> str:
        left = set(expected) - {"COMMENT", "REMARK"}
        operators = left & set(_OPERATORS)
        if len(operators) > 3:
            left -= operators
        words = sorted({self._word(name) for name in left}, key=lambda word: (word[0] == "`", word))
        if len(operators) > 3:
            words.append("an operator")
        return alternatives(words)

    def _word(self, terminal: str) -> str:
        if terminal in _TERMS:
            return _TERMS[terminal]
        pattern = self.terminals.get(terminal)
        return f"`{pattern.value}`" if pattern is not None else terminal.lower()


def alternatives(words: Sequence[str]) -> str:
    """`a, b or c`."""
    words = list(words) or ["nothing more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


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
            self.fail(node.at, "SW0903", f"`{short}` is not among the sources", did_you_mean(short, self.files))  # fmt: skip
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
            self.fail(node.at, "SW0904", f"a subscript is i64, this is {expr.dtype}", "cast it: `i64(...)`")  # fmt: skip
        return expr

    def condition(self, node: ExprNode, scope: Scope) -> Expr:
        """An expression that must be bool."""
        expr = self.expr(node, scope)
        if expr.dtype != BOOL:
            self.fail(node.at, "SW0904", f"a condition is bool, this is {expr.dtype}")
        return expr

    def _unary(self, op: str, x: Expr, at: Place) -> Expr:
        floats = op in scalar.FLOAT_UNARY or op in scalar.PREDICATES
        if (floats and not x.dtype.is_float) or (op == "not" and x.dtype.is_float) or (
            op in ("neg", "abs", "sign") and x.dtype.is_bool
        ):  # fmt: skip
            self.fail(at, "SW0904", f"{op} does not take {x.dtype}")
        return scalar.Unary(op, x)

    def _binary(self, op: str, x: Expr, y: Expr, at: Place) -> Expr:
        if x.dtype != y.dtype:
            shown = INFIX[op][0] if op in INFIX else op
            self.fail(at, "SW0904", f"the operands of {shown} differ: {x.dtype} and {y.dtype}")
        logic = op in scalar.LOGIC
        if (logic and x.dtype.is_float) or (op in scalar.ARITHMETIC and x.dtype.is_bool and op not in ("min", "max")) or (op == "div" and not x.dtype.is_float):  # fmt: skip
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
            self.fail(node.at, "SW0904", f"{name} takes {arity} argument{'s' * (arity > 1)}, not {given}")  # fmt: skip
        arguments = [self._expr(argument, scope) for argument in node.arguments]
        if name in BY_NAME:
            return scalar.Cast(arguments[0], BY_NAME[name])
        if name == "select":
            return self._select(node, arguments)
        if arity == 2:
            return self._binary(name, *arguments, at=node.at)
        return self._unary(name, arguments[0], node.at)

    def _select(self, node: Call, arguments: Sequence[Expr]) -> Expr:
        condition, x, y = arguments
        if condition.dtype != BOOL:
            self.fail(node.arguments[0].at, "SW0904", f"select chooses by bool, this is {condition.dtype}")  # fmt: skip
        if x.dtype != y.dtype:
            self.fail(node.at, "SW0904", f"select's values differ: {x.dtype} and {y.dtype}")
        return scalar.Select(condition, x, y)

    def _horizontal(self, node: Call, scope: Scope) -> Expr:
        match node.arguments:
            case (Name() as buffer,):
                dtype = self.buffer(buffer, scope)
                return scalar.Horizontal(node.function[1:], buffer.text, dtype)
        self.fail(node.at, "SW0904", f"{node.function} takes the name of a register array")


# Functions that are written as calls, and how many arguments they take.
_ARITY = {op: 1 for op in (*scalar.UNARY, *BY_NAME) if op != "not"}
_ARITY |= {"max": 2, "min": 2, "pow": 2, "select": 3}


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


@cache
def _expression_parser() -> Parser:
    return Parser("", ExpressionBuilder(visit_tokens=False), ("expr", "formula", "type"))


def _read(text: str, start: str, file: str) -> tuple[Any, Resolver]:
    return _expression_parser().parse(text, start, file), Resolver(file, text)


def parse_expr(text: str, scope: Scope, file: str = "<expression>") -> Expr:
    """One expression. Raises UserError."""
    node, resolver = _read(text, "expr", file)
    return resolver.expr(node, scope)


def parse_formula(text: str, scope: Scope, file: str = "<formula>") -> Formula:
    """One formula; the scope gives the dtypes of the operands. Raises UserError."""
    node, resolver = _read(text, "formula", file)
    return resolver.formula(node, scope)


def parse_dim(text: str, file: str = "<size>") -> Dim:
    """One size. Raises UserError."""
    node, resolver = _read(text, "expr", file)
    return resolver.dim(node)


def parse_type(text: str, file: str = "<type>") -> TensorType:
    """One tensor type. Raises UserError."""
    node, resolver = _read(text, "type", file)
    return resolver.type(node)
