"""Built-ins: element-wise mathematics, reductions, casts.

mean(x, axis: -1)   →   %s = reduce_sum(%x) {axes = [1]},  %0 = mul(%s, 1/n)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stepwell.frontend import element_types, elements, operators
from stepwell.frontend.builtin_calls import BUILTINS, BuiltinCall, builtin
from stepwell.frontend.numbers import bounded, static_binary
from stepwell.frontend.values import Builtin, Deferred, Scalar, Tensor, is_dim, is_number, kind_of
from stepwell.ir import scalar, size
from stepwell.ir.dtypes import BOOL, F32, I64, DType


def _unary(name: str) -> Callable[..., Any]:
    def run(call: BuiltinCall, x: Any) -> Any:
        return operators.unary(
            call.e, name, _float_operand(call, name, x), call.span, call.where("x")
        )

    return run


def _float_operand(call: BuiltinCall, name: str, x: Any) -> Any:
    floats_only = name in scalar.FLOAT_UNARY or name in scalar.PREDICATES
    if floats_only and isinstance(x, (Tensor, Scalar)) and not x.dtype.is_float:
        shown = x.describe() if isinstance(x, Tensor) else ""
        call.fail("SW0213", f"takes floats, not {x.dtype}", "x", shown, help="`cast(x, f32)` first")
    return x


for _name in scalar.UNARY:
    if _name not in ("neg", "not"):
        BUILTINS[_name] = Builtin(_name, _unary(_name))


def _elementwise(call: BuiltinCall, op: str, x: Any, y: Any) -> Any:
    spans = (call.where("x"), call.where("y"))
    return operators.binary(call.e, op, x, y, call.span, spans)


@builtin
def pow_(call: BuiltinCall, x: Any, y: Any) -> Any:
    return _elementwise(call, "**", x, y)


@builtin
def max_(call: BuiltinCall, x: Any, y: Any = None, *, axis: Any = None, keep: Any = False) -> Any:
    return _extreme(call, "max", x, y, axis, keep)


@builtin
def min_(call: BuiltinCall, x: Any, y: Any = None, *, axis: Any = None, keep: Any = False) -> Any:
    return _extreme(call, "min", x, y, axis, keep)


def _extreme(call: BuiltinCall, op: str, x: Any, y: Any, axis: Any, keep: Any) -> Any:
    """Of two operands element by element, or of one tensor along axes."""
    if y is None:
        return _reduce(call, f"reduce_{op}", x, axis, keep)
    if axis is not None:
        call.fail(
            "SW0220",
            "of two operands there is no axis",
            "axis",
            help=f"`{op}(x, axis: …)` reduces one tensor",
        )
    if is_dim(x) and is_dim(y):
        chosen = size.maximum(x, y) if op == "max" else size.minimum(x, y)
        return bounded(call.e, chosen, call.span)
    if is_number(x) and is_number(y):
        below = static_binary(call.e, "<", x, y, call.span)
        if isinstance(below, bool):
            return y if below == (op == "max") else x
        return bounded(call.e, Deferred(op, (x, y)), call.span)
    return _elementwise(call, op, x, y)


@builtin
def select(call: BuiltinCall, condition: Any, x: Any, y: Any) -> Any:
    """`x` where the condition holds, else `y`."""
    if any(isinstance(v, Scalar) for v in (condition, x, y)):
        all_spans = (call.where("condition"), call.where("x"), call.where("y"))
        return elements.scalar_select(call.e, (condition, x, y), call.span, all_spans)
    if isinstance(condition, bool):
        return x if condition else y
    spans = (call.where("x"), call.where("y"))
    test = call.tensor(condition, "condition", BOOL)
    if not test.dtype.is_bool:
        call.fail(
            "SW0213",
            f"the condition must be bool, not {test.dtype}",
            "condition",
            test.describe(),
            help="compare first, as in `x > 0`",
        )
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        integers = is_dim(x) and is_dim(y)
        dtype = BOOL if isinstance(x, bool) else I64 if integers else None
        x = call.tensor(x, "x") if dtype is None else call.tensor(x, "x", dtype)
    a, b = operators.together(call.e, "select", x, y, spans)
    places = (call.where("condition"), *spans)
    shape = operators.common_shape(call.e, [test, a, b], places, "select")
    parts = [
        operators.broadcast(call.e, t, shape, s) for t, s in zip((test, a, b), places, strict=True)
    ]
    return call.emit("select", parts, ["condition", "x", "y"])


@builtin
def cast(call: BuiltinCall, x: Any, dtype: Any) -> Any:
    target = call.dtype(dtype, "dtype")
    if isinstance(x, Scalar):
        return Scalar(scalar.Cast(x.expr, target), x.state) if x.dtype != target else x
    if is_number(x):
        if isinstance(x, float) and target.is_int and math.isfinite(x):
            x = int(x)
        if isinstance(x, bool) and not target.is_bool:
            x = int(x)
        return operators.number_tensor(call.e, x, target, (), call.where("x"))
    tensor = call.tensor(x, "x")
    return tensor if tensor.dtype == target else call.emit("cast", [tensor], ["x"], dtype=target)


@builtin
def dtype_of(call: BuiltinCall, x: Any) -> DType:
    """The element type of a tensor, for `cast` and `zeros`."""
    return x.dtype if isinstance(x, Scalar) else call.tensor(x, "x").dtype


# reductions


def _reduce(call: BuiltinCall, op: str, x: Any, axis: Any, keep: Any) -> Any:
    if isinstance(x, Scalar):
        call.fail(
            "SW0604",
            "one element of a formula cannot be reduced",
            "x",
            help=f"inside index notation, write `{call.name}[k] …`",
        )
    tensor = call.tensor(x, "x")
    _check_reducible(call, op, tensor)
    axes = call.axes(axis, tensor)
    result = call.emit(op, [tensor], ["x"], axes=axes) if axes else tensor
    return _kept(call, result, tensor, axes) if call.boolean(keep, "keep") else result


def _check_reducible(call: BuiltinCall, op: str, x: Tensor) -> None:
    wants_bool = op in ("reduce_any", "reduce_all")
    if x.dtype.is_bool != wants_bool and (wants_bool or op in ("reduce_sum", "reduce_prod")):
        help = "compare first, as in `x > 0`" if wants_bool else "`cast(x, i64)` first"
        call.fail("SW0213", f"does not take {x.dtype}", "x", x.describe(), help=help)


def _kept(call: BuiltinCall, result: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    shape = tuple(1 if i in axes else dim for i, dim in enumerate(x.shape))
    return result if result.shape == shape else call.emit("reshape", [result], shape=shape)


@builtin
def sum_(call: BuiltinCall, x: Any, axis: Any = None, keep: Any = False) -> Any:
    return _reduce(call, "reduce_sum", x, axis, keep)


@builtin
def prod(call: BuiltinCall, x: Any, axis: Any = None, keep: Any = False) -> Any:
    return _reduce(call, "reduce_prod", x, axis, keep)


@builtin
def any_(call: BuiltinCall, x: Any, axis: Any = None, keep: Any = False) -> Any:
    return _reduce(call, "reduce_any", x, axis, keep)


@builtin
def all_(call: BuiltinCall, x: Any, axis: Any = None, keep: Any = False) -> Any:
    return _reduce(call, "reduce_all", x, axis, keep)


@builtin
def mean(call: BuiltinCall, x: Any, axis: Any = None, keep: Any = False) -> Any:
    """The sum times 1/n; divided by n where n is known only at run time. Of bools, how many of
    them are true, as a fraction in f32."""
    if not isinstance(x, Scalar):
        tensor = call.tensor(x, "x")
        if tensor.dtype.is_bool:
            x = tensor = call.emit("cast", [tensor], ["x"], dtype=F32)
        if not tensor.dtype.is_float:
            call.fail(
                "SW0213",
                f"takes floats, not {tensor.dtype}",
                "x",
                tensor.describe(),
                help="`mean(cast(x, f32))`",
            )
    total: Tensor = _reduce(call, "reduce_sum", x, axis, keep)
    count = size.product([tensor.shape[a] for a in call.axes(axis, tensor)])
    spans = (call.span, call.span)
    if count == 1:
        return total
    if isinstance(count, int) and count > 0:
        return operators.binary(call.e, "*", total, 1.0 / count, call.span, spans)
    return operators.binary(call.e, "/", total, count, call.span, spans)


def _arg(call: BuiltinCall, op: str, x: Any, axis: Any, keep: Any) -> Any:
    if isinstance(x, Scalar):
        call.fail(
            "SW0604",
            "one element of a formula cannot be reduced",
            "x",
            help=f"inside index notation, write `{call.name}[k] …`",
        )
    tensor = call.tensor(x, "x")
    if axis is None:
        if len(tensor.shape) != 1:
            call.fail(
                "SW0219",
                "name the axis",
                "x",
                tensor.describe(),
                help=f"as in `{call.name}(x, axis: -1)`",
            )
        axis = 0
    at = call.axis(axis, tensor)
    result = call.emit(op, [tensor], ["x"], axis=at)
    return _kept(call, result, tensor, (at,)) if call.boolean(keep, "keep") else result


@builtin
def argmax(call: BuiltinCall, x: Any, axis: Any = None, keep: Any = False) -> Any:
    return _arg(call, "argmax", x, axis, keep)


@builtin
def argmin(call: BuiltinCall, x: Any, axis: Any = None, keep: Any = False) -> Any:
    return _arg(call, "argmin", x, axis, keep)


@builtin
def cumsum(call: BuiltinCall, x: Any, axis: Any = -1) -> Any:
    tensor = call.tensor(x, "x")
    return call.emit("cumsum", [tensor], ["x"], axis=call.axis(axis, tensor))


@builtin
def einsum(call: BuiltinCall, spec: Any, x: Any, y: Any) -> Any:
    """A contraction of two tensors, as in `einsum("bik,bkj->bij", a, b)`."""
    if not isinstance(spec, str):
        call.fail("SW0217", f"`spec` must be a string, not {kind_of(spec)}", "spec")
    a, b = call.tensor(x, "x"), call.tensor(y, "y")
    element_types.same_dtype(call.e, "einsum", a, b, (call.where("x"), call.where("y")))
    return call.emit("contract", [a, b], ["x", "y"], spec=spec.replace(" ", ""))
