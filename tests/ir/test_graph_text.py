"""Graphs print to text that reads back equal, spans included; mistakes have places."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.catalogue_texts import IR_TEXTS
from stepwell.ir.diagnostics import UserError
from stepwell.ir.dtypes import ALL, BOOL, F32, I64
from stepwell.ir.graph import Graph, GraphBuilder, Op, Value, parse_graph, print_graph
from stepwell.ir.graph.core import Constraint
from stepwell.ir.graph.registry import lookup
from stepwell.ir.parse import parse_formula
from stepwell.ir.resolve import Scope
from stepwell.ir.size import floordiv, symbol
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

N, D = symbol("N"), symbol("D")


def example() -> Graph:
    b = GraphBuilder("net.main", ("N", "D"))
    b.span = Span("a/net.well", 1, 1, 9, 2)
    b.constraints.append(Constraint(D, "%", 4, 'heads "4" divide', Span("a/net.well", 2, 1, 2, 9)))
    b.constraints.append(Constraint(N, "<=", 2 * D, "few"))
    x = b.input("x", TensorType(F32, (N, D)))
    w = b.parameter(
        "block.3.attn.wq",
        TensorType(F32, (D, 8)),
        "normal(0.02)",
        Span("lib/net.well", 3, 5, 4, 1),
    )
    bias = b.parameter("bias", TensorType(F32, (8,)), "zeros")
    h = b.op("contract", [x, w], spec="ik,kj->ij", span=Span("a/net.well", 5, 3, 5, 20))
    spread = b.op("broadcast", [bias], shape=(N, 8), axes=(1,))
    h = b.op("add", [h, spread], hint="and", span=Span("a/net.well", 6, 3, 7, 4))
    scope = Scope(dict.fromkeys(("N", "D"), I64), {"x0": F32})
    formula = parse_formula("[i: N, p: 4] -> sum[k: D//4] x0[i, p*(D//4) + k]", scope)
    y = b.op("index", [x], formula=formula, hint="0")
    z = b.op("pad", [y], low=(0, 1), high=(floordiv(D, 4), 0), value=-0.0)
    return b.finish([("out", h), ("z", z)])


def test_round_trip() -> None:
    graph = example()
    text = print_graph(graph)
    again = parse_graph(text)
    assert again == graph
    assert print_graph(again) == text


def test_spans_survive() -> None:
    graph, again = example(), parse_graph(print_graph(example()))
    assert again.span == graph.span
    assert [op.span for op in again.ops] == [op.span for op in graph.ops]
    assert [p.span for p in again.parameters] == [p.span for p in graph.parameters]
    assert [c.span for c in again.constraints] == [c.span for c in graph.constraints]


def test_the_text_reads_as_mathematics() -> None:
    lines = print_graph(example()).split("\n")
    assert lines[0] == 'sources {net = "a/net.well", net_2 = "lib/net.well"}'
    assert "graph @net.main[N, D](%x: f32[N, D])  @net:1:1-9:2 {" in lines
    assert '  require N <= 2*D, "few"' in lines
    assert (
        '  %contract = contract(%x, %block.3.attn.wq) {spec = "ik,kj->ij"} : f32[N, 8]'
        "  @net:5:3-20" in lines
    )
    assert "  return out = %and, z = %pad" in lines


def test_a_kernel_prints_its_region_indented() -> None:
    inner = GraphBuilder("twice", ("N",))
    a = inner.input("x", TensorType(F32, (N,)))
    region = inner.finish([("y", inner.op("add", [a, a], hint="y"))])
    x = Value("x", TensorType(F32, (N,)))
    out = Value("out", TensorType(F32, (N,)))
    attributes = {"name": "twice", "family": "pointwise"}
    kernel = Op(lookup("kernel"), (x,), attributes, (out,), (region,), Span("f.well", 1, 1, 1, 2))
    graph = Graph("f", ("N",), (x,), (), (), (kernel,), (("out", out),))
    text = print_graph(graph)
    assert "\n    graph @twice[N](%x: f32[N]) {\n      %y = add(%x, %x) : f32[N]\n" in text
    assert parse_graph(text) == graph


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("count", [0, 6, 65])
def test_constant_arrays_are_exact(dtype: object, count: int) -> None:
    assert hasattr(dtype, "numpy")
    random = np.random.default_rng(0)
    array = (random.normal(size=(1, count)) * 3).astype(dtype.numpy)
    if count == 6 and dtype.is_float:  # type: ignore[attr-defined]
        array[0, :3] = [-0.0, np.inf, 0.1]
    _exact(array, dtype)
    if count == 6 and dtype.is_float:  # type: ignore[attr-defined]
        array[0, 3] = np.nan
        _exact(array, dtype)


def _exact(array: np.ndarray, dtype: object) -> None:  # type: ignore[type-arg]
    b = GraphBuilder("c")
    c = b.op("constant", value=array, dtype=dtype, shape=array.shape)
    graph = b.finish([("c", c)])
    again = parse_graph(print_graph(graph))
    assert again == graph
    assert again.ops[0].attributes["value"].tobytes() == array.tobytes()


@pytest.mark.parametrize("value", [0.1, -0.0, float("inf"), float("-inf"), float("nan"), 3, True])
def test_constant_numbers_are_exact(value: float) -> None:
    b = GraphBuilder("c")
    dtype = BOOL if isinstance(value, bool) else I64 if isinstance(value, int) else F32
    c = b.op("constant", value=value, dtype=dtype, shape=(N, 2))
    b.sizes.append("N")
    graph = b.finish([("c", c)])
    assert parse_graph(print_graph(graph)) == graph


@pytest.mark.parametrize("entry", IR_TEXTS, ids=lambda entry: entry.code)
def test_the_catalogue_examples_fail_with_their_codes(entry: object) -> None:
    with pytest.raises(UserError) as caught:
        parse_graph(entry.example)  # type: ignore[attr-defined]
    assert [d.code for d in caught.value.diagnostics] == [entry.code]  # type: ignore[attr-defined]


HEAD = "graph @f[N](%x: f32[N]) {\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("%y = exp(%x) : f32[M]\nreturn y = %y\n}", "`M` is not defined here"),
        ("%y = exp(%x) : f32[N]  @a:1:1-2\nreturn y = %y\n}", "is not among the sources"),
        ("%y = exp(%x, %x) : f32[N]\nreturn y = %y\n}", "exp takes 1 operand, not 2"),
        ("%y, %z = exp(%x) : f32[N]\nreturn y = %y\n}", "2 results and 1 types"),
        ("%y = reduce_sum(%x) : f32\nreturn y = %y\n}", "needs the attribute `axes`"),
        ("%y = reduce_sum(%x) {axes = [3]} : f32\nreturn y = %y\n}", "there is no axis 3"),
        ("%y = reduce_sum(%x) {axes = 3} : f32\nreturn y = %y\n}", "`axes` is the axes"),
        ("%y = concat() {axis = 0} : f32\nreturn y = %y\n}", "needs at least one operand"),
        ('%y = kernel(%x) {name = "k", family = "f"} : f32\nreturn y = %y\n}', "lacks a region"),
        ("%c = constant {value = [1.0], dtype = f32, shape = [2]} : f32[2]\nreturn }", "1 numbers"),
        ('%c = constant {value = base64 "A", dtype = f32, shape = [2]} : f32[2]\nreturn }', "fit"),
        ("%c = constant {value = 300, dtype = u8, shape = []} : u8\nreturn }", "300 does not fit"),
        ("return x = %x, x = %x\n}", "an output is named twice"),
        ("require N > 1, \"more\"\nreturn x = %x\n}", "turn it round"),
        ("return x = %x", "the end of the text"),
    ],
)  # fmt: skip
def test_mistakes_have_places(body: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_graph(HEAD + body)
    assert message in str(caught.value)
