"""What an expression's text is before names have meanings: nodes, each with its place.

In: Lark's tree for `expressions.lark`. Out: the records below, by `ExpressionBuilder`, which the
graph's and the loops' builders extend.

    "x[i] + 1"  →  Infix("add", Access(Name("x"), (Name("i"),), None), Number("1"))
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lark import Token, Transformer
from lark.tree import Meta
from lark.visitors import v_args

from stepwell.ir.text import INFIX


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


Children = list[Any]
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

    def infix(self, meta: Meta, children: Children) -> Infix:
        return Infix(_INFIX[str(children[1])], children[0], children[2], place(meta))

    def prefix(self, meta: Meta, children: Children) -> Prefix:
        op = "neg" if str(children[0]) == "-" else "not"
        return Prefix(op, children[1], place(meta))

    def number(self, meta: Meta, children: Children) -> Number:
        return Number(str(children[0]), place(meta))

    def name(self, meta: Meta, children: Children) -> Name:
        return name_of(children[0])

    def call(self, meta: Meta, children: Children) -> Call:
        return Call(str(children[0]), children[1] or (), place(meta))

    def load(self, meta: Meta, children: Children) -> Access:
        return Access(name_of(children[0]), children[1] or (), children[2], place(meta))

    def reduction(self, meta: Meta, children: Children) -> Reduction:
        kind, axes, _, guard, body = children
        return Reduction(str(kind), axes, guard, body, place(meta))

    def axis(self, meta: Meta, children: Children) -> AxisNode:
        return AxisNode(name_of(children[0]), children[1])

    def formula(self, meta: Meta, children: Children) -> FormulaNode:
        return FormulaNode(children[0] or (), children[1], place(meta))

    def type(self, meta: Meta, children: Children) -> TypeNode:
        return TypeNode(name_of(children[0]), children[1] or (), place(meta))

    def span(self, meta: Meta, children: Children) -> SpanNode:
        return SpanNode(str(children[0]), place(meta))

    def string(self, meta: Meta, children: Children) -> String:
        return String(unquote(children[0]), place(meta))

    def list(self, meta: Meta, children: Children) -> ListNode:
        return ListNode(children[0] or (), place(meta))

    def data(self, meta: Meta, children: Children) -> Data:
        return Data(str(children[0]), unquote(children[1]), place(meta))

    def attribute(self, meta: Meta, children: Children) -> AttributeNode:
        return AttributeNode(name_of(children[0]), children[1], place(meta))

    def source(self, meta: Meta, children: Children) -> tuple[str, str]:
        return name_of(children[0]).text, unquote(children[1])

    def _tuple(self, meta: Meta, children: Children) -> tuple[Any, ...]:
        return tuple(child for child in children if child is not None)

    exprs = axes = values = attributes = _tuple

    def sources(self, meta: Meta, children: Children) -> dict[str, str]:
        return dict(child for child in children if child is not None)


def unquote(literal: str) -> str:
    """The text of a string literal; escapes that JSON does not know stay as they are."""
    try:
        return str(json.loads(literal, strict=False))
    except ValueError:
        return literal[1:-1]
