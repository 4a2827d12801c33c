"""Canonicalize: apply the algebraic rules until none applies.

In: a graph. Out: a smaller one that computes the same: bit for bit, or, with `real=true`, as real
numbers would.

    %t = transpose(%x) {permutation = [1, 0]}
    %u = transpose(%t) {permutation = [1, 0]}      →      %z = neg(%x)
    %one = constant {value = 1.0, …}
    %y = mul(%u, %one)
    %z = neg(%y)

The rules are data, in `rules.py`. Each shrinks, so rewriting ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, TypeRuleError, Value
from stepwell.ir.graph.rewrite import Editor, remove_dead, rewrite
from stepwell.ir.types import TensorType
from stepwell.lowering.patterns import Bindings, build, evaluate, match_op
from stepwell.lowering.rule_functions import FUNCTIONS
from stepwell.lowering.rules import RULES, Rule, holds_for

_BY_OPERATOR: dict[str, list[Rule]] = {}
for _rule in RULES:
    _BY_OPERATOR.setdefault(_rule.sides[0].op, []).append(_rule)


@dataclass(frozen=True)
class Canonicalize:
    """Apply the `EXACT` rules; with `real`, the `REAL` ones too.

    Before: `%y = mul(%x, %one)`, `%z = neg(%y)`. After: `%z = neg(%x)`.
    """

    name: ClassVar[str] = "canonicalize"
    real: bool = False

    def run(self, graph: Graph) -> Graph:
        while True:
            new = remove_dead(rewrite(graph, self._simplify))
            same = new.results == graph.results and new.updates == graph.updates
            if same and new.ops == graph.ops:
                return graph
            graph = new

    def _simplify(self, op: Op, editor: Editor) -> Sequence[Value] | None:
        for rule in _BY_OPERATOR.get(op.name, ()):
            if self.real or rule.tag == "EXACT":
                value = apply_rule(rule, op, editor)
                if value is not None:
                    return [value]
        return None


def apply_rule(rule: Rule, op: Op, editor: Editor) -> Value | None:
    """What replaces the op's result by the rule; None where the rule does not apply."""
    pattern, replacement = rule.sides
    for bound in match_op(pattern, op, editor.producer, {}):
        if _in_domain(rule, bound, op.result.type) and all(
            evaluate(condition, bound, FUNCTIONS) for condition in rule.conditions
        ):
            hint, span = op.result.name, op.span
            try:
                return build(replacement, bound, editor, op.result.type, FUNCTIONS, hint, span)
            except TypeRuleError:  # true of the sizes, but not provable without what was between
                continue
    return None


def _in_domain(rule: Rule, bound: Bindings, type: TensorType) -> bool:
    dtype = bound["?x"].type.dtype if "?x" in bound else type.dtype
    return holds_for(rule, dtype)
