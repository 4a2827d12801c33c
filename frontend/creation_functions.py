"""Built-ins that make tensors or tell sizes: zeros, ones, full, iota, size, rank."""

from __future__ import annotations

from typing import Any

from stepwell.frontend import dims as rules
from stepwell.frontend.builtin_calls import BuiltinCall, builtin
from stepwell.frontend.limits import MAX_RANK
from stepwell.frontend.operators import broadcast, number_tensor
from stepwell.frontend.values import Scalar, Tensor, is_dim
from stepwell.ir.dtypes import BOOL, F32, I64, DType
from stepwell.ir.size import Dim


def checked_shape(call: BuiltinCall, value: Any) -> tuple[Dim, ...]:
    shape = call.shape(value, "shape")
    if len(shape) > MAX_RANK:
        call.fail("SW0502", f"a tensor has at most {MAX_RANK} axes", "shape")
    for dim in shape:
        rules.require_nonnegative(call.e, dim, call.where("shape"), "an axis")
    return shape


def _filled(call: BuiltinCall, shape: Any, value: Any, dtype: DType) -> Tensor:
    return number_tensor(call.e, value, dtype, checked_shape(call, shape), call.span)


@builtin
def zeros(call: BuiltinCall, shape: Any, dtype: Any = F32) -> Any:
    element = call.dtype(dtype, "dtype")
    return _filled(call, shape, False if element.is_bool else 0, element)


@builtin
def ones(call: BuiltinCall, shape: Any, dtype: Any = F32) -> Any:
    element = call.dtype(dtype, "dtype")
    return _filled(call, shape, True if element.is_bool else 1, element)


@builtin
def full(call: BuiltinCall, shape: Any, value: Any, dtype: Any = None) -> Any:
    """Every element the same: a number, or a tensor of one element."""
    if isinstance(value, Tensor):
        if value.shape:
            call.fail("SW0213", "the value must be one element", "value", value.describe())
        return broadcast(call.e, value, checked_shape(call, shape), call.span)
    if isinstance(value, Scalar):
        call.fail("SW0604", "one element of a formula cannot fill a tensor", "value")
    if dtype is None:
        element = BOOL if isinstance(value, bool) else I64 if is_dim(value) else F32
    else:
        element = call.dtype(dtype, "dtype")
    return _filled(call, shape, value, element)


@builtin
def iota(call: BuiltinCall, shape: Any, axis: Any = 0, dtype: Any = I64) -> Any:
    """0, 1, 2, … along an axis."""
    wanted = checked_shape(call, shape)
    rank = len(wanted)
    at = call.integer(axis, "axis")
    if not -rank <= at < rank:
        call.fail("SW0219", f"there is no axis {at}", "axis")
    return call.emit("iota", [], dtype=call.dtype(dtype, "dtype"), shape=wanted, axis=at % rank)


@builtin
def size(call: BuiltinCall, x: Any, axis: Any = None) -> Any:
    """The size of an axis, or how many elements there are: known where sizes are."""
    tensor = call.tensor(x, "x")
    return tensor.type.elements if axis is None else tensor.shape[call.axis(axis, tensor)]


@builtin
def rank(call: BuiltinCall, x: Any) -> Any:
    """How many axes."""
    return len(call.tensor(x, "x").shape)
