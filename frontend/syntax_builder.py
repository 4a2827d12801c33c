"""Lark's parse tree to the frozen syntax tree. One method per grammar rule or alias.

Tree("binary", [x, Token("*"), y])  →  Binary("*", x, y), with the span of the whole
"""

from __future__ import annotations

from typing import Any

from lark import Token, Transformer, v_args
from lark.tree import Meta

from stepwell.frontend import syntax as s
from stepwell.ir.span import Span


@v_args(meta=True, inline=True)
class SyntaxBuilder(Transformer[Token, s.Module]):
    """Builds the tree of one file."""

    def __init__(self, file: str) -> None:
        super().__init__(visit_tokens=False)
        self.file = file

    def span(self, meta: Meta) -> Span:
        if meta.empty:
            return Span(self.file, 1, 1, 1, 1)
        return Span(self.file, meta.line, meta.column, meta.end_line, meta.end_column)

    def token(self, token: Token) -> Span:
        return token_span(token, self.file)

    # declarations

    def start(self, meta: Meta, *declarations: s.Use | s.Function) -> s.Module:
        uses = tuple(d for d in declarations if isinstance(d, s.Use))
        functions = tuple(d for d in declarations if isinstance(d, s.Function))
        return s.Module(self.span(meta), self.file, uses, functions)

    def use_library(self, meta: Meta, name: Token) -> s.Use:
        return s.Use(self.span(meta), str(name), str(name), False)

    def use_file(self, meta: Meta, path: Token, alias: Token | None) -> s.Use:
        target = str(path)[1:-1]
        stem = target.rsplit("/", 1)[-1].removesuffix(".well")
        return s.Use(self.span(meta), target, str(alias) if alias else stem, True)

    def kind(self, meta: Meta, token: Token) -> Token:
        return token

    def function(self, meta: Meta, kind: Token, name: Token, *rest: Any) -> s.Function:
        formals, results, body, gradient = rest
        span = self.span(meta)
        end = results[-1].span if results else self.token(name)
        head = self.token(kind).to(end)
        if gradient is not None and kind != "fn":
            raise MisplacedError(
                gradient.span, f"a {kind} has no gradient of its own", "a `fn` can have one"
            )
        return s.Function(
            span,
            str(kind),
            str(name),
            tuple(formals or ()),
            tuple(results or ()),
            body,
            gradient,
            head,
        )

    def own_gradient(
        self, meta: Meta, word: Token, names: tuple[Token, ...] | None, body: s.Block
    ) -> s.OwnGradient:
        return s.OwnGradient(self.span(meta), tuple(map(str, names or ())), body)

    def names(self, meta: Meta, *names: Token) -> tuple[Token, ...]:
        return names

    def formals(self, meta: Meta, *formals: s.Formal) -> tuple[s.Formal, ...]:
        return formals

    def formal(self, meta: Meta, name: Token, type: Any, default: Any) -> s.Formal:
        return s.Formal(self.span(meta), str(name), type, default)

    def results(self, meta: Meta, *results: Any) -> tuple[s.Result, ...]:
        return tuple(r if isinstance(r, s.Result) else s.Result(r.span, None, r) for r in results)

    def result(self, meta: Meta, name: Token | None, type: s.TypeRef) -> s.Result:
        return s.Result(self.span(meta), str(name) if name else None, type)

    def bare_type(self, meta: Meta, name: Token) -> s.TypeRef:
        return s.TypeRef(self.span(meta), str(name), None)

    def tensor_type(self, meta: Meta, name: Token, dims: Any) -> s.TypeRef:
        return s.TypeRef(self.span(meta), str(name), tuple(dims or ()))

    def fn_type(self, meta: Meta) -> s.TypeRef:
        return s.TypeRef(self.span(meta), "fn", None)

    def layer_type(self, meta: Meta) -> s.TypeRef:
        return s.TypeRef(self.span(meta), "layer", None)

    def dims(self, meta: Meta, *dims: Any) -> tuple[Any, ...]:
        return dims

    def pack(self, meta: Meta, name: Token) -> s.Pack:
        return s.Pack(self.span(meta), str(name))

    # statements

    def block(self, meta: Meta, *statements: Any) -> s.Block:
        return s.Block(self.span(meta), tuple(x for x in statements if x is not None))

    def let(self, meta: Meta, *parts: Any) -> s.Let:
        return s.Let(self.span(meta), tuple(parts[:-1]), parts[-1])

    def binding(self, meta: Meta, name: Token, type: Any) -> s.Binding:
        return s.Binding(self.span(meta), str(name), type)

    def param(self, meta: Meta, name: Token, type: s.TypeRef, initializer: Any) -> s.Param:
        return s.Param(self.span(meta), str(name), type, initializer)

    def state(self, meta: Meta, name: Token, type: Any, initializer: Any) -> s.State:
        return s.State(self.span(meta), str(name), type, initializer)

    def metric(self, meta: Meta, name: Token, value: Any) -> s.Metric:
        return s.Metric(self.span(meta), str(name), value)

    def repeat(self, meta: Meta, count: Any, index: Token | None, body: s.Block) -> s.Repeat:
        return s.Repeat(self.span(meta), count, str(index) if index else None, body)

    def assign(self, meta: Meta, name: Token, value: Any) -> s.Assign:
        return s.Assign(self.span(meta), str(name), value)

    # expressions

    def binary(self, meta: Meta, left: Any, op: Token, right: Any) -> s.Binary:
        return s.Binary(self.span(meta), str(op), left, right, self.token(op))

    def unary(self, meta: Meta, op: Token, operand: Any) -> s.Unary:
        return s.Unary(self.span(meta), str(op), operand)

    def comparison(self, meta: Meta, *parts: Any) -> s.Comparison:
        return s.Comparison(self.span(meta), parts[0::2], tuple(map(str, parts[1::2])))

    def pipe(self, meta: Meta, value: Any, target: Any) -> s.Pipe:
        return s.Pipe(self.span(meta), value, target)

    def reduction(self, meta: Meta, kind: Token, axes: Any, guard: Any, body: Any) -> s.Reduction:
        return s.Reduction(self.span(meta), str(kind), tuple(axes or ()), guard, body)

    def axes(self, meta: Meta, *axes: s.AxisDecl) -> tuple[s.AxisDecl, ...]:
        return axes

    def axis(self, meta: Meta, name: Token, size: Any) -> s.AxisDecl:
        return s.AxisDecl(self.span(meta), str(name), size)

    def attribute(self, meta: Meta, base: Any, name: Token) -> s.Attribute:
        return s.Attribute(self.span(meta), base, str(name))

    def call(self, meta: Meta, function: Any, arguments: Any) -> s.Call:
        given = arguments or ()
        positional = tuple(a for a in given if not isinstance(a, s.Named))
        named = tuple(a for a in given if isinstance(a, s.Named))
        late = next((a for a in given[len(positional) :] if not isinstance(a, s.Named)), None)
        if late is not None:
            raise MisplacedError(
                late.span, "a positional argument after a named one", "put named arguments last"
            )
        return s.Call(self.span(meta), function, positional, named)

    def arguments(self, meta: Meta, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    def named(self, meta: Meta, name: Token, value: Any) -> s.Named:
        return s.Named(self.span(meta), str(name), value)

    def index(self, meta: Meta, base: Any, subscripts: Any) -> s.Index:
        return s.Index(self.span(meta), base, tuple(subscripts or ()))

    def subscripts(self, meta: Meta, *subscripts: Any) -> tuple[Any, ...]:
        return subscripts

    def slice(self, meta: Meta, start: Any, stop: Any, step: Any = None) -> s.Slice:
        return s.Slice(self.span(meta), start, stop, step)

    def ellipsis(self, meta: Meta) -> s.Ellipsis:
        return s.Ellipsis(self.span(meta))

    def name(self, meta: Meta, name: Token) -> s.Name:
        return s.Name(self.span(meta), str(name))

    def int(self, meta: Meta, text: Token) -> s.Number:
        if len(text) > 40:
            raise MisplacedError(
                self.span(meta), "this number is too large", "whole numbers have 64 bits"
            )
        return s.Number(self.span(meta), int(text), str(text))

    def float(self, meta: Meta, text: Token) -> s.Number:
        return s.Number(self.span(meta), float(text), str(text))

    def string(self, meta: Meta, text: Token) -> s.String:
        return s.String(self.span(meta), str(text)[1:-1])

    def true(self, meta: Meta) -> s.Boolean:
        return s.Boolean(self.span(meta), True)

    def false(self, meta: Meta) -> s.Boolean:
        return s.Boolean(self.span(meta), False)

    def group(self, meta: Meta, inner: Any) -> Any:
        return inner

    def tuple_of(self, meta: Meta, *items: Any) -> s.TupleOf:
        return s.TupleOf(self.span(meta), items)

    def list_of(self, meta: Meta, brackets: tuple[Any, ...]) -> s.ListOf:
        for _, size in brackets:
            if size is not None:
                raise MisplacedError(
                    size.span,
                    "a list has no sizes: `[i: N]` is index notation",
                    "write `[i: N] -> …`",
                )
        return s.ListOf(self.span(meta), tuple(value for value, _ in brackets))

    def formula(self, meta: Meta, brackets: tuple[Any, ...], body: Any) -> s.Notation:
        axes = []
        for value, size in brackets:
            if not isinstance(value, s.Name):
                raise MisplacedError(
                    value.span, "an index is a plain name", "write index notation as `[i, j] -> …`"
                )
            span = value.span if size is None else value.span.to(size.span)
            axes.append(s.AxisDecl(span, value.name, size))
        return s.Notation(self.span(meta), tuple(axes), body)

    def brackets(self, meta: Meta, *items: Any) -> tuple[Any, ...]:
        pairs = ((item, None) if isinstance(item, s.Pack) else item for item in items)
        return tuple(pair for pair in pairs if pair is not None)

    def item(self, meta: Meta, value: Any, size: Any) -> tuple[Any, Any]:
        return value, size

    def if_(self, meta: Meta, condition: Any, then: s.Block, otherwise: Any) -> s.If:
        if isinstance(otherwise, s.If):
            otherwise = s.Block(otherwise.span, (otherwise,))
        return s.If(self.span(meta), condition, then, otherwise)


setattr(SyntaxBuilder, "if", SyntaxBuilder.if_)


class MisplacedError(Exception):
    """Well-formed for the grammar, but not a program: where, what, and a hint."""

    def __init__(self, span: Span, message: str, help: str) -> None:
        self.span, self.message, self.help = span, message, help
        super().__init__(message)


def token_span(token: Token, file: str) -> Span:
    """The span of one token."""
    line, column = token.line or 1, token.column or 1
    return Span(file, line, column, token.end_line or line, token.end_column or column + len(token))
