"""Built-ins that move elements about: reshape, transpose, concat, split, gather, …

split(x, 3, axis: -1)   →   three slices along the last axis
"""

from __future__ import annotations

from typing import Any

from stepwell.frontend import dims as rules
from stepwell.frontend import element_types, operators
from stepwell.frontend.builtin_calls import BuiltinCall, builtin
from stepwell.frontend.limits import MAX_RANK
from stepwell.frontend.numbers import as_dim, static_binary
from stepwell.frontend.values import Tensor, kind_of
from stepwell.ir import size
from stepwell.ir.diagnostics import Label
from stepwell.ir.dtypes import I64
from stepwell.ir.size import Dim


@builtin
def reshape(call: BuiltinCall, x: Any, shape: Any) -> Any:
    """The same elements in another shape; one size may be -1: what is left."""
    tensor = call.tensor(x, "x")
    wanted = list(call.shape(shape, "shape"))
    _check_rank(call, len(wanted), "shape")
    if wanted.count(-1) == 1:
        wanted[wanted.index(-1)] = _left_over(call, tensor, wanted)
    for dim in wanted:
        rules.require_nonnegative(call.e, dim, call.where("shape"), "an axis")
    have, want = tensor.type.elements, size.product(wanted)
    if not rules.agree(call.e, have, want, call.where("shape")):
        call.e.fail_labels(
            "SW0221",
            f"reshape: {have} elements cannot become {want}",
            [
                Label(call.where("x"), tensor.describe()),
                Label(call.where("shape"), f"[{', '.join(map(str, wanted))}]"),
            ],
        )
    if tuple(wanted) == tensor.shape:
        return tensor
    return call.emit("reshape", [tensor], ["x"], shape=tuple(wanted))


def _left_over(call: BuiltinCall, x: Tensor, wanted: list[Dim]) -> Dim:
    known = size.product([dim for dim in wanted if dim != -1])
    if known == 0:
        call.fail("SW0221", "-1 beside a size of 0 could be anything", "shape")
    span = call.where("shape")
    return as_dim(call.e, static_binary(call.e, "/", x.type.elements, known, span), span)


def _check_rank(call: BuiltinCall, rank: int, argument: str) -> None:
    if rank > MAX_RANK:
        call.fail("SW0502", f"a tensor has at most {MAX_RANK} axes, not {rank}", argument)


@builtin
def flatten(call: BuiltinCall, x: Any, *, from_: Any = 0, to: Any = -1) -> Any:
    """The axes `from` to `to`, as one."""
    tensor = call.tensor(x, "x")
    if not tensor.shape:
        return call.emit("reshape", [tensor], ["x"], shape=(1,))
    first, last = call.axis(from_, tensor, "from"), call.axis(to, tensor, "to")
    if first > last:
        call.fail("SW0219", f"axis {first} stands after axis {last}", "from")
    whole = size.product(tensor.shape[first : last + 1])
    shape = (*tensor.shape[:first], whole, *tensor.shape[last + 1 :])
    return tensor if first == last else call.emit("reshape", [tensor], ["x"], shape=shape)


@builtin
def transpose(call: BuiltinCall, x: Any, permutation: Any = None) -> Any:
    """The axes in another order; without one, reversed."""
    tensor = call.tensor(x, "x")
    rank = len(tensor.shape)
    if permutation is None:
        order = tuple(reversed(range(rank)))
    else:
        if not isinstance(permutation, list):
            call.fail(
                "SW0217",
                f"`permutation` must be a list of axes, not {kind_of(permutation)}",
                "permutation",
            )
        order = tuple(call.axis(axis, tensor, "permutation") for axis in permutation)
    if sorted(order) != list(range(rank)):
        call.fail(
            "SW0219", f"the {rank} axes must each be named once", "permutation", tensor.describe()
        )
    if order == tuple(range(rank)):
        return tensor
    return call.emit("transpose", [tensor], ["x"], permutation=order)


@builtin
def broadcast(call: BuiltinCall, x: Any, shape: Any) -> Any:
    """`x` stretched to a shape, trailing axes aligned."""
    tensor, wanted = call.tensor(x, "x"), call.shape(shape, "shape")
    _check_rank(call, len(wanted), "shape")
    aligned = wanted[len(wanted) - len(tensor.shape) :]
    fits = len(wanted) >= len(tensor.shape) and all(
        a == 1 or rules.agree(call.e, a, b, call.where("shape"))
        for a, b in zip(tensor.shape, aligned, strict=True)
    )
    if not fits:
        call.fail(
            "SW0201",
            f"{tensor.type} does not stretch to [{', '.join(map(str, wanted))}]",
            "x",
            tensor.describe(),
            help="only an axis of size 1 stretches",
        )
    return operators.broadcast(call.e, tensor, wanted, call.span)


@builtin
def along(call: BuiltinCall, v: Any, x: Any, axis: Any) -> Any:
    """The vector `v` along one axis of `x`, stretched to its shape: a bias per channel."""
    vector, tensor = call.tensor(v, "v"), call.tensor(x, "x")
    at = call.axis(axis, tensor)
    if len(vector.shape) != 1 or not rules.agree(
        call.e, vector.shape[0], tensor.shape[at], call.where("v")
    ):
        call.e.fail_labels(
            "SW0201",
            f"along: axis {at} has the size {tensor.shape[at]}",
            [Label(call.where("v"), vector.describe()), Label(call.where("x"), tensor.describe())],
        )
    return call.emit("broadcast", [vector], ["v"], shape=tensor.shape, axes=(at,))


@builtin
def squeeze(call: BuiltinCall, x: Any, axis: Any) -> Any:
    """Without the named axes, which have size 1."""
    tensor = call.tensor(x, "x")
    axes = call.axes(axis, tensor)
    for at in axes:
        if tensor.shape[at] != 1:
            call.fail(
                "SW0221",
                f"axis {at} has the size {tensor.shape[at]}, not 1",
                "x",
                tensor.describe(),
            )
    shape = tuple(dim for i, dim in enumerate(tensor.shape) if i not in axes)
    return call.emit("reshape", [tensor], ["x"], shape=shape)


@builtin
def unsqueeze(call: BuiltinCall, x: Any, axis: Any) -> Any:
    """With a new axis of size 1."""
    tensor = call.tensor(x, "x")
    at = call.axis(axis, tensor, extra=1)
    shape = (*tensor.shape[:at], 1, *tensor.shape[at:])
    return call.emit("reshape", [tensor], ["x"], shape=shape)


@builtin
def concat(call: BuiltinCall, parts: Any, axis: Any = 0) -> Any:
    tensors = call.tensors(parts, "parts")
    first = tensors[0]
    at = call.axis(axis, first)
    for other in tensors[1:]:
        element_types.same_dtype(
            call.e, "concat", first, other, (call.where("parts"), call.where("parts"))
        )
        same = len(other.shape) == len(first.shape) and all(
            i == at or rules.agree(call.e, a, b, call.where("parts"))
            for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True))
        )
        if not same:
            call.fail("SW0201", f"{first.type} and {other.type} differ beside axis {at}", "parts")
    if len(tensors) == 1:
        return first
    span = call.where("parts")
    tensors = [
        rules.retyped(call.e, t, (*first.shape[:at], t.shape[at], *first.shape[at + 1 :]), span)
        for t in tensors
    ]
    return call.emit("concat", tensors, ["parts"], axis=at)


@builtin
def stack(call: BuiltinCall, parts: Any, axis: Any = 0) -> Any:
    """Tensors of one shape, along a new axis."""
    tensors = call.tensors(parts, "parts")
    at = call.axis(axis, tensors[0], extra=1)
    raised = []
    for part in tensors:
        shape = (*part.shape[:at], 1, *part.shape[at:]) if len(part.shape) >= at else part.shape
        raised.append(call.emit("reshape", [part], ["parts"], shape=shape))
    return concat(call, raised, at)


@builtin
def split(call: BuiltinCall, x: Any, parts: Any, axis: Any = 0) -> Any:
    """Into `parts` equal parts, or into parts of the listed sizes."""
    tensor = call.tensor(x, "x")
    at = call.axis(axis, tensor)
    whole = tensor.shape[at]
    sizes = _part_sizes(call, whole, parts)
    total: Dim = 0
    results = []
    for part in sizes:
        results.append(_slice_axis(call, tensor, at, total, total + part))
        total = total + part
    if not rules.agree(call.e, total, whole, call.where("parts")):
        call.fail(
            "SW0221",
            f"parts of {' + '.join(map(str, sizes))} do not make {whole}",
            "parts",
            tensor.describe(),
        )
    return tuple(results)


def _part_sizes(call: BuiltinCall, whole: Dim, parts: Any) -> list[Dim]:
    if isinstance(parts, list):
        sizes = [call.dim(part, "parts") for part in parts]
        for part in sizes:
            rules.require_nonnegative(call.e, part, call.where("parts"), "a part")
        return sizes
    count = call.integer(parts, "parts", low=1)
    if count > 4096:
        call.fail("SW0502", "more than 4096 parts", "parts")
    if isinstance(whole, int) and whole % count:
        call.fail(
            "SW0205",
            f"{whole} does not divide into {count} equal parts",
            "parts",
            help="list the sizes: `split(x, [a, b], axis: …)`",
        )
    span = call.where("parts")
    part = as_dim(call.e, static_binary(call.e, "/", whole, count, span), span, "a part")
    return [part] * count


def _slice_axis(call: BuiltinCall, x: Tensor, axis: int, start: Dim, stop: Dim) -> Tensor:
    rank = len(x.shape)
    starts = tuple(start if i == axis else 0 for i in range(rank))
    stops = tuple(stop if i == axis else dim for i, dim in enumerate(x.shape))
    return call.emit("slice", [x], ["x"], start=starts, stop=stops, step=(1,) * rank)


@builtin
def pad(call: BuiltinCall, x: Any, low: Any, high: Any = None, value: Any = 0) -> Any:
    """Margins around `x`: `low` before and `high` after each axis, filled with `value`."""
    tensor = call.tensor(x, "x")
    rank = len(tensor.shape)
    before = _margins(call, low, rank, "low")
    after = before if high is None else _margins(call, high, rank, "high")
    element_types.check_literal(call.e, value, tensor.dtype, call.where("value"), tensor)
    return call.emit("pad", [tensor], ["x"], low=before, high=after, value=value)


def _margins(call: BuiltinCall, value: Any, rank: int, argument: str) -> tuple[Dim, ...]:
    margins = call.shape(value, argument)
    if not isinstance(value, list):
        margins = margins * rank
    if len(margins) != rank:
        call.fail("SW0217", f"`{argument}` needs one size for each of {rank} axes", argument)
    for margin in margins:
        rules.require_nonnegative(call.e, margin, call.where(argument), "a margin")
    return margins


@builtin
def reverse(call: BuiltinCall, x: Any, axis: Any = None) -> Any:
    tensor = call.tensor(x, "x")
    return call.emit("reverse", [tensor], ["x"], axes=call.axes(axis, tensor))


@builtin
def gather(call: BuiltinCall, x: Any, indices: Any, axis: Any = 0) -> Any:
    """Slices of `x` along an axis, at the places that an integer tensor names."""
    tensor, places = call.tensor(x, "x"), call.tensor(indices, "indices", I64)
    if not places.dtype.is_int:
        call.fail(
            "SW0213", f"indices are integers, not {places.dtype}", "indices", places.describe()
        )
    return call.emit("gather", [tensor, places], ["x", "indices"], axis=call.axis(axis, tensor))
