"""What the gradient of index notation looks like; that it is right, the fuzz tests say."""

from __future__ import annotations

import pytest

from stepwell.ir.graph import GraphBuilder, Value
from stepwell.ir.graph.core import NotDifferentiable
from stepwell.ir.parse import parse_formula, parse_type
from stepwell.ir.resolve import Scope
from stepwell.ir.text import format_formula
from stepwell.lowering.decompose import Decompose


def gradient(text: str, *types: str) -> list[str]:
    """The operators that make the gradient, after `decompose`."""
    operands = [parse_type(type) for type in types]
    b = GraphBuilder("f", ("N",))
    inputs = [b.input(f"a{i}", type) for i, type in enumerate(operands)]
    dtypes = {f"x{i}": type.dtype for i, type in enumerate(operands)}
    formula = parse_formula(text, Scope({}, dtypes, sizes_open=True))
    y = b.op("index", inputs, formula=formula)
    op, dy = b.ops[-1], b.input("dy", y.type)
    rule = op.definition.gradient
    assert not isinstance(rule, NotDifferentiable)
    found: list[Value | None] = list(rule(b, op, [dy]))
    graph = b.finish([(f"d{i}", value) for i, value in enumerate(found) if value is not None])
    return [_shown(op.name, op.attributes) for op in Decompose().run(graph).ops[1:]]


def _shown(name: str, attributes: object) -> str:
    assert isinstance(attributes, dict)
    if name == "index":
        return format_formula(attributes["formula"])
    return f"{name} {attributes['spec']}" if name == "contract" else name


@pytest.mark.parametrize(
    ("formula", "types", "expected"),
    [
        (  # a product of matrices: two products
            "[i: N, j: 5] -> sum[k: 3] x0[i, k] * x1[k, j]", ("f32[N, 3]", "f32[3, 5]"),
            ["contract ac,bc->ab", "contract cb,ca->ab"],
        ),
        (  # an embedding: rows added to their places
            "[n: N, d: 4] -> x0[x1[n], d]", ("f32[9, 4]", "i64[N]"),
            ["constant", "scatter_add"],
        ),
        (  # one element of each row: no sum is needed
            "[n: N] -> x0[n, x1[n]]", ("f32[N, 9]", "i64[N]"),
            ["[i: N, j: 9] -> x0[i | x1[i] == j]"],
        ),
        (  # windows: the longer axis is solved for, the taps are summed
            "[i: 6] -> sum[p: 3] x0[i + p] * x1[p]", ("f32[8]", "f32[3]"),
            [
                "[i: 8] -> sum[p: 3 where i - p >= 0 and i - p < 6] x0[i - p] * x1[p]",
                "[i: 3] -> sum[p: 6] x0[p] * x1[p + i]",
            ],
        ),
        (  # a window with a stride: those that divide
            "[i: 4] -> sum[p: 3] x0[2*i + p]", ("f32[9]",),
            [
                "[i: 9] -> sum[p: 3 where (p + i) % 2 == 0 and (i - p) // 2 >= 0 and "
                "(i - p) // 2 < 4] x0[(i - p) // 2]",
            ],
        ),
        (  # blocks: quotient and remainder
            "[i: 4, p: 2] -> x0[2*i + p]", ("f32[8]",),
            ["[i: 8] -> x0[i // 2, i % 2]"],
        ),
        (  # each element several times
            "[i: 8] -> x0[i // 2]", ("f32[4]",),
            ["[i: 4] -> sum[p: 2] x0[p + 2 * i]"],
        ),
        (  # a guard is kept, and dropped where it says nothing new
            "[i: 9] -> x0[i - 1 | i >= 1]", ("f32[9]",),
            ["[i: 9] -> x0[i + 1 | i + 1 < 9]"],
        ),
        (  # a running sum: the other way
            "[i: N] -> sum[k: N where k <= i] x0[k]", ("f32[N]",),
            ["[i: N] -> sum[p: N where i <= p] x0[p]"],
        ),
        (  # a diagonal
            "[i: 4] -> x0[i, i]", ("f32[4, 4]",),
            ["[i: 4, j: 4] -> x0[i | j == i]"],
        ),
    ],
)  # fmt: skip
def test_the_gradient_of_a_formula(
    formula: str, types: tuple[str, ...], expected: list[str]
) -> None:
    assert gradient(formula, *types) == expected
