"""`index`: the language's index notation, an operator given by its formula.

    %s = index(%q, %k) {formula = [n: N, i: T, j: T] -> sum[d: D] x0[n, i, d] * x1[n, j, d]}

Loads are named x0, x1, … for the operands. The reference is the evaluator of formulas itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepwell.ir.dtypes import BOOL, I64, DType
from stepwell.ir.formula import evaluate_formula
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import (
    Array,
    AttributeDef,
    Attributes,
    Example,
    OpDef,
    Value,
)
from stepwell.ir.graph.index_gradient import index_gradient
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import ATTRIBUTE, INNER, MIXED, RANK, nonnegative, refuse
from stepwell.ir.parse import parse_formula, parse_type
from stepwell.ir.resolve import Scope
from stepwell.ir.scalar import (
    Cast,
    Const,
    Expr,
    Formula,
    Load,
    Reduce,
    loads,
    map_children,
    walk,
)
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]


def operand_names(count: int) -> list[str]:
    """x0, x1, …"""
    return [f"x{i}" for i in range(count)]


def _infer(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    formula: Formula = attributes["formula"]
    known = dict(zip(operand_names(len(types)), types, strict=True))
    for load in loads(formula.value):
        _check_load(load, known, types)
    names = [axis.name for axis in formula.axes]
    for expr in walk(formula.value):
        if isinstance(expr, Reduce):
            if not expr.axes:
                refuse(f"`{expr.kind}` reduces no axis", code=ATTRIBUTE)
            if expr.kind.startswith("arg") and len(expr.axes) != 1:
                refuse(f"`{expr.kind}` has exactly one axis", code=ATTRIBUTE)
            nonnegative("the size", [axis.extent for axis in expr.axes])
    if len(set(names)) != len(names):
        refuse(f"an axis is named twice in {names}", code=ATTRIBUTE)
    nonnegative("the size", [axis.extent for axis in formula.axes])
    return (TensorType(formula.value.dtype, tuple(axis.extent for axis in formula.axes)),)


def _check_load(load: Load, known: dict[str, TensorType], types: Types) -> None:
    type = known.get(load.buffer)
    if type is None:
        refuse(f"`{load.buffer}` is not an operand: they are {', '.join(known)}", code=ATTRIBUTE)
    position = list(known).index(load.buffer)
    if len(load.indices) != type.rank:
        refuse(
            f"{len(load.indices)} subscripts for the {type.rank} axes of {type}",
            position,
            code=RANK,
        )
    if load.dtype != type.dtype:
        refuse(f"the formula reads {load.dtype} from {type}", position, code=MIXED)
    for subscript in load.indices:
        if subscript.dtype != I64:
            refuse(f"a subscript is i64, not {subscript.dtype}", position, code=INNER)
    if load.guard is not None and load.guard.dtype != BOOL:
        refuse(f"a guard is bool, not {load.guard.dtype}", position, code=INNER)


def _reference(
    arrays: Sequence[Array], attributes: Attributes, results: Types
) -> tuple[Array, ...]:
    named = dict(zip(operand_names(len(arrays)), arrays, strict=True))
    return (evaluate_formula(_computed(attributes["formula"]), named, {}),)


def _body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    return (_computed(attributes["formula"]),)


def _computed(formula: Formula) -> Formula:
    """The formula with f16 and bf16 computed in f32: rounded where the result is stored."""
    if isinstance(formula.value, Load):
        return formula  # only moved
    stored, value = formula.value.dtype, _widened(formula.value)
    return replace(formula, value=value if value.dtype is stored else Cast(value, stored))


def _widened(expr: Expr) -> Expr:
    inner = map_children(expr, _widened)
    wide = inner.dtype.compute
    if wide is inner.dtype:
        return inner
    return replace(inner, dtype=wide) if isinstance(inner, Const) else Cast(inner, wide)


def index_op(
    b: GraphBuilder, formula: Formula, operands: Sequence[Value], hint: str = "d"
) -> Value:
    """An `index` op: the formula's loads are named x0, x1, … for the operands."""
    return b.op("index", operands, hint=hint, formula=formula)


_CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("[i: 17] -> x0[i] * x0[16 - i]", ("17",)),
    ("[i: 3, j: 5] -> sum[k: 7] x0[i, k] * x1[k, j]", ("3, 7", "7, 5")),
    ("[i: 15] -> sum[d: 3] x0[i + d]", ("17",)),
    ("[i: N] -> sum[k: N where k <= i] x0[k]", ("N",)),
    ("[i: 4] -> max[k: 0] x0[i, k]", ("4, 0",)),
    ("[i: 9] -> x0[i - 1 | i >= 1] + x0[i]", ("9",)),
    ("[] -> sum[i: N, j: 2] select(i == j, x0[i, j], x0[0, j])", ("N, 2",)),
    ("[i: N, j: 3] -> min[k: 2] max[l: 3] x0[i, k, l + j]", ("N, 2, 5",)),
)


def _examples(dtype: DType) -> list[Example]:
    if dtype.is_bool:
        return []
    found = []
    for text, shapes in _CASES:
        types = tuple(_type(dtype, shape) for shape in shapes)
        scope = Scope({}, dict.fromkeys(operand_names(len(types)), dtype), sizes_open=True)
        found.append(Example(types, {"formula": parse_formula(text, scope)}))
    return found


def _type(dtype: DType, shape: str) -> TensorType:
    return parse_type(f"{dtype}[{shape}]")


INDEX = register(
    OpDef(
        "index",
        "the formula",
        ("*x",),
        (AttributeDef("formula", "formula", "index notation over the operands x0, x1, …"),),
        _infer,
        _reference,
        index_gradient,
        _body,
        _examples,
    )
)
