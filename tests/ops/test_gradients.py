"""Every gradient rule against finite differences, first and second order, in f64."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.dtypes import F64
from stepwell.ir.graph import REGISTRY, GraphBuilder, verify_graph
from stepwell.ir.graph.core import Array, Example, NotDifferentiable, OpDef
from stepwell.ir.size import symbols
from tests.ops.derivatives import check_derivatives
from tests.ops.sampling import arrays_for

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
def test_first_and_second_derivative_along_random_directions(
    definition: OpDef, example: Example
) -> None:
    sizes = {"N": 3}
    if definition.infer(example.operands, example.attributes)[0].dtype is not F64:
        return
    arrays = _inputs(definition, example, sizes, np.random.default_rng(1))
    named = sorted({s for t in example.operands for d in t.shape for s in symbols(d)})
    b = GraphBuilder("f", named)
    operands = [b.input(f"a{i}", type) for i, type in enumerate(example.operands)]
    graph = b.finish([("y", b.op(definition.name, operands, **example.attributes))])
    given = {value.name: array for value, array in zip(operands, arrays, strict=True)}
    smooth = check_derivatives(graph, given, np.random.default_rng(2))
    assert smooth or any(0 in array.shape for array in arrays), "nothing was checked"


@pytest.mark.parametrize(("definition", "example"), CASES)
def test_each_rule_gives_what_has_the_operand_s_type(definition: OpDef, example: Example) -> None:
    named = sorted({s for t in example.operands for d in t.shape for s in symbols(d)})
    b = GraphBuilder("f", named)
    operands = [b.input(f"a{i}", type) for i, type in enumerate(example.operands)]
    result = b.op(definition.name, operands, **example.attributes)
    gradient = definition.gradient
    assert not isinstance(gradient, NotDifferentiable)
    if not result.type.dtype.is_float:
        return
    found = gradient(b, b.ops[-1], [b.input("dy", result.type)])
    verify_graph(b.finish([(f"d{i}", v) for i, v in enumerate(found) if v is not None]))
    for value, operand in zip(found, operands, strict=True):
        assert value is None or value.type == operand.type


def _inputs(
    definition: OpDef, example: Example, sizes: dict[str, int], random: np.random.Generator
) -> list[Array]:
    arrays = arrays_for(definition, example, sizes)
    for i, (low, high) in enumerate(RANGES.get(definition.name, ())):
        arrays[i] = random.uniform(low, high, arrays[i].shape)
    return arrays


def test_every_operator_has_a_gradient_or_says_why_not() -> None:
    for definition in REGISTRY.values():
        if isinstance(definition.gradient, NotDifferentiable):
            assert len(definition.gradient.why) > 10, definition.name
