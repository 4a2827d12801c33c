"""The algebraic rules of `canonicalize`: data on both sides.

    Rule(EXACT, "mul(?x, 1) -> ?x", on="number")

`EXACT` rules keep every bit: signed zeros, infinities and NaN included (which NaN is not
specified). Of `pow`, the result is defined to 2 ulp only, and a product is within that. `REAL`
rules hold for real numbers, not for rounding and the edges: they are for fast maths only. Every
rule shrinks `weight` whatever its captures weigh, so rewriting ends; a test checks each for that
and for truth on its tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from stepwell.ir.dtypes import DType
from stepwell.ir.scalar import COST
from stepwell.lowering.patterns import (
    Apply,
    Call,
    Capture,
    Formula,
    Number,
    Term,
    parse_formula,
    parse_rule,
)

Tag = Literal["EXACT", "REAL"]
Domain = Literal["float", "int", "bool", "number", "signed", "any"]
EXACT: Tag = "EXACT"
REAL: Tag = "REAL"


@dataclass(frozen=True)
class Rule:
    """`text` is `pattern -> replacement`; `on` says for which element types of `?x` it holds.

    `where` are conditions on what was matched. `sample` makes an instance for the tests: shapes of
    values (`x`), numbers and attributes (`c`, `p`); what it leaves out has a default.
    """

    tag: Tag
    text: str
    on: Domain = "any"
    where: tuple[str, ...] = ()
    sample: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def sides(self) -> tuple[Call, Term]:
        """The pattern and the replacement."""
        pattern, replacement = parse_rule(self.text)
        if not isinstance(pattern, Call):
            raise ValueError(f"the pattern of {self.text!r} is no operator")
        return pattern, replacement

    @cached_property
    def conditions(self) -> tuple[Formula, ...]:
        return tuple(parse_formula(text) for text in self.where)


def holds_for(rule: Rule, dtype: DType) -> bool:
    """Whether the rule is meant for values of the element type."""
    match rule.on:
        case "any":
            return True
        case "number":
            return not dtype.is_bool
        case "signed":
            return dtype.signed and not dtype.is_bool
    return dtype.kind == rule.on


Weight = Mapping[str, int]  # by capture; "" is the constant part


def weight(term: Term) -> Weight:
    """The measure that rules shrink, linear in the weights of the captures (each at least 1).

    An operator weighs more than its operands; mul and div double them, so that moving a factor
    inwards shrinks, and pow is heavier than the products that it can become.
    """
    if not isinstance(term, Call):
        return {term.name: 1} if isinstance(term, Capture) else {"": 1}
    scale = {"mul": 2, "div": 2, "pow": 16}.get(term.op, 1)
    total = {"": 1 + COST.get(term.op, 1)}
    for argument in term.arguments:
        for name, count in weight(argument).items():
            total[name] = total.get(name, 0) + scale * count
    return total


def shrinks(rule: Rule) -> bool:
    """Whether the replacement weighs less than the pattern, whatever the captures weigh."""
    pattern, replacement = (weight(side) for side in rule.sides)
    names = (pattern.keys() | replacement.keys()) - {""}
    gains = [pattern.get(name, 0) - replacement.get(name, 0) for name in names]
    rest = pattern.get("", 0) - replacement.get("", 0)
    return all(gain >= 0 for gain in gains) and rest + sum(gains) > 0


def functions_used(rule: Rule) -> frozenset[str]:
    """Names of the functions in the rule's conditions and replacement."""
    found: set[str] = set()

    def visit(item: object) -> None:
        match item:
            case Apply(function=function, arguments=arguments):
                found.add(function)
                for argument in arguments:
                    visit(argument)
            case Number(value=value):
                visit(value)
            case Call(arguments=terms, attributes=attributes):
                for term in terms:
                    visit(term)
                for _, formula in attributes:
                    visit(formula)

    for part in (*rule.sides, *rule.conditions):
        visit(part)
    return frozenset(found)


_ARITHMETIC = (
    Rule(EXACT, "add(?x, -0.0) -> ?x", "float"),
    Rule(EXACT, "add(?x, 0) -> ?x", "int"),
    Rule(REAL, "add(?x, 0.0) -> ?x", "float"),
    Rule(EXACT, "sub(?x, 0) -> ?x", "number"),
    Rule(EXACT, "sub(-0.0, ?x) -> neg(?x)", "float"),
    Rule(EXACT, "sub(0, ?x) -> neg(?x)", "int"),
    Rule(REAL, "sub(0.0, ?x) -> neg(?x)", "float"),
    Rule(EXACT, "sub(?x, ?x) -> 0", "int"),
    Rule(REAL, "sub(?x, ?x) -> 0", "float"),
    Rule(EXACT, "add(?x, neg(?y)) -> sub(?x, ?y)", "number"),
    Rule(EXACT, "sub(?x, neg(?y)) -> add(?x, ?y)", "number"),
    Rule(EXACT, "neg(neg(?x)) -> ?x", "number"),
    Rule(EXACT, "neg(sub(?x, ?y)) -> sub(?y, ?x)", "int"),
    Rule(REAL, "neg(sub(?x, ?y)) -> sub(?y, ?x)", "float"),
    Rule(EXACT, "mul(?x, 1) -> ?x", "number"),
    Rule(EXACT, "mul(?x, -1) -> neg(?x)", "signed"),
    Rule(EXACT, "mul(?x, 0) -> 0", "int"),
    Rule(REAL, "mul(?x, 0) -> 0", "float"),
    Rule(EXACT, "mul(neg(?x), neg(?y)) -> mul(?x, ?y)", "number"),
    Rule(EXACT, "div(neg(?x), neg(?y)) -> div(?x, ?y)", "float"),
    Rule(EXACT, "div(?x, 1) -> ?x", "float"),
    Rule(
        EXACT, "div(?x, #c) -> mul(?x, #reciprocal(c))", "float", ("power_of_two(c)",), {"c": 8.0}
    ),
    Rule(REAL, "div(?x, #c) -> mul(?x, #reciprocal(c))", "float", ("usual(c)",), {"c": 3.0}),
    Rule(EXACT, "floordiv(?x, 1) -> ?x", "int"),
    Rule(EXACT, "mod(?x, 1) -> 0", "int"),
    Rule(REAL, "add(add(?x, #c), #d) -> add(?x, #plus(c, d))", "float", (), {"c": 0.5, "d": 0.75}),
    Rule(REAL, "mul(mul(?x, #c), #d) -> mul(?x, #times(c, d))", "float", (), {"c": 0.5, "d": 0.7}),
    Rule(EXACT, "abs(abs(?x)) -> abs(?x)", "number"),
    Rule(EXACT, "abs(neg(?x)) -> abs(?x)", "signed"),
    Rule(EXACT, "max(?x, ?x) -> ?x", "any"),
    Rule(EXACT, "min(?x, ?x) -> ?x", "any"),
    Rule(EXACT, "pow(?x, 0) -> 1", "float"),
    Rule(EXACT, "pow(?x, 1) -> ?x", "float"),
    Rule(EXACT, "pow(?x, 2) -> mul(?x, ?x)", "float"),
    Rule(REAL, "pow(?x, 3) -> mul(mul(?x, ?x), ?x)", "float"),
    Rule(REAL, "pow(?x, 0.5) -> sqrt(?x)", "float"),
    Rule(REAL, "pow(?x, -1) -> div(1, ?x)", "float"),
    Rule(REAL, "div(1, sqrt(?x)) -> rsqrt(?x)", "float"),
    Rule(REAL, "sqrt(mul(?x, ?x)) -> abs(?x)", "float"),
    Rule(REAL, "log(exp(?x)) -> ?x", "float"),
    Rule(REAL, "exp(log(?x)) -> ?x", "float"),
    Rule(REAL, "mul(exp(?x), exp(?y)) -> exp(add(?x, ?y))", "float"),
)

_LOGIC = (
    Rule(EXACT, "not(not(?x)) -> ?x", "bool"),
    Rule(EXACT, "and(?x, ?x) -> ?x", "bool"),
    Rule(EXACT, "or(?x, ?x) -> ?x", "bool"),
    Rule(EXACT, "xor(?x, ?x) -> false", "bool"),
    Rule(EXACT, "and(?x, true) -> ?x", "bool"),
    Rule(EXACT, "and(?x, false) -> false", "bool"),
    Rule(EXACT, "or(?x, false) -> ?x", "bool"),
    Rule(EXACT, "or(?x, true) -> true", "bool"),
    Rule(EXACT, "xor(?x, false) -> ?x", "bool"),
    Rule(EXACT, "xor(?x, true) -> not(?x)", "bool"),
    Rule(EXACT, "eq(?x, ?x) -> true", "int"),
    Rule(EXACT, "le(?x, ?x) -> true", "int"),
    Rule(EXACT, "ge(?x, ?x) -> true", "int"),
    Rule(EXACT, "ne(?x, ?x) -> false", "int"),
    Rule(EXACT, "lt(?x, ?x) -> false", "number"),
    Rule(EXACT, "gt(?x, ?x) -> false", "number"),
    Rule(EXACT, "not(eq(?x, ?y)) -> ne(?x, ?y)", "number"),
    Rule(EXACT, "not(ne(?x, ?y)) -> eq(?x, ?y)", "number"),
    Rule(EXACT, "not(lt(?x, ?y)) -> ge(?x, ?y)", "int"),
    Rule(EXACT, "not(le(?x, ?y)) -> gt(?x, ?y)", "int"),
    Rule(EXACT, "not(gt(?x, ?y)) -> le(?x, ?y)", "int"),
    Rule(EXACT, "not(ge(?x, ?y)) -> lt(?x, ?y)", "int"),
    Rule(EXACT, "select(true, ?x, ?y) -> ?x"),
    Rule(EXACT, "select(false, ?y, ?x) -> ?x"),
    Rule(EXACT, "select(?condition, ?x, ?x) -> ?x"),
    Rule(EXACT, "select(not(?condition), ?x, ?y) -> select(?condition, ?y, ?x)"),
    Rule(EXACT, "select(?x, true, false) -> ?x", "bool"),
)

_MOVING = (
    Rule(EXACT, "cast(?x){dtype = d} -> ?x", where=("is_dtype(?x, d)",)),
    Rule(
        EXACT,
        "cast(cast(?x){dtype = d}){dtype = e} -> cast(?x){dtype = e}",
        where=("holds_all(d, ?x)",),
    ),
    Rule(EXACT, "broadcast(#c){shape = s, axes = a} -> #c", sample={"s": (2, 8), "a": (1,)}),
    Rule(EXACT, "reshape(#c){shape = s} -> #c", sample={"s": (2, 4)}),
    Rule(EXACT, "transpose(#c){permutation = p} -> #c", sample={"p": (0,)}),
    Rule(
        EXACT,
        "slice(#c){start = a, stop = b, step = s} -> #c",
        sample={"a": (1,), "b": (6,), "s": (2,)},
    ),
    Rule(EXACT, "reverse(#c){axes = a} -> #c", sample={"a": (0,)}),
    Rule(
        EXACT,
        "broadcast(?x){shape = s, axes = a} -> ?x",
        where=("is_shape(?x, s)",),
        sample={"s": (8,), "a": (0,)},
    ),
    Rule(
        EXACT,
        "broadcast(broadcast(?x){shape = s, axes = a}){shape = t, axes = b}"
        " -> broadcast(?x){shape = t, axes = compose(b, a)}",
        sample={"x": (3, 1), "s": (2, 3, 4), "a": (1, 2), "t": (2, 5, 3, 4), "b": (0, 2, 3)},
    ),
    Rule(
        EXACT,
        "broadcast(reshape(?x){shape = s}){shape = t, axes = a}"
        " -> broadcast(?x){shape = t, axes = without_ones(?x, s, a)}",
        where=("only_adds_ones(?x, s)",),
        sample={"x": (3,), "s": (1, 3, 1), "t": (2, 4, 3, 5), "a": (1, 2, 3)},
    ),
    Rule(
        EXACT,
        "reshape(?x){shape = s} -> ?x",
        where=("is_shape(?x, s)",),
        sample={"s": (8,)},
    ),
    Rule(
        EXACT,
        "reshape(reshape(?x){shape = s}){shape = t} -> reshape(?x){shape = t}",
        sample={"x": (4, 6), "s": (24,), "t": (3, 8)},
    ),
    Rule(
        EXACT,
        "transpose(?x){permutation = p} -> ?x",
        where=("is_identity(p)",),
        sample={"x": (2, 3), "p": (0, 1)},
    ),
    Rule(
        EXACT,
        "transpose(transpose(?x){permutation = p}){permutation = q}"
        " -> transpose(?x){permutation = compose(p, q)}",
        sample={"x": (2, 3, 4), "p": (1, 2, 0), "q": (0, 2, 1)},
    ),
    Rule(
        EXACT,
        "slice(?x){start = a, stop = b, step = s} -> ?x",
        where=("is_whole(?x, a, b, s)",),
        sample={"a": (0,), "b": (8,), "s": (1,)},
    ),
    Rule(
        EXACT,
        "slice(slice(?x){start = a, stop = b, step = s}){start = c, stop = d, step = t}"
        " -> slice(?x){start = sums(a, c), stop = sums(a, d), step = t}",
        where=("all_one(s)",),
        sample={"a": (1,), "b": (8,), "s": (1,), "c": (1,), "d": (6,), "t": (2,)},
    ),
    Rule(EXACT, "reverse(?x){axes = a} -> ?x", where=("is_empty(a)",), sample={"a": ()}),
    Rule(
        EXACT,
        "reverse(reverse(?x){axes = a}){axes = a} -> ?x",
        sample={"x": (2, 3), "a": (1,)},
    ),
    Rule(
        EXACT,
        "pad(?x){low = a, high = b} -> ?x",
        where=("all_zero(a)", "all_zero(b)"),
        sample={"a": (0,), "b": (0,), "attributes": {"value": 0}},
    ),
    Rule(
        EXACT,
        "pad(pad(?x){low = a, high = b, value = v}){low = c, high = d, value = v}"
        " -> pad(?x){low = sums(a, c), high = sums(b, d), value = v}",
        sample={"a": (1,), "b": (2,), "c": (0,), "d": (3,), "v": 0},
    ),
    Rule(EXACT, "concat(?x) -> ?x", sample={"attributes": {"axis": 0}}),
)

_REDUCING = (
    Rule(
        EXACT, "reduce_max(?x){axes = a} -> ?x", "number", where=("is_empty(a)",), sample={"a": ()}
    ),
    Rule(
        EXACT, "reduce_min(?x){axes = a} -> ?x", "number", where=("is_empty(a)",), sample={"a": ()}
    ),
    Rule(EXACT, "reduce_sum(?x){axes = a} -> ?x", "int", where=("is_empty(a)",), sample={"a": ()}),
    Rule(
        EXACT, "reduce_prod(?x){axes = a} -> ?x", "number", where=("is_empty(a)",), sample={"a": ()}
    ),
    Rule(EXACT, "reduce_any(?x){axes = a} -> ?x", "bool", where=("is_empty(a)",), sample={"a": ()}),
    Rule(EXACT, "reduce_all(?x){axes = a} -> ?x", "bool", where=("is_empty(a)",), sample={"a": ()}),
    Rule(
        EXACT,
        "contract(transpose(?x){permutation = p}, ?y){spec = s}"
        " -> contract(?x, ?y){spec = untranspose_left(s, p)}",
        "number",
        sample={"x": (4, 3), "y": (4, 5), "p": (1, 0), "s": "ik,kj->ij"},
    ),
    Rule(
        EXACT,
        "contract(?x, transpose(?y){permutation = p}){spec = s}"
        " -> contract(?x, ?y){spec = untranspose_right(s, p)}",
        "number",
        sample={"x": (3, 4), "y": (5, 4), "p": (1, 0), "s": "ik,kj->ij"},
    ),
    Rule(  # the scale of a batch normalisation goes into the weights of the convolution before it
        REAL,
        "mul(conv(?x, ?w){stride = s, padding_low = l, padding_high = h, dilation = d, groups = g},"
        " broadcast(?y){shape = t, axes = a})"
        " -> conv(?x, mul(?w, broadcast(?y){shape = shape_of(?w), axes = first(a)}))"
        "{stride = s, padding_low = l, padding_high = h, dilation = d, groups = g}",
        "float",
        where=("is_channel(?y, a)",),
        sample={
            "x": (2, 3, 5, 5),
            "w": (4, 3, 3, 3),
            "y": (4,),
            "t": (2, 4, 3, 3),
            "a": (1,),
            "s": (1, 1),
            "l": (0, 0),
            "h": (0, 0),
            "d": (1, 1),
            "g": 1,
        },
    ),
)

RULES: tuple[Rule, ...] = (*_ARITHMETIC, *_LOGIC, *_MOVING, *_REDUCING)
