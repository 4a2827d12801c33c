"""The syntax tree: frozen records, each with the span of source that it was read from.

    let h = x @ w + b   →   Let((Binding("h"),), Binary("+", Binary("@", x, w), b))

    module     ::= Module(file, uses, functions)
    function   ::= Function(kind, name, formals, results, body, gradient)
                   kind: fn, layer, model, train, optimizer
    statement  ::= Let | Param | State | Metric | Repeat | Assign | expression
    expression ::= Name | Number | Boolean | String | ListOf | TupleOf | If
                 | Unary | Binary | Comparison | Pipe | Call | Attribute | Index
                 | Notation | Reduction

The order of fields is the order in the source. `Notation` is index notation, `[i, j] -> …`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stepwell.ir.span import Span


@dataclass(frozen=True)
class Node:
    """Anything with a place in the source; the span takes no part in comparisons."""

    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Name(Node):
    name: str


@dataclass(frozen=True)
class Number(Node):
    """A literal; `text` is as written."""

    value: int | float
    text: str


@dataclass(frozen=True)
class Boolean(Node):
    value: bool


@dataclass(frozen=True)
class String(Node):
    value: str


@dataclass(frozen=True)
class ListOf(Node):
    items: tuple[Expr, ...]


@dataclass(frozen=True)
class TupleOf(Node):
    items: tuple[Expr, ...]


@dataclass(frozen=True)
class Unary(Node):
    """`op` is `-` or `not`."""

    op: str
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    """`op` is one of + - * / // % @ ** and or; `op_span` is the sign's own place."""

    op: str
    left: Expr
    right: Expr
    op_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Comparison(Node):
    """`a < b <= c`: one more operand than operators; all must hold."""

    operands: tuple[Expr, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True)
class Pipe(Node):
    """`value |> target`: the target is a function, or a call that lacks its first argument."""

    value: Expr
    target: Expr


@dataclass(frozen=True)
class Named(Node):
    """A named argument, `units: 10`."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Call(Node):
    function: Expr
    arguments: tuple[Expr, ...]
    named: tuple[Named, ...]


@dataclass(frozen=True)
class Attribute(Node):
    base: Expr
    name: str


@dataclass(frozen=True)
class Slice(Node):
    """`start:stop:step` in a subscript; any part may be missing."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True)
class Ellipsis(Node):
    """`...` in a subscript: as many whole axes as are left."""


@dataclass(frozen=True)
class Index(Node):
    base: Expr
    subscripts: tuple[Expr | Slice | Ellipsis, ...]


@dataclass(frozen=True)
class AxisDecl(Node):
    """An index of a formula or reduction, with its size where that is declared."""

    name: str
    size: Expr | None


@dataclass(frozen=True)
class Notation(Node):
    """`[axes] -> body`."""

    axes: tuple[AxisDecl, ...]
    body: Expr


@dataclass(frozen=True)
class Reduction(Node):
    """`kind[axes where guard] body`."""

    kind: str
    axes: tuple[AxisDecl, ...]
    guard: Expr | None
    body: Expr


@dataclass(frozen=True)
class If(Node):
    condition: Expr
    then: Block
    otherwise: Block | None


Expr = (
    Name
    | Number
    | Boolean
    | String
    | ListOf
    | TupleOf
    | Unary
    | Binary
    | Comparison
    | Pipe
    | Call
    | Attribute
    | Index
    | Notation
    | Reduction
    | If
)


@dataclass(frozen=True)
class Pack(Node):
    """`..S` in a type: any number of dimensions."""

    name: str


@dataclass(frozen=True)
class TypeRef(Node):
    """`f32[N, ..S]`; `dims` is None for a bare name such as `int`, `f32` or `fn`."""

    name: str
    dims: tuple[Expr | Pack, ...] | None


@dataclass(frozen=True)
class Binding(Node):
    name: str
    type: TypeRef | None


@dataclass(frozen=True)
class Let(Node):
    bindings: tuple[Binding, ...]
    value: Expr


@dataclass(frozen=True)
class Param(Node):
    name: str
    type: TypeRef
    initializer: Expr | None


@dataclass(frozen=True)
class State(Node):
    """`state name: type = initializer`; in an optimizer the type is the parameter's if absent."""

    name: str
    type: TypeRef | None
    initializer: Expr | None


@dataclass(frozen=True)
class Metric(Node):
    """`metric name = value`, in a train block."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Assign(Node):
    """A new value for an existing binding, for a state, or a setting of a train block."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Repeat(Node):
    count: Expr
    index: str | None
    body: Block


Statement = Let | Param | State | Metric | Assign | Repeat | Expr


@dataclass(frozen=True)
class Block(Node):
    """Statements; the last one, where it is an expression, is the block's value."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Formal(Node):
    """A formal argument of a function."""

    name: str
    type: TypeRef
    default: Expr | None


@dataclass(frozen=True)
class Result(Node):
    name: str | None
    type: TypeRef


@dataclass(frozen=True)
class OwnGradient(Node):
    """`gradient(dy) { … }` after a function: names of the results' cotangents, the arguments'."""

    cotangents: tuple[str, ...]
    body: Block


@dataclass(frozen=True)
class Function(Node):
    """What a file declares, of any kind; `head` spans from the keyword to the result type."""

    kind: str
    name: str
    formals: tuple[Formal, ...]
    results: tuple[Result, ...]
    body: Block
    gradient: OwnGradient | None
    head: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Use(Node):
    """`use nn`, or `use "layers.well" as my`: `alias` is the name it gets."""

    target: str
    alias: str
    is_file: bool


@dataclass(frozen=True)
class Module(Node):
    file: str
    uses: tuple[Use, ...]
    functions: tuple[Function, ...]
