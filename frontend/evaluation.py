"""The evaluator's table: a syntax node's class → the function that gives its value.

`expressions`, `subscripts`, `notation`, `calls` and `blocks` register theirs with `@evaluates`, so
that they can call one another through `evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.limits import MAX_EVALUATION_DEPTH, MAX_STEPS

Evaluator = Callable[[Elaboration, Any], Any]
_EVALUATORS: dict[type, Evaluator] = {}


def evaluates(*nodes: type) -> Callable[[Evaluator], Evaluator]:
    """Register the function that evaluates nodes of these classes."""

    def register(function: Evaluator) -> Evaluator:
        _EVALUATORS.update(dict.fromkeys(nodes, function))
        return function

    return register


def evaluate(e: Elaboration, node: Any) -> Any:
    """The value of an expression in the current frame."""
    e.depth += 1
    e.steps += 1
    try:
        if e.depth > MAX_EVALUATION_DEPTH:
            e.fail(
                "SW0503",
                "this is nested too deeply to evaluate",
                node.span,
                help="give parts a name with `let`",
            )
        if e.steps > MAX_STEPS:
            e.fail("SW0502", "this program does too much at compile time", node.span)
        return _EVALUATORS[type(node)](e, node)
    finally:
        e.depth -= 1
