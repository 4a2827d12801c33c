"""Running graphs: sizes from shapes, clear refusals, both precisions, formulas."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import BF16, F32, F64, I64
from stepwell.ir.formula import evaluate_formula
from stepwell.ir.graph import Graph, GraphBuilder, bind_sizes, interpret_graph, parse_graph
from stepwell.ir.graph.core import Constraint
from stepwell.ir.parse import parse_formula
from stepwell.ir.resolve import Scope
from stepwell.ir.size import floordiv, mod, symbol
from stepwell.ir.types import TensorType

N, H = symbol("N"), symbol("H")


def mlp() -> Graph:
    b = GraphBuilder("mlp", ("N", "H"))
    x = b.input("x", TensorType(F32, (N, 2 * H)))
    w = b.parameter("w", TensorType(F32, (2 * H, 3)), "zeros")
    b.constraints.append(Constraint(H, "%", 2, "heads must divide H"))
    return b.finish([("out", b.op("contract", [x, w], spec="ik,kj->ij"))])


def test_runs() -> None:
    x, w = np.ones((2, 4), np.float32), np.full((4, 3), 0.5, np.float32)
    out = interpret_graph(mlp(), {"x": x}, {"w": w})["out"]
    np.testing.assert_array_equal(out, x @ w)
    assert out.dtype == np.float32
    wide = interpret_graph(mlp(), {"x": x}, {"w": w}, precision="f64")["out"]
    assert wide.dtype == np.float64


def test_f64_ignores_every_narrower_type() -> None:
    b = GraphBuilder("f")
    x = b.input("x", TensorType(F32, (3,)))
    half = b.op("cast", [x], dtype=BF16)
    third = b.op("constant", value=1 / 3, dtype=BF16, shape=(3,))
    formula = parse_formula("[i: 3] -> bf16(f32(x0[i]) * 2.0)", Scope({}, {"x0": BF16}))
    doubled = b.op("index", [half], formula=formula)
    graph = b.finish([("y", b.op("mul", [doubled, third]))])
    value = np.array([1.1, 2.3, 1e-9])
    found = interpret_graph(graph, {"x": value}, precision="f64")["y"]
    np.testing.assert_allclose(found, value * 2 / 3, rtol=1e-15)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (8, 5), "w": (5, 3)}, "x is f32[N, 2*H]; the shape given is [8, 5], but axis 1"),
        ({"x": (8, 8), "w": (6, 3)}, "but axis 0 must be 8 (H = 4 from x)"),
        ({"x": (8,), "w": (6, 3)}, "x is f32[N, 2*H], with 2 axes; the shape given is [8], with 1"),
        ({"x": (8, 8)}, "w is missing: it is f32[2*H, 3]"),
        ({"x": (8, 6), "w": (6, 3)}, "heads must divide H: H divisible by 2 does not hold for H"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError) as caught:
        bind_sizes(mlp(), shapes)
    assert message in str(caught.value)


def test_sizes_follow() -> None:
    assert bind_sizes(mlp(), {"x": (7, 8), "w": (8, 3)}) == {"N": 7, "H": 4}
    b = GraphBuilder("f", ("N",))
    b.input("x", TensorType(F32, (floordiv(N, 2), mod(N, 2))))
    with pytest.raises(InputError, match="the size N cannot be told"):
        bind_sizes(b.finish([]), {"x": (2, 1)})


def test_a_gather_out_of_range_is_an_error() -> None:
    text = """graph @g(%x: f32[4], %i: i64[2]) {
      %y = gather(%x, %i) {axis = 0} : f32[2]
      return y = %y
    }"""
    for bad in (4, -1):
        with pytest.raises(IndexError, match="outside its axis of size 4"):
            arrays = {"x": np.zeros(4, np.float32), "i": np.array([0, bad])}
            interpret_graph(parse_graph(text), arrays)


def _evaluate(text: str, **arrays: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    kinds = {"float64": F64, "int64": I64, "float32": F32}
    buffers = {name: kinds[str(array.dtype)] for name, array in arrays.items()}
    return evaluate_formula(parse_formula(text, Scope({}, buffers)), arrays, {})


def test_formulas_against_numpy() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(5, 7)), random.normal(size=(7, 3))
    np.testing.assert_allclose(
        _evaluate("[i: 5, j: 3] -> sum[k: 7] a[i, k] * b[k, j]", a=a, b=b), a @ b
    )
    np.testing.assert_allclose(
        _evaluate("[i: 5] -> sum[k: 7 where k <= i] a[i, k]", a=a), np.tril(a).sum(1)
    )
    np.testing.assert_array_equal(
        _evaluate("[i: 5] -> argmax[k: 7 where k != 2] a[i, k]", a=a),
        np.where(np.arange(7) == 2, -np.inf, a).argmax(1),
    )
    shifted = _evaluate("[i: 5] -> a[i - 1, 0 | i >= 1]", a=a)
    np.testing.assert_array_equal(shifted, np.concatenate([[0.0], a[:-1, 0]]))
    table, ids = random.normal(size=(4, 2)), np.array([3, 0, 3])
    np.testing.assert_array_equal(
        _evaluate("[n: 3, d: 2] -> t[ids[n], d]", t=table, ids=ids), table[ids]
    )
    nested = _evaluate("[i: 5] -> max[k: 7] a[i, k] * (sum[l: 3] b[k, l])", a=a, b=b)
    np.testing.assert_allclose(nested, (a * b.sum(1)).max(1))


def test_large_grids_are_done_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.random.default_rng(0).normal(size=(9, 11))
    whole = _evaluate("[i: 9, j: 9] -> sum[k: 11] a[i, k] * a[j, k]", a=a)
    monkeypatch.setattr("stepwell.ir.formula.LIMIT", 20)
    pieces = _evaluate("[i: 9, j: 9] -> sum[k: 11] a[i, k] * a[j, k]", a=a)
    np.testing.assert_allclose(pieces, whole)


def test_a_subscript_out_of_range_raises_where_it_counts() -> None:
    a = np.zeros(3)
    with pytest.raises(IndexError, match="axis 0 of `a` is outside its size 3"):
        _evaluate("[i: 4] -> a[i]", a=a)
    assert _evaluate("[i: 4] -> a[i | i < 3]", a=a).shape == (4,)
    assert _evaluate("[] -> sum[i: 4 where i < 3] a[i]", a=a) == 0
