"""Train blocks: batch normalisation as PyTorch trains it, states, shared and several models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_steps import Steps

from stepwell.frontend import check, elaborate_train
from stepwell.ir.diagnostics import UserError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("image", [(), (4,), (3, 5), (2, 3, 2)])
def test_batch_norm_trains_as_in_pytorch(image: tuple[int, ...]) -> None:
    """Three steps, the running statistics too; then an evaluation with those."""
    axes = "".join(f", {size}" for size in image)
    source = f"""use nn
    model m(x: f64[N, 4{axes}]) {{ nn.batch_norm(x, momentum: 0.2) }}
    train m(x: f64[N, 4{axes}], y: f64[N, 4{axes}]) {{
        loss = mse(m(x), y)
        optimizer = sgd(lr: 0.1)
    }}"""
    start = {name: RNG.standard_normal(4) for name in ("batch_norm.scale", "batch_norm.shift")}
    steps = Steps(source, dict(start))
    scale, shift = (torch.tensor(a, requires_grad=True) for a in start.values())
    mean, variance = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    for _ in range(3):
        x, y = (1 + RNG.standard_normal((6, 4, *image)) for _ in range(2))
        out = F.batch_norm(torch.from_numpy(x), mean, variance, scale, shift, True, 0.2)
        loss = F.mse_loss(out, torch.from_numpy(y))
        np.testing.assert_allclose(steps(x, y)["loss"], loss.item(), rtol=1e-12)
        for p, g in zip((scale, shift), torch.autograd.grad(loss, (scale, shift)), strict=True):
            p.data -= 0.1 * g
    expected = {"scale": scale, "shift": shift, "running_mean": mean, "running_variance": variance}
    for name, value in expected.items():
        found = steps.values[f"batch_norm.{name}"]
        np.testing.assert_allclose(found, value.detach().numpy(), rtol=1e-11, err_msg=name)
    out = F.batch_norm(torch.from_numpy(x), mean, variance, scale, shift)
    loss = F.mse_loss(out, torch.from_numpy(y))
    np.testing.assert_allclose(steps.evaluate(x, y)["loss"], loss.item(), rtol=1e-12)


TWO = """
layer scaled(x: f64[N]) -> f64[N] {
    param factor: f64 = ones
    state seen: f64 = zeros
    if training { seen = 2 * seen + sum(x) }
    x * factor
}
model a(x: f64[N]) -> f64[N] { scaled(x) }
model b(x: f64[N]) -> f64[N] { scaled(x) + stop_gradient(a(x)) }
"""


def _paths(steps: Steps) -> list[str]:
    return [p.path for p in steps.graph.parameters]


def test_several_models_have_prefixes_and_share_their_parameters() -> None:
    source = (
        TWO
        + """train m(x: f64[N]) {
        loss = sum(a(x) * b(x))
        optimizer = sgd(lr: 0.5)
        metric low = min(a(x))
    }"""
    )
    steps = Steps(source, {})
    assert _paths(steps)[:2] == ["a.scaled.factor", "a.scaled.seen"]
    x = np.array([1.0, 2.0])
    assert steps(x) == {"loss": 10.0, "low": 1.0}
    # by a: x (x b + x a) with the second a stopped; by b: x a x
    assert steps.values["a.scaled.factor"] == 1 - 0.5 * 10
    assert steps.values["b.scaled.factor"] == 1 - 0.5 * 5


def test_equal_calls_are_one_and_others_follow() -> None:
    """Three calls with one argument update the state once; one with another goes on from there."""
    source = (
        TWO
        + """train m(x: f64[N], y: f64[N]) {
        loss = sum(a(x)) + sum(a(y))
        optimizer = sgd(lr: 0.5)
        metric again = sum(a(x)) - sum(a(x))
    }"""
    )
    steps = Steps(source, {})
    steps(np.array([1.0, 2.0]), np.array([10.0, 10.0]))
    assert steps.values["scaled.seen"] == 2 * (2 * 0 + 3) + 20


def test_parameters_that_the_loss_does_not_depend_on_are_not_trained() -> None:
    source = (
        TWO
        + """train m(x: f64[N]) {
        loss = sum(b(x) + stop_gradient(a(x)))
        optimizer = adamw(lr: 0.5)
    }"""
    )
    steps = Steps(source, {})
    assert "optimizer.b.scaled.factor.m" in _paths(steps)
    assert not any(path.startswith("optimizer.a") for path in _paths(steps))
    steps(np.ones(2))
    assert steps.values["a.scaled.factor"] == 1


def test_dropout_is_drawn_anew_in_each_step_and_not_in_evaluation() -> None:
    source = """model m(x: f64[N]) -> f64[N] { param w: f64 = ones
        dropout(x * w, 0.5) }
    train m(x: f64[N]) { loss = mean(m(x)); optimizer = sgd(lr: 0.0)
        metric same = mean(m(x)) }"""
    steps = Steps(source, {})
    x = np.ones(1000)
    first, second = steps(x), steps(x)
    assert first["loss"] == first["same"]
    assert first["loss"] != second["loss"]
    assert abs(first["loss"] - 1) < 0.2
    assert steps.evaluate(x) == {"loss": 1.0, "same": 1.0}
    assert (steps.values["random.step"], steps.values["optimizer.step"]) == (2, 2)


def test_states_of_a_loss_of_f32_and_a_schedule_in_f64() -> None:
    """Rates are computed in f64 and rounded once; states have the parameter's type."""
    source = """model m(x: f32[N]) -> f32[N] { param w: f32 = ones
        x * w }
    train m(x: f32[N]) { loss = mean(m(x))
        optimizer = adam(lr: cosine(step, 1e-3, steps: 10)) }"""
    steps = Steps(source, {})
    steps(np.ones(3, np.float32))
    assert {str(v.dtype) for k, v in steps.values.items() if k.startswith("optimizer.w")} == {
        "float32"
    }
    assert steps.values["w"] == np.float32(1) - np.float32(1e-3)


BLOCK = """model m(x: f64[N]) -> f64[N] { param w: f64 = ones
x * w }
train m(x: f64[N]) {
loss = sum(m(x))
optimizer = sgd(lr: 0.1)
"""


@pytest.mark.parametrize(
    ("line", "code", "hint"),
    [
        ("los = 3", "SW0705", "did you mean `loss`?"),
        ("loss = sum(x)", "SW0303", None),
        ("metric loss = sum(x)", "SW0303", None),
        ("metric high = x", "SW0705", None),
        ('frozen = ["head"]', "SW0702", "parameters: w"),
        ('frozen = "w"', "SW0705", "there is nothing to train"),
        ("frozen = 3", "SW0705", 'write `frozen = ["encoder"]`'),
        ("clip_norm = x", "SW0705", None),
        ("sum(x)", "SW0705", "write `loss = …`"),
        ("let rate = sgd(lr: 0.1, momentun: 0.9)", "SW0308", "did you mean `momentum`?"),
    ],
)
def test_mistake_in_a_train_block(line: str, code: str, hint: str | None) -> None:
    with pytest.raises(UserError) as caught:
        check(f"{BLOCK}{line}\n}}", "m.well")
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.span.line) == (code, 4 if "w" in line else 6)
    assert hint is None or hint in (fault.help or "")


def _fault(source: str) -> Any:
    with pytest.raises(UserError) as caught:
        check(source, "m.well")
    (fault,) = caught.value.diagnostics
    return fault


def test_other_mistakes_about_training() -> None:
    whole = BLOCK + "}"
    assert _fault(whole.replace("sum(m(x))", "m(x)")).code == "SW0701"
    assert _fault(whole.replace("sum(m(x))", "sum(x)")).code == "SW0705"
    assert _fault(whole.replace("sgd(lr: 0.1)", "0.1")).code == "SW0706"
    assert _fault(whole.replace("sgd(lr: 0.1)", "sgd(lr: x)")).code == "SW0217"
    assert _fault(f"{whole}\nfn f(x: f64[N]) {{ sgd(lr: 0.1) }}").code == "SW0706"
    assert _fault("model m(x: f64[N]) { metric a = sum(x)\n x }").code == "SW0705"
    assert _fault("fn f(x: f64[N]) { state s: f64 = zeros\n x }").code == "SW0402"
    assert _fault("model m(x: f64[N]) { state s: f64[N] = zeros\n x }").code == "SW0409"
    assert _fault("model m(x: f64[N]) { state s: f64 = zeros\n s = x\n x }").code == "SW0218"
    assert _fault("optimizer o(lr: f64[]) { parameter = parameter * lr }").code == "SW0706"
    assert _fault("optimizer o() { param w: f64\n parameter = parameter * 2 }").code == "SW0402"
    assert _fault(whole + whole[whole.index("\ntrain") :]).code == "SW0303"


def test_a_parameter_behind_an_argmax() -> None:
    """The path from the loss is told; `stop_gradient` says that it is meant."""
    source = """model m(x: f64[N, 3]) -> f64[N] {
        param w: f64[3, 3]
        param b: f64 = zeros
        cast(argmax(x @ w, axis: 1), f64) + b
    }
    train m(x: f64[N, 3]) { loss = mean(m(x)); optimizer = sgd(lr: 0.1) }"""
    fault = _fault(source)
    assert fault.code == "SW0707"
    assert "`w`: `argmax` has none" in fault.message
    assert "← add ← cast ← argmax ← w" in fault.notes[0]
    assert [label.span.line for label in fault.labels] == [6, 4]
    check(source.replace("x @ w", "stop_gradient(x @ w)"), "m.well")


def test_an_unknown_train_block() -> None:
    program = check(BLOCK + "}", "m.well")
    with pytest.raises(UserError) as caught:
        elaborate_train(program, "n")
    assert caught.value.diagnostics[0].help == "train blocks here: m"
