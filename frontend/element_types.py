"""Element types of operands: nothing is promoted, and a literal must fit the type that it takes.

i32[N] + f32[N]   →   SW0211 with a hint to cast          u8[N] + 300, f32[N] * 1e40   →   SW0214
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.values import Tensor
from stepwell.ir.diagnostics import Label
from stepwell.ir.dtypes import F64, DType
from stepwell.ir.span import Span


def same_dtype(
    e: Elaboration, op: str, left: Tensor, right: Tensor, spans: tuple[Span, Span]
) -> None:
    """Refuse to mix dtypes."""
    if left.dtype == right.dtype:
        return
    wanted = left.dtype if _wider(left.dtype, right.dtype) else right.dtype
    other = right if wanted == left.dtype else left
    name = "the other operand"
    if "`" in other.origin.phrase:
        name = other.origin.phrase.split("`")[1].removeprefix("param ").removeprefix("let ")
    e.fail_labels(
        "SW0211",
        f"`{op}` mixes {left.dtype} and {right.dtype}",
        [Label(spans[0], left.describe()), Label(spans[1], right.describe())],
        help=f"cast one of them: `cast({name}, {wanted})`"
        if name.isidentifier()
        else f"cast one of them to {wanted}: `cast(…, {wanted})`",
    )


def _wider(left: DType, right: DType) -> bool:
    order = {"bool": 0, "int": 1, "float": 2}
    return (order[left.kind], left.bits) >= (order[right.kind], right.bits)


def check_literal(
    e: Elaboration, value: Any, dtype: DType, span: Span, beside: Tensor | None = None
) -> None:
    """Whether a number can stand for an element of a dtype."""
    labels = [Label(span, "")]
    if beside is not None and beside.origin.span != span:
        labels.append(Label(beside.origin.span, beside.describe()))
    if isinstance(value, bool) != dtype.is_bool:
        e.fail_labels(
            "SW0214",
            f"{str(value).lower() if isinstance(value, bool) else value} is not a {dtype}",
            labels,
            help="`cast(…)` converts between bools and numbers",
        )
    if dtype.is_int and isinstance(value, float):
        e.fail_labels(
            "SW0214",
            f"the number {value} does not fit the element type {dtype}",
            labels,
            help=f"write `{int(value)}`"
            if math.isfinite(value) and value.is_integer()
            else "cast the tensor: `cast(x, f32)`",
        )
    if dtype.is_int:
        bounds = np.iinfo(dtype.numpy)
        if not bounds.min <= value <= bounds.max:
            e.fail_labels(
                "SW0214",
                f"{value} is outside of {dtype}, which holds {bounds.min} to {bounds.max}",
                labels,
            )
    if dtype.is_float and math.isfinite(value):
        _check_float(e, value, dtype, labels)


def _check_float(e: Elaboration, value: float, dtype: DType, labels: list[Label]) -> None:
    """Rounding is as it may be; but a number never becomes an infinity, nor 0."""
    rounded = dtype.plain(value)
    limits = _LIMITS(dtype.numpy)
    wider = "" if dtype == F64 else f"; {_ROOMY[dtype.name]} has a wider range"
    if math.isinf(rounded):
        sign = "-" if value < 0 else ""
        e.fail_labels(
            "SW0214",
            f"{value:g} is outside of {dtype}, whose largest number is {float(limits.max):g}",
            labels,
            help=f"infinity is written `{sign}inf`{wider}",
        )
    if rounded == 0 and value != 0:
        e.fail_labels(
            "SW0214",
            f"{value:g} would be 0 in {dtype}, whose smallest number is "
            f"{float(limits.smallest_subnormal):g}",
            labels,
            help=f"write 0 if that is meant{wider}",
        )


_LIMITS: Any = ml_dtypes.finfo  # NumPy's, and bfloat16's
_ROOMY = {"f16": "f32", "bf16": "f64", "f32": "f64"}
