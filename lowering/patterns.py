"""Patterns over operators, as text: what rewrite rules are made of.

    mul(?x, 1)                                     `?x` is any value; 1 a constant of that value
    div(?x, #c)                                    `#c` is any constant: its number
    transpose(?x){permutation = p}                 `p` is the attribute
    mul(?x, #reciprocal(c))                        in replacements: functions of what was matched

In: text. Out: terms that can be matched against the ops of a graph, and built. Constants here are
single numbers for a whole shape, never arrays. The sign of a zero counts; `0` is the positive one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepwell.ir.dtypes import BOOL
from stepwell.ir.graph.builder import Builder
from stepwell.ir.graph.core import Op, Value, attribute_key
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

COMMUTATIVE = frozenset({"add", "mul", "min", "max", "eq", "ne", "and", "or", "xor"})

Bindings = Mapping[str, Any]  # "?x": a Value; "c", "p": a number, an attribute


@dataclass(frozen=True)
class Capture:
    """`?x`: any value; the same one wherever the name comes again."""

    name: str


@dataclass(frozen=True)
class Number:
    """A constant: a literal, or `#` and a name or function."""

    value: float | int | bool | Formula


@dataclass(frozen=True)
class Name:
    """An attribute or number that was matched."""

    name: str


@dataclass(frozen=True)
class Apply:
    """A function of what was matched; its arguments may be values (`?x`)."""

    function: str
    arguments: tuple[Formula | Capture, ...]


Formula = Name | Apply


@dataclass(frozen=True)
class Call:
    """An operator with some of its attributes."""

    op: str
    arguments: tuple[Term, ...]
    attributes: tuple[tuple[str, Formula], ...] = ()


Term = Capture | Number | Call


# ------------------------------------------------------------------------------------ text

_TOKEN = re.compile(r"\s*(->|-?\d+(?:\.\d*)?(?:e-?\d+)?|[A-Za-z_]\w*|[?#(){},=])")


def parse_rule(text: str) -> tuple[Term, Term]:
    """The two sides of `pattern -> replacement`. Raises ValueError."""
    left, arrow, right = text.partition("->")
    if not arrow:
        raise ValueError(f"no `->` in {text!r}")
    return parse_term(left), parse_term(right)


def parse_term(text: str) -> Term:
    """One side of a rule. Raises ValueError."""
    reader = _Reader(text)
    term = reader.term()
    reader.expect("")
    return term


def parse_formula(text: str) -> Formula:
    """A function of what was matched: a rule's condition. Raises ValueError."""
    reader = _Reader(text)
    formula = reader.formula()
    reader.expect("")
    return formula


class _Reader:
    """Recursive descent; a method for each kind of phrase."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _TOKEN.findall(text)
        if "".join(self.tokens) != re.sub(r"\s", "", text):
            raise ValueError(f"cannot read {text!r}")
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def expect(self, token: str) -> None:
        if self.next() != token:
            raise ValueError(f"expected {token or 'the end'!r} in {self.text!r}")

    def accept(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self.position += 1
        return True

    def term(self) -> Term:
        if self.accept("?"):
            return Capture(self.next())
        if self.accept("#"):
            return Number(self.formula())
        token = self.next()
        if token in ("true", "false"):
            return Number(token == "true")
        if token[:1].isdigit() or token[:1] == "-":
            return Number(int(token) if re.fullmatch(r"-?\d+", token) else float(token))
        self.expect("(")
        arguments = self.items(self.term, ")")
        attributes = self.items(self.attribute, "}") if self.accept("{") else ()
        return Call(token, arguments, attributes)

    def attribute(self) -> tuple[str, Formula]:
        name = self.next()
        self.expect("=")
        return name, self.formula()

    def formula(self) -> Formula:
        name = self.next()
        return Apply(name, self.items(self.argument, ")")) if self.accept("(") else Name(name)

    def argument(self) -> Formula | Capture:
        return Capture(self.next()) if self.accept("?") else self.formula()

    def items(self, item: Callable[[], Any], end: str) -> tuple[Any, ...]:
        found: list[Any] = []
        while not self.accept(end):
            found.append(item())
            if self.peek() != end:
                self.expect(",")
        return tuple(found)


# -------------------------------------------------------------------------------- matching


def match(
    term: Term, value: Value, producer: Callable[[Value], Op | None], bound: Bindings
) -> Iterator[Bindings]:
    """Every way in which the term is how `value` is computed."""
    match term:
        case Capture(name=name):
            yield from _bind(f"?{name}", value, bound)
        case Number(value=wanted):
            op = producer(value)
            number = None if op is None else _number(op)
            if number is None:
                return
            if isinstance(wanted, Name):
                yield from _bind(wanted.name, number, bound)
            elif _same_number(wanted, number):
                yield bound
        case Call():
            op = producer(value)
            if op is not None:
                yield from match_op(term, op, producer, bound)


def match_op(
    term: Call, op: Op, producer: Callable[[Value], Op | None], bound: Bindings
) -> Iterator[Bindings]:
    """Every way in which the term is the op."""
    if op.name != term.op or len(op.operands) != len(term.arguments) or op.regions:
        return
    orders = [op.operands]
    if op.name in COMMUTATIVE and len(op.operands) == 2:
        orders.append(op.operands[::-1])
    for operands in orders:
        for found in _match_all(term.arguments, operands, producer, bound):
            yield from _bind_attributes(term, op, found)


def _match_all(
    terms: Sequence[Term],
    values: Sequence[Value],
    producer: Callable[[Value], Op | None],
    bound: Bindings,
) -> Iterator[Bindings]:
    if not terms:
        yield bound
        return
    for found in match(terms[0], values[0], producer, bound):
        yield from _match_all(terms[1:], values[1:], producer, found)


def _bind_attributes(term: Call, op: Op, bound: Bindings) -> Iterator[Bindings]:
    for name, formula in term.attributes:
        if not isinstance(formula, Name):
            raise ValueError(f"a pattern's attribute {name} must be a name")
        bindings = list(_bind(formula.name, op.attributes[name], bound))
        if not bindings:
            return
        (bound,) = bindings
    yield bound


def _bind(name: str, value: Any, bound: Bindings) -> Iterator[Bindings]:
    if name not in bound:
        yield {**bound, name: value}
    elif attribute_key(bound[name]) == attribute_key(value):
        yield bound


def _number(op: Op) -> float | int | bool | None:
    value: float | int | bool | np.ndarray[Any, Any] = op.attributes.get("value", 0)
    return None if op.name != "constant" or isinstance(value, np.ndarray) else value


def _same_number(wanted: object, number: float | int | bool) -> bool:
    """Equality with the sign of zeros; true and false are no numbers."""
    if isinstance(wanted, bool) or isinstance(number, bool):
        return wanted is number
    same = isinstance(wanted, (int, float)) and wanted == number
    return same and np.signbit(float(number)) == np.signbit(float(str(wanted)))


# -------------------------------------------------------------------------------- building


def build(
    term: Term,
    bound: Bindings,
    builder: Builder,
    type: TensorType,
    functions: Mapping[str, Callable[..., Any]],
    hint: str | None = None,
    span: Span | None = None,
) -> Value:
    """The value of a term. Constants in it get the given type (true and false its shape)."""
    match term:
        case Capture(name=name):
            value: Value = bound[f"?{name}"]
            return value
        case Number(value=number):
            if isinstance(number, (Name, Apply)):
                number = evaluate(number, bound, functions)
            dtype = BOOL if isinstance(number, bool) else type.dtype
            if dtype.is_float:
                number = float(str(number))
            return builder.op(
                "constant", (), hint=hint, span=span, value=number, dtype=dtype, shape=type.shape
            )
        case Call():
            operands = [
                build(argument, bound, builder, type, functions, None, span)
                for argument in term.arguments
            ]
            attributes = {
                name: evaluate(formula, bound, functions) for name, formula in term.attributes
            }
            return builder.op(term.op, operands, hint=hint, span=span, **attributes)


def evaluate(formula: Formula, bound: Bindings, functions: Mapping[str, Callable[..., Any]]) -> Any:
    """The value of a function of what was matched."""
    if isinstance(formula, Name):
        return bound[formula.name]
    arguments = [
        bound[f"?{a.name}"] if isinstance(a, Capture) else evaluate(a, bound, functions)
        for a in formula.arguments
    ]
    return functions[formula.function](*arguments)
