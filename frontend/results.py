"""Results: a value against the type that was declared for it."""

from __future__ import annotations

from typing import Any

from stepwell.frontend import dims
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.values import Scalar, Tensor, is_number, kind_of
from stepwell.ir.diagnostics import Label
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType


def conform(
    e: Elaboration, value: Any, type: TensorType, span: Span, what: str, declared: Span
) -> Any:
    """The value as a tensor of `type`, or a mistake. Numbers adapt; nothing else is converted."""
    if isinstance(value, Scalar):
        if value.dtype != type.dtype:
            _differ(e, str(value.dtype), type, span, what, declared, f"one {value.dtype}")
        return value
    if is_number(value):
        return number_tensor(e, value, type.dtype, type.shape, span)
    if not isinstance(value, Tensor):
        e.fail("SW0218", f"{what} must be {type}, not {kind_of(value)}", span)
    if value.dtype != type.dtype:
        _differ(
            e,
            str(value.type),
            type,
            span,
            what,
            declared,
            value.describe(),
            f"`cast(…, {type.dtype})` converts",
        )
    same = len(value.shape) == len(type.shape) and all(
        dims.agree(e, a, b, span) for a, b in zip(value.shape, type.shape, strict=True)
    )
    if not same:
        _differ(e, str(value.type), type, span, what, declared, value.describe())
    return dims.retyped(e, value, type.shape, span)


def _differ(
    e: Elaboration,
    found: str,
    type: TensorType,
    span: Span,
    what: str,
    declared: Span,
    description: str,
    help: str | None = None,
) -> None:
    labels = [Label(span, description)]
    if declared != span:
        labels.append(Label(declared, f"declared {type}"))
    e.fail_labels("SW0218", f"{what} must be {type}, not {found}", labels, help=help)
