"""Bodies: the value of a function in its frame, against the results that it declares."""

from __future__ import annotations

from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.blocks import evaluate_block
from stepwell.frontend.elaboration import Elaboration, Frame
from stepwell.frontend.results import conform
from stepwell.frontend.signatures import STATIC_TYPES, is_static, static_argument, tensor_type
from stepwell.frontend.values import Scalar, Tensor, kind_of
from stepwell.ir.span import Span


def finish_body(e: Elaboration, frame: Frame) -> Any:
    """Evaluate the body in its frame and check the results."""
    function = frame.function
    value = evaluate_block(e, function.body)
    last = function.body.statements[-1].span if function.body.statements else function.body.span
    if value is None:
        e.fail(
            "SW0405",
            f"`{function.name}` has no value",
            function.head,
            help="the last expression of the body is the value",
        )
    for pending in frame.pending:
        if pending.tensor is None:
            pending.refuse(e)
    if not function.results:
        return value
    values = value if isinstance(value, tuple) else (value,)
    if isinstance(value, list) and len(function.results) > 1:
        values = tuple(value)
    if len(values) != len(function.results):
        e.fail(
            "SW0218",
            f"`{function.name}` declares {_results(len(function.results))} and has "
            f"{_results(len(values))}",
            last,
        )
    checked = tuple(
        _result(e, function, i, values[i], _part_span(function, i)) for i in range(len(values))
    )
    return checked if len(checked) > 1 else checked[0]


def _results(count: int) -> str:
    return "1 result" if count == 1 else f"{count} results"


def _part_span(function: s.Function, i: int) -> Span:
    last = function.body.statements[-1]
    if isinstance(last, s.TupleOf) and len(last.items) == len(function.results):
        return last.items[i].span
    return last.span


def _result(e: Elaboration, function: s.Function, i: int, value: Any, span: Span) -> Any:
    declared_type = function.results[i].type
    if is_static(declared_type) and not isinstance(value, (Tensor, Scalar)):
        formal = s.Formal(span, "the result", declared_type, None)
        return static_argument(e, formal, value, span)
    what = f"the result of `{function.name}`"
    if (
        declared_type.dims is None
        and declared_type.name in STATIC_TYPES
        and (declared_type.name != "bool")
    ):
        e.fail(
            "SW0218",
            f"{what} is declared `{declared_type.name}`, known at compile time, but "
            f"is {kind_of(value)}",
            span,
            help=f"write `{declared_type.name}[]` for one element at run time",
        )
    return conform(e, value, tensor_type(e, declared_type), span, what, declared_type.span)
