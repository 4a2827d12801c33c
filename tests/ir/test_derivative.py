"""Gradients of graphs: against finite differences and by hand; regions are verified and read."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import F64, I64
from stepwell.ir.graph import (
    Graph,
    GraphBuilder,
    TypeRuleError,
    Value,
    interpret_graph,
    parse_graph,
    print_graph,
    verify_graph,
)
from stepwell.ir.graph.derivative import derivative
from stepwell.ir.types import TensorType
from stepwell.lowering.differentiate import Differentiate

X = TensorType(F64, (5,))


def layer() -> Graph:
    """sum(tanh(x * w) * x)"""
    b = GraphBuilder("loss")
    x, w = b.input("x", X), b.input("w", X)
    t = b.op("tanh", [b.op("mul", [x, w])])
    return b.finish([("loss", b.op("reduce_sum", [b.op("mul", [t, x])], axes=(0,))), ("t", t)])


def differentiated(region: Graph, wrt: tuple[int, ...], times: int = 1) -> Graph:
    """A graph around the region: its results and gradients; more often, of the sum of squares of
    the gradient."""
    for _ in range(times - 1):
        region = squared(region, wrt)
    b = GraphBuilder("f", region.sizes)
    inputs = [b.input(value.name, value.type) for value in region.inputs]
    results = b.region_op("gradient", inputs, [region], wrt=wrt)
    return b.finish([(f"r{i}", value) for i, value in enumerate(results)])


def squared(region: Graph, wrt: tuple[int, ...]) -> Graph:
    b = GraphBuilder("g", region.sizes)
    inputs = [b.input(value.name, value.type) for value in region.inputs]
    results = b.region_op("gradient", inputs, [region], wrt=wrt)
    total: Value | None = None
    for gradient in results[len(region.results) :]:
        axes = tuple(range(gradient.type.rank))
        square = b.op("reduce_sum", [b.op("mul", [gradient, gradient])], axes=axes)
        total = square if total is None else b.op("add", [total, square])
    assert total is not None
    return b.finish([("loss", total)])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_gradients_of_any_order_against_finite_differences(times: int) -> None:
    graph = differentiated(layer(), (0, 1), times)
    verify_graph(graph)
    again = parse_graph(print_graph(graph))
    assert again == graph
    random = np.random.default_rng(times)
    x, w, u, v = (random.normal(size=5) for _ in range(4))
    results = list(interpret_graph(graph, {"x": x, "w": w}).values())
    along = results[-2] @ u + results[-1] @ v
    step = 1e-5
    ends = [interpret_graph(graph, {"x": x + s * u, "w": w + s * v})["r0"] for s in (step, -step)]
    assert along == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)
    flat = Differentiate().run(graph)
    assert not any(op.regions for op in flat.ops)
    for expected, found in zip(
        results, interpret_graph(flat, {"x": x, "w": w}).values(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_what_the_loss_does_not_depend_on_has_zeros() -> None:
    b = GraphBuilder("loss")
    x, _ = b.input("x", X), b.input("y", X)
    region = b.finish([("loss", b.op("reduce_sum", [x], axes=(0,)))])
    found = interpret_graph(derivative(region, [1, 0]), {"x": np.ones(5), "y": np.ones(5)})
    np.testing.assert_array_equal(found["y.grad"], np.zeros(5))
    np.testing.assert_array_equal(found["x.grad"], np.ones(5))


def test_no_zeros_are_added() -> None:
    b = GraphBuilder("loss")
    x = b.input("x", X)
    steps = b.op("floor", [x])
    total = b.op("reduce_sum", [b.op("add", [b.op("mul", [steps, x]), steps])], axes=(0,))
    made = derivative(b.finish([("loss", total)]), [0])
    names = [op.name for op in made.ops]
    assert names.count("add") == 1, "the forward one"
    assert names.count("constant") == 1, "the loss's own gradient"


def test_each_op_of_the_backward_pass_has_the_span_of_the_one_it_differentiates() -> None:
    text = """sources {f = "f.well"}
    graph @f(%x: f64) {
      %y, %dx = gradient(%x) {wrt = [0]} : f64, f64  @f:1:1-9
        graph @g(%x: f64) {
          %y = sin(%x) : f64  @f:2:3-9
          return y = %y
        }
      return dx = %dx
    }"""
    ops = Differentiate().run(parse_graph(text)).ops
    (cosine,) = (op for op in ops if op.name == "cos")
    assert cosine.span is not None
    assert cosine.span.line == 2


@pytest.mark.parametrize(
    ("types", "wrt", "message"),
    [
        ((F64, I64), (1,), "there is no gradient by i64[5]"),
        ((F64, I64), (2,), "there is no operand 2"),
        ((I64, F64), (1,), "what is differentiated is one float, not i64"),
    ],
)
def test_what_cannot_be_differentiated_is_refused(
    types: tuple[object, ...], wrt: tuple[int, ...], message: str
) -> None:
    b, outer = GraphBuilder("loss"), GraphBuilder("f")
    inputs = [b.input(f"x{i}", TensorType(dtype, (5,))) for i, dtype in enumerate(types)]  # type: ignore[arg-type]
    region = b.finish([("loss", b.op("reduce_sum", inputs[:1], axes=(0,)))])
    operands = [outer.input(value.name, value.type) for value in inputs]
    with pytest.raises(TypeRuleError) as caught:
        outer.region_op("gradient", operands, [region], wrt=wrt)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{wrt = [0]}", "{wrt = [1]}", "there is no operand 1 to differentiate by"),
        ("(%x: f64[N])\n", "(%x: f64[N], %z: f64)\n", "inputs differ from the operands"),
        ("f64, f64[N]\n", "f64, f64\n", "gradient gives f64, f64[N], not f64, f64"),
        ("graph @g[N]", "graph @g[N, M]", "the size `M` of the region @g is not declared"),
        ("    return y = %y\n", "    return x = %x\n", "what is differentiated is one float"),
    ],
)
def test_regions_are_verified(old: str, new: str, message: str) -> None:
    text = """graph @f[N](%x: f64[N]) {
  %y, %dx = gradient(%x) {wrt = [0]} : f64, f64[N]
  graph @g[N](%x: f64[N])
  {
    %y = reduce_sum(%x) {axes = [0]} : f64
    return y = %y
  }
  return dx = %dx
}"""
    parse_graph(text)
    assert old in text
    with pytest.raises(UserError) as caught:
        parse_graph(text.replace(old, new))
    assert message in str(caught.value)


def test_a_custom_gradient_gives_a_cotangent_for_each_float() -> None:
    def of(backward: str) -> str:
        return f"""graph @f(%x: f64, %n: i64) {{
  %y = custom_gradient(%x, %n) : f64
    graph @forward(%x: f64, %n: i64) {{
      return x = %x
    }}
    graph @backward(%x: f64, %n: i64, %y: f64, %dy: f64) {{
      return {backward}
    }}
  return y = %y
}}"""

    graph = parse_graph(of("dx = %dy"))
    assert parse_graph(print_graph(graph)) == graph
    with pytest.raises(UserError) as caught:
        parse_graph(of("dx = %dy, dn = %dy"))
    assert "a cotangent for each operand with one: f64" in str(caught.value)
