"""Functions with a gradient of their own: `fn f(x) { … } gradient(dy) { … }`.

    f(a)   →   %y = custom_gradient(%a) { f's ops } { the block's ops }

The block sees the function's arguments, its results that have names, and the cotangent of each
float result; its value is the cotangent of each float argument, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.blocks import evaluate_block
from stepwell.frontend.bodies import finish_body
from stepwell.frontend.elaboration import Elaboration, Frame, computed
from stepwell.frontend.regions import Region, emit_region_op
from stepwell.frontend.results import conform
from stepwell.frontend.values import Origin, Tensor, kind_of
from stepwell.ir.graph.core import Value
from stepwell.ir.span import Span

Scope = dict[str, Any]


def with_own_gradient(e: Elaboration, frame: Frame) -> Any:
    """The value of a function with its own gradient, in its frame."""
    scope = frame.scopes[0]
    if e.formula is not None:
        e.fail(
            "SW0604",
            f"`{frame.function.name}` has its own gradient and takes tensors, not elements",
            frame.call_span or frame.function.span,
            help="compute it outside of the formula, and take elements of the result",
        )
    arguments = {f.name: scope[f.name] for f in frame.function.formals}
    tensors = {n: v for n, v in arguments.items() if isinstance(v, Tensor)}
    forward = Region(e, frame.function.name, list(tensors.values()))
    with forward:
        value = _evaluated(e, frame, dict(zip(tensors, forward.own, strict=True)))
    results = _tensors(e, frame.function, value)
    captured = forward.captured(t.value for t in results)
    backward, cotangents = _backward(e, frame, tensors, results, captured)
    first = forward.graph([t.value for t in results], captured)
    second = backward.graph([t.value for t in cotangents], ())
    outside = emit_region_op(
        e,
        "custom_gradient",
        [*forward.operands, *captured],
        [first, second],
        frame.call_span or frame.function.span,
        [t.value.name for t in results],
    )
    return tuple(outside) if isinstance(value, tuple) else outside[0]


def _evaluated(e: Elaboration, frame: Frame, tensors: Scope) -> Any:
    scope = frame.scopes[0]
    frame.scopes[0] = scope | tensors
    try:
        return finish_body(e, frame)
    finally:
        frame.scopes[0] = scope


def _tensors(e: Elaboration, function: s.Function, value: Any) -> list[Tensor]:
    parts = value if isinstance(value, tuple) else (value,)
    for part in parts:
        if not isinstance(part, Tensor):
            e.fail(
                "SW0704",
                f"`{function.name}` has its own gradient, so its results are tensors, not "
                f"{kind_of(part)}",
                function.head,
            )
    return list(parts)


def _backward(
    e: Elaboration,
    frame: Frame,
    tensors: dict[str, Tensor],
    results: Sequence[Tensor],
    captured: Sequence[Value],
) -> tuple[Region, list[Tensor]]:
    """The region of the gradient: inputs are the operands, the results, their cotangents."""
    function = frame.function
    assert function.gradient is not None
    floats = [t for t in results if t.dtype.is_float]
    names = function.gradient.cotangents
    if len(names) != len(floats):
        e.fail(
            "SW0704",
            f"`{function.name}` has {len(floats)} float results, its gradient names {len(names)} "
            "cotangents",
            function.gradient.span,
            help="name one for each float result: `gradient(dy) { … }`",
        )
    inner = [Tensor(v, computed(function.span)) for v in captured]
    origin = Origin(function.gradient.span, "a cotangent")
    seeds = [Tensor(t.value, origin) for t in floats]
    own = [*tensors.values(), *inner, *results, *seeds]
    region = Region(e, f"{function.name}_gradient", own)
    at = len(tensors) + len(inner)
    scope: Scope = dict(zip(tensors, region.own, strict=False))
    declared = [r.name for r in function.results]
    scope |= {n: t for n, t in zip(declared, region.own[at:], strict=False) if n}
    scope |= dict(zip(names, region.own[at + len(results) :], strict=True))
    wanted = [t for t in region.own[:at] if t.dtype.is_float]
    with region:
        found = _cotangents(e, frame, scope, wanted)
        region.refuse_captured(found, function.gradient.span)
    return region, found


def _cotangents(
    e: Elaboration, frame: Frame, names: Scope, wanted: Sequence[Tensor]
) -> list[Tensor]:
    """The value of the gradient's block: one tensor like each float operand."""
    function = frame.function
    assert function.gradient is not None
    scope, scopes = frame.scopes[0], frame.scopes
    frame.scopes = [scope | names]
    try:
        value = evaluate_block(e, function.gradient.body)
    finally:
        frame.scopes = scopes
    span = _last(function.gradient.body)
    parts = value if isinstance(value, (tuple, list)) else (value,)
    if value is None or len(parts) != len(wanted):
        count = 0 if value is None else len(parts)
        e.fail(
            "SW0704",
            f"the gradient of `{function.name}` has {count} values for {len(wanted)} arguments",
            span,
            help="its value is a cotangent for each float argument, in order: `(dx, dy)`",
        )
    what = f"the gradient of `{function.name}`"
    return [
        conform(e, part, like.type, span, what, span)
        for part, like in zip(parts, wanted, strict=True)
    ]


def _last(block: s.Block) -> Span:
    return block.statements[-1].span if block.statements else block.span
