"""How a parameter starts without weights: `= glorot_uniform`, `= normal(0.02)`, `= 1.0`.

The text is kept in the graph; the driver draws the numbers.
"""

from __future__ import annotations

import math

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.suggest import did_you_mean
from stepwell.ir.types import TensorType

PLAIN = (
    "zeros",
    "ones",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_normal",
    "orthogonal",
)
WITH_NUMBER = ("normal", "uniform", "constant")


def initializer_text(e: Elaboration, node: s.Expr | None, type: TensorType) -> str:
    """The initialiser as text, such as `normal(0.02)`."""
    if node is None:
        return "glorot_uniform" if type.rank > 1 and type.dtype.is_float else "zeros"
    if isinstance(node, s.Name) and node.name in PLAIN and e.frame.lookup(node.name) is None:
        if node.name not in ("zeros", "ones") and not type.dtype.is_float:
            e.fail(
                "SW0407", f"`{node.name}` draws floats; this parameter is {type.dtype}", node.span
            )
        return node.name
    if isinstance(node, s.Call) and isinstance(node.function, s.Name):
        name = node.function.name
        arguments = [*node.arguments, *(named.value for named in node.named)]
        if name in WITH_NUMBER and len(arguments) == 1:
            return f"{name}({_number(e, arguments[0])})"
    if isinstance(node, (s.Name, s.Call)) and _unknown(e, node):
        callee = node.function if isinstance(node, s.Call) else node
        name = callee.name if isinstance(callee, s.Name) else "this"
        known = [*PLAIN, *WITH_NUMBER]
        e.fail(
            "SW0407",
            f"there is no initialiser `{name}`",
            node.span,
            help=did_you_mean(name, known)
            or f"initialisers: {', '.join(PLAIN)}, normal(std), uniform(bound), constant(value)",
        )
    return f"constant({_number(e, node)})"


def _unknown(e: Elaboration, node: s.Name | s.Call) -> bool:
    callee = node.function if isinstance(node, s.Call) else node
    return not isinstance(callee, s.Name) or e.frame.lookup(callee.name) is None


def _number(e: Elaboration, node: s.Expr) -> str:
    value = evaluate(e, node)
    if isinstance(value, (int, float)) and math.isfinite(value):
        return repr(float(value)) if not isinstance(value, bool) else str(float(value))
    e.fail("SW0407", "an initialiser takes a number known at compile time", node.span)
