"""What the kinds of attributes allow, and attributes with sizes put in.

`fault(definition, attributes)` says what is wrong with them, if anything; `bind(attributes, {"N":
8})` turns dims into ints, in formulas as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stepwell.ir import size
from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Attribute, Attributes, OpDef
from stepwell.ir.scalar import Axis, Expr, Formula, Reduce, Var, index, map_children
from stepwell.ir.size import Dim, Size


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.generic, np.ndarray))


def _is_dim(value: Any) -> bool:
    return _is_int(value) or isinstance(value, Size)


def _all(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (tuple, list)) and all(map(test, value))


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (_is_int, "an integer"),
    "float": (lambda v: isinstance(v, float), "a float"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
    "string": (lambda v: isinstance(v, str), "a string"),
    "dtype": (lambda v: isinstance(v, DType), "an element type"),
    "dim": (_is_dim, "a size"),
    "dims": (_all(_is_dim), "a list of sizes"),
    "ints": (_all(_is_int), "a list of integers"),
    "formula": (lambda v: isinstance(v, Formula), "a formula"),
    "array": (lambda v: isinstance(v, np.ndarray), "an array"),
    "number": (_is_number, "a number or an array"),
}


def fault(definition: OpDef, attributes: Attributes) -> str | None:
    """What is wrong with the attributes of an op; None where nothing is."""
    known = {item.name: item for item in definition.attributes}
    for name in attributes:
        if name not in known:
            listed = ", ".join(known) or "none"
            return f"{definition.name} has no attribute `{name}` (it has: {listed})"
    for name, item in known.items():
        if name not in attributes:
            return f"{definition.name} needs the attribute `{name}`: {item.doc}"
        test, what = _KINDS[item.kind]
        if not test(attributes[name]):
            return f"`{name}` of {definition.name} must be {what}"
    return None


def bind(attributes: Attributes, sizes: Mapping[str, int]) -> dict[str, Attribute]:
    """The attributes with every size a number. KeyError names a size without a value."""
    return {name: _bind(value, sizes) for name, value in attributes.items()}


def _bind(value: Attribute, sizes: Mapping[str, int]) -> Attribute:
    match value:
        case Size():
            return size.evaluate(value, sizes)
        case tuple() | list():
            return tuple(_bind(item, sizes) for item in value)
        case Formula():
            return bind_formula(value, sizes)
    return value


def bind_formula(formula: Formula, sizes: Mapping[str, int]) -> Formula:
    """The formula with every size a number; a name that is an axis is never a size."""
    axes = tuple(Axis(axis.name, _bind(axis.extent, sizes)) for axis in formula.axes)
    free = {name: n for name, n in sizes.items() if name not in {axis.name for axis in axes}}
    return Formula(axes, _bind_expr(formula.value, free))


def _bind_expr(expr: Expr, sizes: Mapping[str, int]) -> Expr:
    if isinstance(expr, Var):
        return index(sizes[expr.name]) if expr.name in sizes else expr
    if isinstance(expr, Reduce):
        values: dict[str, Dim] = dict(sizes)
        axes = tuple(Axis(a.name, size.substitute(a.extent, values)) for a in expr.axes)
        free = {name: n for name, n in sizes.items() if name not in {a.name for a in axes}}
        guard = None if expr.guard is None else _bind_expr(expr.guard, free)
        return Reduce(expr.kind, axes, _bind_expr(expr.body, free), guard)
    return map_children(expr, lambda child: _bind_expr(child, sizes))
