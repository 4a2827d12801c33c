"""Evaluating expressions: syntax nodes to values, appending ops to the graph on the way.

    x @ w + b   →   %0 = contract(%x, %w), %1 = broadcast(%b), %2 = add(%0, %1)

The same evaluator serves tensors, numbers known at compile time, and the elements inside index
notation: which one an operator means is decided by the values that it meets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given
from stepwell.frontend.elaboration import POISON, Elaboration, Poisoned
from stepwell.frontend.limits import MAX_EVALUATION_DEPTH, MAX_STEPS
from stepwell.frontend.modules import prelude
from stepwell.frontend.operators import binary, unary
from stepwell.frontend.parse_errors import RUNTIME_LATER, not_there_yet
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.values import Declared, Deferred, Namespace, Pack, Scalar, Tensor, kind_of
from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import BY_NAME, DType


def evaluate(e: Elaboration, node: Any) -> Any:
    """The value of an expression in the current frame."""
    e.depth += 1
    e.steps += 1
    try:
        if e.depth > MAX_EVALUATION_DEPTH:
            e.fail("SW0503", "this is nested too deeply to evaluate", node.span,
                   help="give parts a name with `let`")  # fmt: skip
        if e.steps > MAX_STEPS:
            e.fail("SW0502", "this program does too much at compile time", node.span)
        return _EVALUATORS[type(node)](e, node)
    finally:
        e.depth -= 1


def _name(e: Elaboration, node: s.Name) -> Any:
    name = node.name
    value = e.frame.lookup(name)
    if value is POISON:
        raise Poisoned
    if value is None:
        value = _global(e, name)
    if value is None:
        unknown_name(e, node)
    return value


def _global(e: Elaboration, name: str) -> Any:
    from stepwell.frontend.builtins import BUILTINS

    for names in (e.frame.module.names, prelude().names, BUILTINS, BY_NAME):
        if name in names:
            return names[name]  # type: ignore[index]
    bound = e.frame.scopes[0].get(f"{name}[]")
    return bound if isinstance(bound, DType) else None


def unknown_name(e: Elaboration, node: s.Name) -> Any:
    """Refuse a name that nothing binds."""
    from stepwell.frontend.builtins import BUILTINS

    name = node.name
    if name in RUNTIME_LATER:
        raise UserError([not_there_yet(name, node.span)])
    known = [*e.frame.names(), *e.frame.module.names, *prelude().names, *BUILTINS, *BY_NAME]
    hint = did_you_mean(name, (k for k in known if not k.endswith("[]")))
    inside = [
        f"{space}.{name}"
        for space, module in e.frame.module.names.items()
        if isinstance(module, Namespace) and name in module.module.names
    ]
    if inside:
        hint = f"did you mean `{inside[0]}`?"
    elif hint is None and _in_nn(name):
        hint = f"write `use nn` at the top of the file, then `nn.{name}`"
    e.fail("SW0301", f"there is no `{name}` here", node.span, "unknown name", help=hint)


def _in_nn(name: str) -> bool:
    from stepwell.frontend.modules import library_source

    found = library_source("nn")
    return found is not None and f" {name}(" in found[1]


def _number(e: Elaboration, node: s.Number) -> Any:
    if node.value in (float("inf"),):
        e.fail("SW0501", "this number is too large for a 64-bit float", node.span)
    if isinstance(node.value, int) and node.value > 2**63:
        e.fail("SW0501", "this whole number has more than 64 bits", node.span)
    return node.value


def _literal(e: Elaboration, node: s.Boolean | s.String) -> Any:
    return node.value


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


def _tuple(e: Elaboration, node: s.TupleOf) -> Any:
    return tuple([evaluate(e, item) for item in node.items])


def _unary(e: Elaboration, node: s.Unary) -> Any:
    value = evaluate(e, node.operand)
    return unary(e, "not" if node.op == "not" else "neg", value, node.span, node.operand.span)


def _binary(e: Elaboration, node: s.Binary) -> Any:
    left = evaluate(e, node.left)
    if node.op in ("and", "or") and isinstance(left, bool) and left == (node.op == "or"):
        return left
    right = evaluate(e, node.right)
    return binary(e, node.op, left, right, node.span, (node.left.span, node.right.span))


def _comparison(e: Elaboration, node: s.Comparison) -> Any:
    values = [evaluate(e, operand) for operand in node.operands]
    result: Any = None
    for i, op in enumerate(node.ops):
        spans = (node.operands[i].span, node.operands[i + 1].span)
        span = spans[0].to(spans[1])
        one = binary(e, op, values[i], values[i + 1], span, spans)
        result = one if result is None else binary(e, "and", result, one, node.span, (span, span))
    return result


def _pipe(e: Elaboration, node: s.Pipe) -> Any:
    from stepwell.frontend.calls import call_value

    first = Given(evaluate(e, node.value), node.value.span)
    target = node.target
    if isinstance(target, s.Call):
        function = evaluate(e, target.function)
        return call_value(
            e, function, target.function, [first, *_arguments(e, target)], node.span, target.span
        )
    return call_value(e, evaluate(e, target), target, [first], node.span, target.span)


def _arguments(e: Elaboration, node: s.Call) -> list[Given]:
    given = [Given(evaluate(e, argument), argument.span) for argument in node.arguments]
    for named in node.named:
        given.append(Given(evaluate(e, named.value), named.value.span, named.name))
    return given


def _call(e: Elaboration, node: s.Call) -> Any:
    from stepwell.frontend.calls import call_value

    function = evaluate(e, node.function)
    return call_value(e, function, node.function, _arguments(e, node), node.span, node.span)


def _attribute(e: Elaboration, node: s.Attribute) -> Any:
    if isinstance(node.base, s.Name) and e.frame.lookup(node.base.name) is None:
        found = e.frame.module.names.get(node.base.name)
        if found is None and _is_library(node.base.name):
            e.fail("SW0301", f"there is no `{node.base.name}` here", node.base.span,
                   help=f"write `use {node.base.name}` at the top of the file")  # fmt: skip
    base = evaluate(e, node.base)
    if not isinstance(base, Namespace):
        e.fail("SW0311", f"{kind_of(base)} has no part `{node.name}`", node.span,
               help=_method_hint(node))  # fmt: skip
    value = base.module.names.get(node.name)
    if not isinstance(value, Declared):
        e.fail("SW0301", f"there is no `{node.name}` in `{base.name}`", node.span, "unknown name",
               help=did_you_mean(node.name, base.module.names))  # fmt: skip
    return value


def _is_library(name: str) -> bool:
    from stepwell.frontend.modules import library_names

    return name in library_names()


def _method_hint(node: s.Attribute) -> str | None:
    if node.name == "shape":
        return "`size(x, axis)` is the size of an axis; types name sizes, as in `x: f32[N, D]`"
    if node.name in ("T", "transpose"):
        return "write `transpose(x, [1, 0])`"
    return f"functions stand before their arguments: `{node.name}(x)` or `x |> {node.name}`"


def _index(e: Elaboration, node: s.Index) -> Any:
    from stepwell.frontend.subscripts import subscript

    return subscript(e, evaluate(e, node.base), node)


def _notation(e: Elaboration, node: s.Notation) -> Any:
    from stepwell.frontend.notation import notation

    return notation(e, node)


def _reduction(e: Elaboration, node: s.Reduction) -> Any:
    from stepwell.frontend.notation import notation, reduction

    if e.formula is None:
        return notation(e, s.Notation(node.span, (), node))
    return reduction(e, node)


def _if(e: Elaboration, node: s.If) -> Any:
    from stepwell.frontend.blocks import evaluate_block

    block = node.then if condition(e, node.condition) else node.otherwise
    if block is None:
        return None
    e.frame.assignable += 1
    try:
        return evaluate_block(e, block)
    finally:
        e.frame.assignable -= 1


def condition(e: Elaboration, node: s.Expr) -> bool:
    """A condition that is known at compile time."""
    value = evaluate(e, node)
    if isinstance(value, bool):
        return value
    if isinstance(value, (Tensor, Scalar, Deferred)):
        shown = value.describe() if isinstance(value, Tensor) else "known at run time only"
        e.fail("SW0111", "`if` on a run-time value is not there yet", node.span, shown,
               help="`select(condition, a, b)` chooses between values")  # fmt: skip
    e.fail("SW0217", f"the condition of `if` must be true or false, not {kind_of(value)}",
           node.span)  # fmt: skip


_EVALUATORS: dict[type, Callable[[Elaboration, Any], Any]] = {
    s.Name: _name,
    s.Number: _number,
    s.Boolean: _literal,
    s.String: _literal,
    s.ListOf: _list,
    s.TupleOf: _tuple,
    s.Unary: _unary,
    s.Binary: _binary,
    s.Comparison: _comparison,
    s.Pipe: _pipe,
    s.Call: _call,
    s.Attribute: _attribute,
    s.Index: _index,
    s.Notation: _notation,
    s.Reduction: _reduction,
    s.If: _if,
}
