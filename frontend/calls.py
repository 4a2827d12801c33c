"""Calls: of functions, layers and models written in the language, and of built-ins.

A call is inlined: its arguments are matched against the signature, then the body is evaluated in a
frame of its own. A layer's parameters are named by the call (`name:`), else by the `let` that it is
bound in, else by the layer's own name.
"""

from __future__ import annotations

from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given
from stepwell.frontend.bodies import finish_body
from stepwell.frontend.builtin_calls import BUILTINS, run_builtin
from stepwell.frontend.custom_gradients import with_own_gradient
from stepwell.frontend.elaboration import (
    Elaboration,
    Frame,
    Poisoned,
    computed,
    place,
    seen_from_outside,
)
from stepwell.frontend.evaluation import evaluate, evaluates
from stepwell.frontend.formals import bind_formals
from stepwell.frontend.limits import MAX_CALL_DEPTH, MAX_SELF_CALLS
from stepwell.frontend.modules import prelude
from stepwell.frontend.optimizers import call_optimizer
from stepwell.frontend.parameter_names import naming_of_call
from stepwell.frontend.printer import expression
from stepwell.frontend.transformations import call_transformed
from stepwell.frontend.values import (
    Builtin,
    Declared,
    Origin,
    Scalar,
    Tensor,
    Transformed,
    kind_of,
)
from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import DType
from stepwell.ir.span import Span


@evaluates(s.Pipe)
def _pipe(e: Elaboration, node: s.Pipe) -> Any:
    first = Given(evaluate(e, node.value), node.value.span)
    target = node.target
    if isinstance(target, s.Call):
        function = evaluate(e, target.function)
        return call_value(
            e,
            function,
            target.function,
            [first, *_arguments(e, target, function)],
            node.span,
            target.span,
        )
    return call_value(e, evaluate(e, target), target, [first], node.span, target.span)


def _arguments(e: Elaboration, node: s.Call, function: Any) -> list[Given]:
    given = [
        Given(evaluate(e, argument), argument.span, None, _parts(argument))
        for argument in node.arguments
    ]
    for named in node.named:
        names = isinstance(function, Builtin) and named.name == "wrt"  # names arguments, has none
        value = named.value if names else evaluate(e, named.value)
        given.append(Given(value, named.value.span, named.name, _parts(named.value), named.span))
    return given


def _parts(node: s.Expr) -> tuple[Span, ...]:
    return tuple(item.span for item in node.items) if isinstance(node, s.ListOf) else ()


@evaluates(s.Call)
def _call(e: Elaboration, node: s.Call) -> Any:
    function = evaluate(e, node.function)
    given = _arguments(e, node, function)
    return call_value(e, function, node.function, given, node.span, node.span)


def call_value(
    e: Elaboration, function: Any, node: s.Expr, given: list[Given], span: Span, call: Span
) -> Any:
    """Call a value. `span` is the whole expression, `call` the part with the callee's name."""
    if isinstance(function, Builtin):
        return run_builtin(e, function, given, span)
    if isinstance(function, Transformed):
        return call_transformed(
            e,
            function,
            lambda inner: call_value(e, function.function, node, inner, span, call),
            given,
            span,
        )
    if isinstance(function, Declared) and function.kind == "optimizer":
        return call_optimizer(e, function, given, span, call)
    if isinstance(function, Declared):
        return call_declared(e, function, given, span, call)
    help = f"`{expression(node)}` cannot be called"
    if isinstance(function, DType):
        help = f"write `cast(x, {function})`"
    if isinstance(node, s.Name) and (node.name in BUILTINS or node.name in prelude().names):
        help = f"`{node.name}` names a value here, and hides the function: give it another name"
    e.fail("SW0310", f"{kind_of(function)} is not a function", node.span, help=help)


def call_declared(
    e: Elaboration, callee: Declared, given: list[Given], span: Span, call: Span
) -> Any:
    """Inline a call of a function, layer or model."""
    function = callee.function
    _bound_recursion(e, callee, span)
    known = _call_key(e, callee, given)
    if known in e.calls[-1]:
        return e.calls[-1][known]
    naming, shares, given = naming_of_call(e, callee, given, span)
    frame = Frame(function, callee.module, naming, call_span=span, shares=shares)
    enters_library = callee.module.is_library and not e.frame.module.is_library
    formula = e.formula
    if not any(isinstance(g.value, Scalar) for g in given):
        e.formula = None
    try:
        bind_formals(e, frame, given, call)
        e.frames.append(frame)
        try:
            if function.gradient is not None:
                value = with_own_gradient(e, frame)
            else:
                value = finish_body(e, frame)
        finally:
            e.frames.pop()
    except UserError as error:
        raise seen_from_outside(error, function.name, call) if enters_library else error  # noqa: B904
    finally:
        e.formula = formula
    value = _reorigin(value, function.name, span)
    if known is not None:
        value = e.calls[-1][known] = _fixed(value, function.name)
    return value


def _call_key(e: Elaboration, callee: Declared, given: list[Given]) -> Any:
    """What tells a call of a model in a train block from others: equal calls are one."""
    if e.frame.function.kind != "train" or callee.kind != "model":
        return None
    names = [formal.name for formal in callee.function.formals]
    arguments = frozenset(
        (g.name or names[min(i, len(names) - 1)], _argument_key(g.value))
        for i, g in enumerate(given)
    )
    return callee.function.name, callee.module.file, arguments


def _argument_key(value: Any) -> Any:
    return value.value if isinstance(value, Tensor) else repr(value)


def _fixed(value: Any, name: str) -> Any:
    """A value that no `let` renames: other calls stand for it, too."""
    if isinstance(value, tuple):
        return tuple(_fixed(part, name) for part in value)
    if not isinstance(value, Tensor):
        return value
    span = value.origin.span
    return Tensor(value.value, Origin(span, f"from the model `{name}` at {place(span)}"))


def _bound_recursion(e: Elaboration, callee: Declared, span: Span) -> None:
    if any(function is callee.function for function in e.program.endless):
        raise Poisoned
    active = sum(frame.function is callee.function for frame in e.frames)
    if active > MAX_SELF_CALLS or len(e.frames) > MAX_CALL_DEPTH:
        e.fail(
            "SW0503",
            f"`{callee.name}` calls itself",
            span,
            "here again",
            help="there is no recursion; `repeat` repeats a block",
        )


def _reorigin(value: Any, name: str, span: Span) -> Any:
    if isinstance(value, tuple):
        return tuple(_reorigin(part, name, span) for part in value)
    if isinstance(value, Tensor):
        return Tensor(value.value, computed(span)) if _inner(value, span) else value
    return value


def _inner(value: Tensor, span: Span) -> bool:
    phrase = value.origin.phrase
    return value.origin.computed or phrase.startswith("from `let ")
