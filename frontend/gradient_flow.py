"""Where gradients flow: from a loss back through its ops, and what stops them on the way.

    loss = mean(cast(argmax(x @ w), f32))   →   nothing reaches w: argmax gives whole numbers

`stop_gradient` stops on purpose; operators that give integers or bools do not vary smoothly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stepwell.ir.graph.core import Op, Value


def reached_by_gradient(ops: Sequence[Op], results: Iterable[Value]) -> set[Value]:
    """The values of floats that the gradient of `results` flows to, going backward."""
    reached = {value for value in results if value.type.dtype.is_float}
    for op in reversed(ops):
        if op.name == "stop_gradient" or reached.isdisjoint(op.results):
            continue
        operands = op.operands
        if op.regions and op.name != "custom_gradient":
            operands = _through_region(op, reached)
        reached |= {value for value in operands if value.type.dtype.is_float}
    return reached


def _through_region(op: Op, reached: set[Value]) -> tuple[Value, ...]:
    """The operands that the reached results of an op depend on, inside its region."""
    region = op.regions[0]
    count = len(region.results)
    if not reached.isdisjoint(op.results[count:]):  # gradients depend on whatever the loss does
        return op.operands
    outer = zip(region.results, op.results[:count], strict=True)
    inner = [value for (_, value), result in outer if result in reached]
    found = reached_by_gradient(region.ops, inner)
    return tuple(o for i, o in zip(region.inputs, op.operands, strict=True) if i in found)


def stopping_path(ops: Sequence[Op], loss: Value, target: Value) -> list[Op]:
    """The ops from the loss down to the one that stops its gradient on the way to `target`; none
    where the gradient arrives, or the loss does not depend on the target but through
    `stop_gradient`."""
    reached = reached_by_gradient(ops, [loss])
    if target in reached:
        return []
    user: dict[Value, Op | None] = {loss: None}  # the op through which a value is depended on
    for op in reversed(ops):
        if op.name == "stop_gradient" or user.keys().isdisjoint(op.results):
            continue
        for value in op.operands:
            user.setdefault(value, op)
    path: list[Op] = []
    value = target
    while (by := user.get(value)) is not None:
        path.insert(0, by)
        value = next(result for result in by.results if result in user)
    first = (i for i, op in enumerate(path) if reached.isdisjoint(op.results))
    return path[: next(first, len(path) - 1) + 1]
