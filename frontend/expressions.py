"""Evaluating expressions: syntax nodes to values, appending ops to the graph on the way.

    x @ w + b   →   %0 = contract(%x, %w), %1 = broadcast(%b), %2 = add(%0, %1)

The same evaluator serves tensors, numbers known at compile time, and the elements inside index
notation: which one an operator means is decided by the values that it meets.
"""

from __future__ import annotations

import math
import re
from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.builtin_calls import BUILTINS
from stepwell.frontend.elaboration import POISON, Elaboration, Poisoned
from stepwell.frontend.evaluation import evaluate, evaluates
from stepwell.frontend.library import library_names, library_source
from stepwell.frontend.modules import prelude
from stepwell.frontend.operators import binary, unary
from stepwell.frontend.parse_errors import RUNTIME_LATER, not_there_yet
from stepwell.frontend.pending import PendingParameter
from stepwell.frontend.suggest import PREFIXES, did_you_mean, known_elsewhere
from stepwell.frontend.values import Declared, Held, Namespace, Pack, Tensor, kind_of
from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import BY_NAME, DType

CONSTANTS = {"inf": math.inf, "pi": math.pi}
TRAINING = "training"  # true within a training step, and known at compile time


@evaluates(s.Name)
def _name(e: Elaboration, node: s.Name) -> Any:
    name = node.name
    value = e.frame.lookup(name)
    if value is POISON:
        raise Poisoned
    if isinstance(value, PendingParameter) and value.tensor is not None:
        return value.tensor
    if isinstance(value, Held):
        return value.current
    if value is None:
        value = _global(e, name)
    if value is None:
        unknown_name(e, node)
    return value


def _global(e: Elaboration, name: str) -> Any:
    if name in e.frame.module.broken:
        raise Poisoned
    for names in (e.frame.module.names, prelude().names, BUILTINS, BY_NAME, CONSTANTS):
        if name in names:
            return names[name]
    if name == TRAINING:
        return e.training
    bound = e.frame.scopes[0].get(f"{name}[]")
    return bound if isinstance(bound, DType) else None


def unknown_name(e: Elaboration, node: s.Name) -> Any:
    """Refuse a name that nothing binds."""
    name = node.name
    if name in RUNTIME_LATER:
        raise UserError([not_there_yet(name, node.span)])
    known = [*e.frame.names(), *e.frame.module.names, *prelude().names, *BUILTINS, *BY_NAME]
    known += [*CONSTANTS, TRAINING]
    hint = known_elsewhere(name)
    hint = hint or did_you_mean(name, (k for k in known if not k.endswith("[]")))
    inside = [
        f"{space}.{name}"
        for space, module in e.frame.module.names.items()
        if isinstance(module, Namespace) and name in module.module.names
    ]
    if inside:
        hint = f"did you mean `{inside[0]}`?"
    elif _in_nn(name):
        hint = f"write `use nn` at the top of the file, then `nn.{name}`"
    e.fail("SW0301", f"there is no `{name}` here", node.span, "unknown name", help=hint)


def _in_nn(name: str) -> bool:
    found = library_source("nn")
    return found is not None and f" {name}(" in found[1]


@evaluates(s.Number)
def _number(e: Elaboration, node: s.Number) -> Any:
    if node.value == math.inf:
        e.fail("SW0501", "this number is too large for a 64-bit float", node.span)
    if node.value == 0 and re.match(r"[0._]*[1-9]", node.text):
        e.fail("SW0501", "this number is too small for a 64-bit float", node.span)
    if isinstance(node.value, int) and node.value > 2**63:
        e.fail("SW0501", "this whole number has more than 64 bits", node.span)
    return node.value


@evaluates(s.Boolean, s.String)
def _literal(e: Elaboration, node: s.Boolean | s.String) -> Any:
    return node.value


@evaluates(s.ListOf)
def _list(e: Elaboration, node: s.ListOf) -> Any:
    items: list[Any] = []
    for item in node.items:
        if isinstance(item, s.Pack):
            pack = e.frame.lookup(item.name)
            if not isinstance(pack, Pack):
                e.fail("SW0305", f"there is no shape pack `{item.name}`", item.span)
            items += pack.dims
        else:
            items.append(evaluate(e, item))
    return items


@evaluates(s.TupleOf)
def _tuple(e: Elaboration, node: s.TupleOf) -> Any:
    return tuple([evaluate(e, item) for item in node.items])


@evaluates(s.Unary)
def _unary(e: Elaboration, node: s.Unary) -> Any:
    value = evaluate(e, node.operand)
    return unary(e, "not" if node.op == "not" else "neg", value, node.span, node.operand.span)


@evaluates(s.Binary)
def _binary(e: Elaboration, node: s.Binary) -> Any:
    left = evaluate(e, node.left)
    if node.op in ("and", "or") and isinstance(left, bool) and left == (node.op == "or"):
        return left
    right = evaluate(e, node.right)
    if isinstance(right, PendingParameter):
        if node.op != "@" or not isinstance(left, Tensor) or not left.shape:
            right.refuse(e)
        right = right.as_right_operand(e, left.shape[-1], node.right.span)
    return binary(e, node.op, left, right, node.span, (node.left.span, node.right.span))


@evaluates(s.Comparison)
def _comparison(e: Elaboration, node: s.Comparison) -> Any:
    values = [evaluate(e, operand) for operand in node.operands]
    result: Any = None
    for i, op in enumerate(node.ops):
        spans = (node.operands[i].span, node.operands[i + 1].span)
        span = spans[0].to(spans[1])
        one = binary(e, op, values[i], values[i + 1], span, spans)
        result = one if result is None else binary(e, "and", result, one, node.span, (span, span))
    return result


@evaluates(s.Attribute)
def _attribute(e: Elaboration, node: s.Attribute) -> Any:
    if isinstance(node.base, s.Name) and e.frame.lookup(node.base.name) is None:
        known = node.base.name in (e.frame.module.names.keys() | e.frame.module.broken)
        hint = None if known else _prefix_hint(node.base.name, node.name)
        if hint is not None:
            e.fail("SW0301", f"there is no `{node.base.name}` here", node.base.span, help=hint)
    base = evaluate(e, node.base)
    if not isinstance(base, Namespace):
        e.fail(
            "SW0311",
            f"{kind_of(base)} has no part `{node.name}`",
            node.span,
            help=_method_hint(node),
        )
    value = base.module.names.get(node.name)
    if node.name in base.module.broken:
        raise Poisoned
    if not isinstance(value, Declared):
        e.fail(
            "SW0301",
            f"there is no `{node.name}` in `{base.name}`",
            node.span,
            "unknown name",
            help=did_you_mean(node.name, base.module.names)
            or _hidden_hint(base, node.name)
            or known_elsewhere(node.name),
        )
    return value


def _prefix_hint(prefix: str, name: str) -> str | None:
    if prefix in library_names():
        return f"write `use {prefix}` at the top of the file"
    if prefix not in PREFIXES:
        return None
    known = name in BUILTINS or name in prelude().names
    return f"functions have no prefix here: `{name}`" if known else known_elsewhere(name)


def _hidden_hint(space: Namespace, name: str) -> str | None:
    found = library_source(space.name)
    if found is None or f" {name}(" not in found[1]:
        return None
    return f"{space.module.file} hides the library's `{space.name}`: give the file another name"


def _method_hint(node: s.Attribute) -> str | None:
    if node.name == "shape":
        return "`size(x, axis)` is the size of an axis; types name sizes, as in `x: f32[N, D]`"
    if node.name in ("T", "transpose"):
        return "write `transpose(x, [1, 0])`"
    before = f"functions stand before their arguments: `{node.name}(x)` or `x |> {node.name}`"
    return known_elsewhere(node.name) or before
