"""State and updates: what a run leaves behind in parameters, in text, verified, interpreted."""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.diagnostics import UserError
from stepwell.ir.graph import interpret_graph, interpret_step, parse_graph, print_graph
from stepwell.ir.graph.checking import interpret
from stepwell.ir.graph.rewrite import remove_dead, rewrite

STEP = """graph @step(%x: f32[2]) {
  param %w: f32[2] = ones
  state %m: f32[2] = zeros
  %next = add(%m, %x) : f32[2]
  %moved = sub(%w, %m) : f32[2]
  %unused = neg(%x) : f32[2]
  %y = mul(%w, %x) : f32[2]
  update %m = %next
  update %w = %moved
  return out = %y
}
"""
X, W, M = (np.array(v, np.float32) for v in ([1, 2], [3, 5], [7, 11]))


def test_the_text_reads_back() -> None:
    graph = parse_graph(STEP)
    assert print_graph(graph) == STEP
    assert [parameter.kind for parameter in graph.parameters] == ["param", "state"]
    assert [(value.name, new.name) for value, new in graph.updates] == [
        ("m", "next"),
        ("w", "moved"),
    ]


def test_every_op_reads_the_old_values() -> None:
    given = {"w": W, "m": M}
    results, updates = interpret_step(parse_graph(STEP), {"x": X}, given)
    assert results["out"].tolist() == [3, 10]
    assert updates["m"].tolist() == [8, 13]
    assert updates["w"].tolist() == [-4, -6]
    assert given["m"].tolist() == [7, 11]
    assert interpret_graph(parse_graph(STEP), {"x": X}, given)["out"].tolist() == [3, 10]
    both = interpret(parse_graph(STEP), {"x": X, **given})
    assert set(both) == {"out", "update m", "update w"}


def test_rewriting_keeps_updates() -> None:
    graph = parse_graph(STEP)
    kept = remove_dead(graph)
    assert [op.result.name for op in kept.ops] == ["next", "moved", "y"]
    swapped = rewrite(kept, lambda op, e: [op.operands[0]] if op.name == "add" else None)
    assert [new.name for _, new in swapped.updates] == ["m", "moved"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("update %m", "update %x", "%x is not a parameter"),
        ("update %w", "update %m", "%m is updated twice"),
        ("%m = %next", "%m = %gone", "%gone is not defined before its use"),
        ("state %m: f32[2]", "state %m: f32[2, 1]", "shapes differ"),
        ("update %w = %moved", "update %w = %wide", r"f32\[2\] is updated by f64\[2\]"),
    ],
)
def test_mistakes(old: str, new: str, message: str) -> None:
    text = STEP.replace("%unused = neg(%x) : f32[2]", "%wide = cast(%x) {dtype = f64} : f64[2]")
    with pytest.raises(UserError, match=message):
        parse_graph(text.replace(old, new))
