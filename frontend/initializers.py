"""How a parameter starts without weights: `= glorot_uniform`, `= normal(0.02)`, `= 1.0`.

The text is kept in the graph; the driver draws the numbers.
"""

from __future__ import annotations

import math

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.element_types import check_literal
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.suggest import did_you_mean
from stepwell.ir.types import TensorType

PLAIN = ("zeros", "ones")
SCALED = (  # a number that they are given is a factor
    *("glorot_uniform", "glorot_normal", "he_uniform", "he_normal"),
    *("lecun_normal", "orthogonal"),
)
WITH_NUMBER = {
    "normal": "std",
    "truncated_normal": "std",
    "uniform": "bound",
    "constant": "value",
}
NAMES = (*PLAIN, *SCALED, *WITH_NUMBER)


def initializer_text(e: Elaboration, node: s.Expr | None, type: TensorType) -> str:
    """The initialiser as text, such as `normal(0.02)`."""
    if node is None:
        return "glorot_uniform" if type.rank > 1 and type.dtype.is_float else "zeros"
    name = _free_name(e, node)
    if name is None:
        return f"constant({_number(e, node, type)})"
    if name not in NAMES:
        shown = [*PLAIN, *SCALED, *(f"{n}({what})" for n, what in WITH_NUMBER.items())]
        help = did_you_mean(name, NAMES) or f"initialisers: {', '.join(shown)}"
        e.fail("SW0407", f"there is no initialiser `{name}`", node.span, help=help)
    if name not in (*PLAIN, "constant") and not type.dtype.is_float:
        e.fail("SW0407", f"`{name}` draws floats; this parameter is {type.dtype}", node.span)
    arguments = _arguments(node)
    if len(arguments) == 1 and name not in PLAIN:
        return f"{name}({_number(e, arguments[0], type)})"
    if arguments or name in WITH_NUMBER:
        takes = f"`{name}({WITH_NUMBER[name]})`" if name in WITH_NUMBER else f"`{name}`"
        e.fail("SW0407", f"`{name}` takes {_counted(name)}", node.span, help=f"write {takes}")
    return name


def _free_name(e: Elaboration, node: s.Expr) -> str | None:
    """The name that stands alone or is called, where nothing in scope is called so."""
    callee = node.function if isinstance(node, s.Call) else node
    if isinstance(callee, s.Name) and e.frame.lookup(callee.name) is None:
        return callee.name
    return None


def _arguments(node: s.Expr) -> list[s.Expr]:
    if not isinstance(node, s.Call):
        return []
    return [*node.arguments, *(named.value for named in node.named)]


def _counted(name: str) -> str:
    return "no number" if name in PLAIN else "one number"


def _number(e: Elaboration, node: s.Expr, type: TensorType) -> str:
    value = evaluate(e, node)
    if isinstance(value, (int, float)) and math.isfinite(value):
        check_literal(e, value, type.dtype, node.span)
        return repr(float(value))
    e.fail("SW0407", "an initialiser takes a number known at compile time", node.span)
