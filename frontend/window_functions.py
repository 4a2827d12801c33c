"""Built-ins over windows: what `nn`'s convolutions and pools are written with.

conv(x, w, padding: 1)          x f32[N, C, *S], w f32[O, C/groups, *K], one to three axes S
window_max(x, [3, 3], stride: 2, padding: 1)        windows over the last axes of x
"""

from __future__ import annotations

from typing import Any

from stepwell.frontend import dims as rules
from stepwell.frontend import element_types
from stepwell.frontend.builtin_calls import BuiltinCall, builtin
from stepwell.frontend.values import Tensor
from stepwell.ir.size import Dim, exact_quotient, floordiv


def _per_axis(
    call: BuiltinCall, value: Any, count: int, argument: str, low: int
) -> tuple[int, ...]:
    """One number for every axis, or a list of them."""
    if not isinstance(value, list):
        return (call.integer(value, argument, low),) * count
    if len(value) != count:
        call.fail("SW0217", f"`{argument}` needs {count} numbers, not {len(value)}", argument)
    return tuple(call.integer(part, argument, low) for part in value)


@builtin
def conv(
    call: BuiltinCall,
    x: Any,
    w: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Any:
    """A convolution of one to three spatial axes (correlation, as in every framework)."""
    image, weight = call.tensor(x, "x"), call.tensor(w, "w")
    element_types.same_dtype(call.e, "conv", image, weight, (call.where("x"), call.where("w")))
    spatial = len(image.shape) - 2
    if not 1 <= spatial <= 3 or len(weight.shape) != len(image.shape):
        call.fail(
            "SW0210",
            "x and w need 3 to 5 axes, as many each: x [N, C, *S], w [O, C, *K]",
            "x",
            f"{image.describe()}; w is {weight.type}",
        )
    strides = _per_axis(call, stride, spatial, "stride", 1)
    margins = _per_axis(call, padding, spatial, "padding", 0)
    dilations = _per_axis(call, dilation, spatial, "dilation", 1)
    count = call.integer(groups, "groups", 1)
    _check_channels(call, image, weight, count)
    for axis in range(spatial):
        _check_window(
            call,
            image.shape[2 + axis],
            weight.shape[2 + axis],
            2 * margins[axis],
            dilations[axis],
            2 + axis,
        )
    return call.emit(
        "conv",
        [image, weight],
        ["x", "w"],
        stride=strides,
        padding_low=margins,
        padding_high=margins,
        dilation=dilations,
        groups=count,
    )


def _check_channels(call: BuiltinCall, x: Tensor, w: Tensor, groups: int) -> None:
    channels, outputs = x.shape[1], w.shape[0]
    for dim, what in ((channels, "channels of `x`"), (outputs, "channels of the result")):
        if isinstance(dim, int) and dim % groups:
            call.fail(
                "SW0205", f"{dim} {what} do not divide into {groups} groups", "groups", x.describe()
            )
        if exact_quotient(dim, groups) is None:
            call.e.constrain(dim, "%", groups, f"{dim} must be divisible by {groups}", call.span)
    if not rules.agree(call.e, floordiv(channels, groups), w.shape[1], call.span):
        call.fail(
            "SW0203",
            f"x has {channels} channels in {groups} group(s), w takes {w.shape[1]}",
            "x",
            f"{x.describe()}; w is {w.type}",
        )


def _check_window(
    call: BuiltinCall, dim: Dim, window: Dim, padding: int, dilation: int, axis: int
) -> None:
    reach = dilation * (window - 1) + 1
    rules.require_nonnegative(
        call.e,
        dim + padding - reach,
        call.where("x"),
        f"axis {axis} of {dim}, padded by {padding}, less a window of {reach},",
    )


def _window(
    call: BuiltinCall, op: str, x: Any, window: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    tensor = call.tensor(x, "x")
    spatial = len(window) if isinstance(window, list) else len(tensor.shape) - 2
    lead = len(tensor.shape) - spatial
    if lead < 0 or spatial < 1:
        call.fail("SW0210", f"`x` has fewer than {spatial} axes", "x", tensor.describe())
    sizes = _per_axis(call, window, spatial, "window", 1)
    strides = sizes if stride is None else _per_axis(call, stride, spatial, "stride", 1)
    margins = _per_axis(call, padding, spatial, "padding", 0)
    dilations = _per_axis(call, dilation, spatial, "dilation", 1)
    for i in range(spatial):
        _check_window(
            call, tensor.shape[lead + i], sizes[i], 2 * margins[i], dilations[i], lead + i
        )
        if op == "window_max" and margins[i] >= (sizes[i] - 1) * dilations[i] + 1:
            call.fail(
                "SW0217", f"a padding of {margins[i]} makes windows of padding alone", "padding"
            )
    ones, none = (1,) * lead, (0,) * lead
    return call.emit(
        op,
        [tensor],
        ["x"],
        window=(*ones, *sizes),
        stride=(*ones, *strides),
        padding_low=(*none, *margins),
        padding_high=(*none, *margins),
        dilation=(*ones, *dilations),
    )


@builtin
def window_max(
    call: BuiltinCall, x: Any, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1
) -> Any:
    """The largest element of each window; padding never wins. The stride is the window's size."""
    return _window(call, "window_max", x, window, stride, padding, dilation)


@builtin
def window_sum(
    call: BuiltinCall, x: Any, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1
) -> Any:
    """The sum over each window; padding counts as 0. The stride is the window's size."""
    return _window(call, "window_sum", x, window, stride, padding, dilation)
