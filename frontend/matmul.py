"""`x @ w` as a contraction: vectors, matrices, batches.

f32[N, T, D] @ f32[D, K]        →  contract {spec = "bik,kj->bij"}     one shared matrix
f32[B, M, K] @ f32[B, K, N]     →  contract {spec = "bik,bkj->bij"}
"""

from __future__ import annotations

from typing import Any, NoReturn

from stepwell.frontend import dims
from stepwell.frontend.elaboration import Elaboration
from stepwell.frontend.element_types import same_dtype
from stepwell.frontend.values import Tensor, kind_of
from stepwell.ir.diagnostics import Label
from stepwell.ir.size import Dim
from stepwell.ir.span import Span

BATCH_LETTERS = "bcdefghlmnopqrstuvwxyzaABCDEFGH"


def matmul(e: Elaboration, left: Any, right: Any, span: Span, spans: tuple[Span, Span]) -> Tensor:
    """The product of the last axis of `left` and the last but one (or only) of `right`."""
    for value, where in zip((left, right), spans, strict=True):
        if not isinstance(value, Tensor) or not value.shape:
            found = value.describe() if isinstance(value, Tensor) else kind_of(value)
            e.fail(
                "SW0202",
                "matmul: each operand needs at least one axis",
                where,
                found,
                help="`*` multiplies by a number",
            )
    same_dtype(e, "@", left, right, spans)
    if left.dtype.is_bool:
        e.fail("SW0213", "`@` does not take bools", span, help="`cast(x, f32)` first")
    inner = right.shape[-2] if len(right.shape) > 1 else right.shape[0]
    if not dims.agree(e, left.shape[-1], inner, span):
        _inner_differ(e, left, right, inner, spans)
    at = max(len(right.shape) - 2, 0)
    right = _with_dim(e, right, at, left.shape[-1], spans[1])
    left, right, spec = _spec(e, left, right, span, spans)
    return e.emit("contract", [left, right], span=span, spans=spans, what="matmul", spec=spec)


def _inner_differ(
    e: Elaboration, left: Tensor, right: Tensor, inner: Dim, spans: tuple[Span, Span]
) -> NoReturn:
    k = left.shape[-1]
    help = dims.hint_same_name(k, inner)
    if "`param " in right.origin.phrase:
        name = right.origin.phrase.split("`param ")[1].split("`")[0]
        shape = [*right.shape]
        shape[-2 if len(shape) > 1 else 0] = k
        help = f"declare `param {name}: {right.dtype}[{', '.join(map(str, shape))}]`"
    elif len(right.shape) > 1 and right.shape[-1] == k:
        help = "is the right operand transposed? `transpose(w, [1, 0])`"
    e.fail_labels(
        "SW0203",
        f"matmul: inner dimensions differ, {k} and {inner}",
        [Label(spans[0], left.describe()), Label(spans[1], right.describe())],
        help=help,
    )


def _spec(
    e: Elaboration, left: Tensor, right: Tensor, span: Span, spans: tuple[Span, Span]
) -> tuple[Tensor, Tensor, str]:
    rows = "i" if len(left.shape) > 1 else ""
    columns = "j" if len(right.shape) > 1 else ""
    batch_left, batch_right = left.shape[:-2], right.shape[:-2]
    rank = max(len(batch_left), len(batch_right))
    batch = BATCH_LETTERS[:rank]
    keep_left, keep_right = [], []
    for axis in range(-rank, 0):
        a = batch_left[axis] if len(batch_left) >= -axis else None
        b = batch_right[axis] if len(batch_right) >= -axis else None
        if a is not None and b is not None and a != 1 and b != 1 and not dims.agree(e, a, b, span):
            e.fail_labels(
                "SW0201",
                f"matmul: batch dimensions differ, {a} and {b}",
                [Label(spans[0], left.describe()), Label(spans[1], right.describe())],
                help=dims.hint_same_name(a, b),
            )
        if a is not None and b is not None and a != 1 and b != 1:
            right = _with_dim(e, right, len(batch_right) + axis, a, spans[1])
        if a is not None and not (a == 1 and b not in (None, 1)):
            keep_left.append(axis)
        if b is not None and not (b == 1 and a not in (None, 1)):
            keep_right.append(axis)
    left = _squeezed(e, left, keep_left, len(batch_left), spans[0])
    right = _squeezed(e, right, keep_right, len(batch_right), spans[1])
    in_left = "".join(batch[a] for a in keep_left) + rows + "k"
    in_right = "".join(batch[a] for a in keep_right) + "k" + columns
    return left, right, f"{in_left},{in_right}->{batch}{rows}{columns}"


def _with_dim(e: Elaboration, x: Tensor, axis: int, dim: Dim, span: Span) -> Tensor:
    """`x` with one size written as the other operand writes it."""
    return dims.retyped(e, x, (*x.shape[:axis], dim, *x.shape[axis + 1 :]), span)


def _squeezed(e: Elaboration, x: Tensor, keep: list[int], batch: int, span: Span) -> Tensor:
    """Without the batch axes of size 1 that the other operand stretches."""
    if len(keep) == batch:
        return x
    shape = tuple(x.shape[:batch][axis] for axis in keep) + x.shape[batch:]
    result = e.emit("reshape", [x], span=span, spans=[span], shape=shape)
    return Tensor(result.value, x.origin)
