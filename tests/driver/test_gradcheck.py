"""`gradcheck`: right gradients pass, a wrong one is found at its place; what is given is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stepwell as sw
from stepwell.ir.graph.elementwise import UNARY
from stepwell.ir.graph.registry import REGISTRY

from .conftest import Run

NET = """\
use nn
model net(x: f32[N, 6], ids: i32[N], scale: f32[]) -> (out: f32[N, 3], ids: i32[N]) {
    let h = nn.dense(x, units: 5) |> tanh
    (softmax(nn.dense(h, units: 3)) * scale, ids)
}
"""


def test_right_gradients_are_fine() -> None:
    found = sw.gradcheck(NET, seed=2)
    assert found.ok
    names = [report.name for report in found.reports]
    assert names == ["x", "scale", "h.weight", "h.bias", "dense.weight", "dense.bias"]
    assert all(abs(report.gradient) > 0 for report in found.reports)
    assert str(found).endswith("net: fine (errors up to 1e-05 are rounding)")


def test_a_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tanh = next(definition for definition in UNARY if definition.name == "tanh")
    wrong = replace(tanh, gradient=lambda b, op, cotangents: [cotangents[0]])
    monkeypatch.setitem(REGISTRY, "tanh", wrong)
    found = sw.gradcheck(NET)
    assert not found.ok
    off = {report.name for report in found.reports if report.error > 1e-3}
    assert off == {"x", "h.weight", "h.bias"}
    assert f"WRONG: {found.worst.name}" in str(found)


def test_what_is_given_is_used(tmp_path: Path) -> None:
    weights = {
        "h.weight": np.ones((6, 5), np.float32), "h.bias": np.zeros(5, np.float32),
        "dense.weight": np.eye(5, 3, dtype=np.float32), "dense.bias": np.zeros(3, np.float32),
    }  # fmt: skip
    x = np.zeros((2, 6))
    np.savez(tmp_path / "w.npz", **weights)
    for given in (weights, tmp_path / "w.npz"):
        found = sw.gradcheck(NET, inputs={"x": x, "scale": 2.0}, weights=given, samples=4)
        assert found.ok
        assert [report.checked for report in found.reports] == [4, 1, 4, 4, 4, 3]
        assert found.reports[0].at[0] < 2


def test_random_numbers_stand_still() -> None:
    source = "model m(x: f32[N]) -> f32[N] { x * uniform([N]) + normal([N]) }"
    assert sw.gradcheck(source, inputs={"seed": 4}).ok


TRAINED = (
    NET
    + """
fn cube(x: f32[N, 3]) -> f32[N, 3] { x ** 3 } gradient(dy) { 3 * x * x * dy }

train step(x: f32[N, 6], ids: i32[N]) {
    let out, _ = net(dropout(x, 0.5), ids, 2.0)
    loss      = mean(cube(out))
    optimizer = sgd(lr: 0.1)
    frozen    = ["h.bias"]
    metric most = max(out)
}
"""
)


def test_the_loss_of_a_train_block() -> None:
    found = sw.gradcheck(TRAINED, train="step")
    assert found.ok
    assert [report.name for report in found.reports] == ["h.weight", "dense.weight", "dense.bias"]
    assert all(abs(report.gradient) > 0 for report in found.reports)
    wrong = sw.gradcheck(TRAINED.replace("3 * x * x * dy", "2 * x * x * dy"), train="step")
    assert not wrong.ok
    assert all(report.error > 0.1 for report in wrong.reports)
    with pytest.raises(sw.InputError, match="choose one of them"):
        sw.gradcheck(TRAINED, "net", train="step")
    with pytest.raises(sw.InputError, match="no train block `stop`; did you mean `step`"):
        sw.gradcheck(TRAINED, train="stop")
    with pytest.raises(sw.InputError, match="it is no train block's step"):
        sw.gradcheck(sw.compile(NET).stage("graph"), train="net")


def test_graph_text_is_a_source() -> None:
    assert sw.gradcheck(sw.compile(NET).stage("graph")).ok


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": {"y": 1}}, "no input `y`"),
        ({"inputs": {"x": np.zeros(3)}}, r"the shape \[3\]"),
        ({"inputs": {"x": "three"}}, "`x` is"),
        ({"sizes": {"M": 1}}, "no size `M`"),
        ({"inputs": {"x": np.zeros((2, 7))}}, "axis 1 must be 6"),
        ({"weights": {}}, "missing: `h.weight`"),
        ({"model": "other"}, "no model `other`"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(sw.InputError, match=message):
        sw.gradcheck(NET, **arguments)  # type: ignore[arg-type]


def test_without_floats_there_is_no_gradient() -> None:
    with pytest.raises(sw.InputError, match="no results of floats"):
        sw.gradcheck("model m(x: f32[3]) -> bool[3] { x > 0 }")
    with pytest.raises(sw.InputError, match="no inputs or parameters of floats"):
        sw.gradcheck("model m(x: i32[3]) -> f32[3] { cast(x, f32) }")


def test_the_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.well").write_text(NET)
    done = run("gradcheck", "net.well", "--size", "N=3", "--samples", "5", "--input", "scale=2")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].split() == [
        *("gradient", "of", "type", "checked", "error", "at", "gradient", "difference"),
    ]
    assert run("gradcheck", "net.well", "--tolerance=-1").code == 1
    assert run("gradcheck", "no.well").code == 2
    (tmp_path / "net.well").write_text(TRAINED)
    assert "step: fine" in run("gradcheck", "net.well", "--train", "step").out
