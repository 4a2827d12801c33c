"""Values made of parts joined: a nest of their own for each, so that no element is chosen.

In: a kernel's results and what produces them. Out: the concat that says where the parts begin.

    %c = concat(%x, %y) {axis = 1} : f32[N, 96]             for i in 0..N { for j in 0..64 {
    %r = max(%c, %zero)                                →      r[i, j] = max(x[i, j], 0.0) } }
                                                            for i … { for j in 0..32 {
                                                              r[i, j + 64] = max(y[i, j], 0.0) } }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepwell.ir.graph.core import Op, Value
from stepwell.ir.scalar import Expr, Var, loads
from stepwell.ir.size import product
from stepwell.lowering.survey import reduces

_RUN = 16  # elements side by side that are worth a loop of their own


def joins_runs(op: Op) -> bool:
    """Whether the op is a concat of parts that lie in long runs."""
    if op.name != "concat":
        return False
    axis = op.attributes["axis"]
    runs = [product(part.type.shape[axis:]) for part in op.operands]
    return all(not isinstance(run, int) or run == 0 or run >= _RUN for run in runs)


def joined_by(producers: Mapping[Value, Op], results: Sequence[Value]) -> Op | None:
    """The first concat in long runs that results of one shape read at their own elements; None
    where there is none, or the kernel reduces something: its rows are whole."""
    if any(reduces(op) for op in producers.values()):
        return None
    seen, waiting = set[Value](), list(reversed(results))
    while waiting:
        op = producers.get(value := waiting.pop())
        if op is None or value in seen:
            continue
        seen.add(value)
        if joins_runs(op):
            return op
        waiting += reversed(_read_in_place(op))
    return None


def _read_in_place(op: Op) -> list[Value]:
    """The operands that an op of one result reads at its own element."""
    if len(op.results) != 1:
        return []
    (formula,) = op.formulas()
    names = op.definition.operand_names(len(op.operands))
    operands = dict(zip(names, op.operands, strict=True))
    own: tuple[Expr, ...] = tuple(Var(axis.name) for axis in formula.axes)
    found = [operands[x.buffer] for x in loads(formula.value) if x.indices == own]
    return [value for value in found if value.type.shape == op.result.type.shape]
