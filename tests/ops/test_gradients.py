"""Every gradient rule against finite differences along one random direction, in f64."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.dtypes import F64
from stepwell.ir.graph import REGISTRY, GraphBuilder, Op, Value, interpret_graph, verify_graph
from stepwell.ir.graph.core import Array, Example, NotDifferentiable, OpDef
from stepwell.ir.graph.interpreter import run_op, static_type
from stepwell.ir.size import symbols
from tests.ops.sampling import arrays_for

STEP = 1e-6

# Where an operator is smooth: the range of each operand.
RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    **dict.fromkeys(("log", "log2", "sqrt", "rsqrt"), ((0.5, 3.0),)),
    "log1p": ((-0.5, 2.0),),
    "pow": ((0.5, 2.0), (-2.0, 2.0)),
    "div": ((-2.0, 2.0), (0.5, 2.0)),
    "mod": ((0.1, 0.9), (1.0, 2.0)),
    "floordiv": ((0.1, 0.9), (1.0, 2.0)),
    **dict.fromkeys(("floor", "ceil", "trunc"), ((0.2, 0.8),)),
    "round": ((0.6, 0.9),),
    "sign": ((0.2, 0.8),),
    "abs": ((0.2, 0.8),),
}

CASES = [
    pytest.param(definition, example, id=f"{definition.name}-{number}")
    for definition in REGISTRY.values()
    if not isinstance(definition.gradient, NotDifferentiable)
    if definition.name != "stop_gradient"  # whose gradient is none, whatever its slope
    for number, example in enumerate(definition.examples(F64))
    if all(type.dtype is F64 or type.dtype.kind != "float" for type in example.operands)
]


@pytest.mark.parametrize(("definition", "example"), CASES)
def test_gradient_along_a_random_direction(definition: OpDef, example: Example) -> None:
    sizes = {"N": 3}
    random = np.random.default_rng(1)
    types = [static_type(type, sizes) for type in example.operands]
    if definition.infer(example.operands, example.attributes)[0].dtype is not F64:
        return
    arrays = _inputs(definition, example, sizes, random)
    named = sorted({s for t in example.operands for d in t.shape for s in symbols(d)})
    builder = GraphBuilder("gradient", named)
    names = [f"a{i}" for i in range(len(types))]
    operands = [builder.input(n, t) for n, t in zip(names, example.operands, strict=True)]
    result = builder.op(definition.name, operands, **example.attributes)
    op = builder.ops[-1]
    cotangent = builder.input("dy", result.type)
    gradient = definition.gradient
    assert not isinstance(gradient, NotDifferentiable)
    found = list(gradient(builder, op, [cotangent]))
    assert len(found) == len(operands)
    graph = builder.finish([(f"d{i}", v) for i, v in enumerate(found) if v is not None])
    verify_graph(graph)
    for value, operand in zip(found, operands, strict=True):
        assert value is None or value.type == operand.type

    dy = random.normal(size=[int(str(d)) for d in static_type(result.type, sizes).shape])
    given = dict(zip(names, arrays, strict=True))
    derivatives = interpret_graph(graph, {**given, "dy": dy})
    directions = [random.normal(size=a.shape) if a.dtype == F64.numpy else None for a in arrays]
    along = sum(
        float(np.sum(derivatives[f"d{i}"] * direction))
        for i, direction in enumerate(directions)
        if direction is not None and found[i] is not None
    )
    up, down = (_moved(op, arrays, directions, sign * STEP, sizes) for sign in (1, -1))
    difference = np.subtract(up, down, out=np.zeros_like(up), where=np.isfinite(up))
    numeric = float(np.sum(dy * difference)) / (2 * STEP)
    assert along == pytest.approx(numeric, rel=1e-5, abs=1e-6)


def _inputs(
    definition: OpDef, example: Example, sizes: dict[str, int], random: np.random.Generator
) -> list[Array]:
    arrays = arrays_for(definition, example, sizes)
    for i, (low, high) in enumerate(RANGES.get(definition.name, ())):
        arrays[i] = random.uniform(low, high, arrays[i].shape)
    return arrays


def _moved(
    op: Op, arrays: list[Array], directions: list[Array | None], step: float, sizes: dict[str, int]
) -> Array:
    values: dict[Value, Array] = {}
    for value, array, direction in zip(op.operands, arrays, directions, strict=True):
        values[value] = array if direction is None else array + step * direction
    return run_op(op, values, sizes, "native")[0]


def test_every_operator_has_a_gradient_or_says_why_not() -> None:
    for definition in REGISTRY.values():
        if isinstance(definition.gradient, NotDifferentiable):
            assert len(definition.gradient.why) > 10, definition.name
