"""Every operator × element type × example: each way to evaluate gives the reference's answer.

A way is a function from an op, its arrays and sizes to arrays. All derives from the registry: a new
operator needs no new test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from stepwell.ir.dtypes import ALL, DType
from stepwell.ir.formula import evaluate_formula
from stepwell.ir.graph import REGISTRY, Graph, Op, Value, parse_graph, print_graph, verify_graph
from stepwell.ir.graph.core import Array, Example, NoBody, OpDef
from stepwell.ir.graph.interpreter import run_op
from stepwell.ir.size import symbols
from tests.ops.sampling import SIZES, arrays_for
from tests.ops.ways import by_loops, by_native_code, by_scheduled_loops

Way = Callable[[Op, Sequence[Array], Mapping[str, int]], Sequence[Array]]


@dataclass(frozen=True)
class Case:
    definition: OpDef
    dtype: DType
    example: Example

    def op(self) -> Op:
        operands = tuple(
            Value(name, type)
            for name, type in zip(
                self.definition.operand_names(len(self.example.operands)),
                self.example.operands,
                strict=True,
            )
        )
        types = self.definition.infer(self.example.operands, self.example.attributes)
        results = tuple(Value(f"r{i}", type) for i, type in enumerate(types))
        return Op(self.definition, operands, self.example.attributes, results)

    def graph(self) -> Graph:
        op = self.op()
        values = (*op.operands, *op.results)
        sizes = sorted({name for v in values for dim in v.type.shape for name in symbols(dim)})
        results = tuple((value.name, value) for value in op.results)
        return Graph("case", tuple(sizes or ["N"]), op.operands, (), (), (op,), results)


CASES = [
    pytest.param(
        Case(definition, dtype, example),
        id=f"{definition.name}-{dtype}-{', '.join(map(str, example.operands)) or number}",
    )
    for definition in REGISTRY.values()
    for dtype in ALL
    for number, example in enumerate(definition.examples(dtype))
]


def by_formula(op: Op, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
    """The operator's body, evaluated over a grid."""
    names = op.definition.operand_names(len(arrays))
    named = dict(zip(names, arrays, strict=True))
    return [evaluate_formula(formula, named, sizes) for formula in op.formulas()]


WAYS: dict[str, Way] = {
    "formula": by_formula,
    "loops": by_loops,
    "loops-opt": by_scheduled_loops,
    "native": by_native_code,
}

TOLERANCE = {"f64": 1e-12, "f32": 2e-5, "f16": 2e-3, "bf16": 2e-2}


def assert_close(found: Array, expected: Array, dtype: DType, way: str) -> None:
    """Same dtype and shape; floats within a few units in the last place of the largest."""
    assert found.dtype == expected.dtype == dtype.numpy, way
    assert found.shape == expected.shape, way
    if not dtype.is_float:
        np.testing.assert_array_equal(found, expected, way)
        return
    limit = TOLERANCE[dtype.name]
    np.testing.assert_allclose(
        found.astype(np.float64), expected.astype(np.float64), rtol=limit, atol=limit, err_msg=way
    )


@pytest.mark.parametrize("case", CASES)
def test_every_way_agrees_with_the_reference(case: Case) -> None:
    op = case.op()
    symbolic = any(symbols(d) for v in (*op.operands, *op.results) for d in v.type.shape)
    if isinstance(op.definition.body, NoBody) or not op.formulas():
        return
    for sizes in SIZES if symbolic or op.name == "dim" else SIZES[:1]:
        arrays = arrays_for(case.definition, case.example, sizes)
        values = dict(zip(op.operands, arrays, strict=True))
        expected = run_op(op, values, sizes, "native")
        for name, way in WAYS.items():
            found = way(op, arrays, sizes)
            for value, x, y in zip(op.results, found, expected, strict=True):
                assert_close(x, y, value.type.dtype, name)


@pytest.mark.parametrize("case", CASES)
def test_print_and_parse_give_an_equal_graph(case: Case) -> None:
    graph = case.graph()
    verify_graph(graph)
    text = print_graph(graph)
    again = parse_graph(text)
    assert again == graph
    assert print_graph(again) == text


def test_every_operator_has_examples() -> None:
    for definition in REGISTRY.values():
        if not isinstance(definition.body, NoBody):
            assert any(definition.examples(dtype) for dtype in ALL), definition.name
