"""Reading text: a Lark grammar with its builder, and the entry points for expressions.

In: text. First a LALR grammar (`expressions.lark`, with the graph's or the loops' grammar appended)
gives nodes (`syntax.py`), then a `Resolver` (`resolve.py`) gives records.

    parse_expr("x[i] + 1.0", Scope({"i": I64}, {"x": F32}))  →  Binary("add", Load(…), Const(1.0))

Every mistake is a `UserError` with a span: no error of Lark gets out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from stepwell.ir.diagnostics import UserError
from stepwell.ir.resolve import Resolver, Scope, mistake
from stepwell.ir.scalar import Expr, Formula
from stepwell.ir.size import Dim
from stepwell.ir.syntax import ExpressionBuilder, Place, place
from stepwell.ir.types import TensorType

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
                line, column = len(lines), len(lines[-1]) + 1
                found, at = "the end of the text", Place(line, column, line, column + 1)
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
