"""Optimizers, schedules, clipping, frozen parameters: against torch.optim, 20 steps in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_steps import Steps

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((20, 8, 5)), RNG.integers(0, 3, (20, 8))
START = {
    "first.weight": RNG.standard_normal((5, 4)),
    "first.bias": RNG.standard_normal(4),
    "dense.weight": RNG.standard_normal((4, 3)),
    "dense.bias": RNG.standard_normal(3),
}
MODEL = """
layer dense(x: f64[N, K], units: int) -> f64[N, units] {
    param weight: f64[K, units] = glorot_uniform
    param bias: f64[units] = zeros
    x @ weight + bias
}
model m(x: f64[N, 5]) -> f64[N, 3] {
    tanh(dense(x, units: 4, name: "first")) |> dense(units: 3)
}
"""
Make = Callable[[Any], torch.optim.Optimizer]


def _source(*settings: str) -> str:
    lines = "\n".join(settings)
    return (
        f"{MODEL}\ntrain m(x: f64[N, 5], y: i64[N]) {{\nloss = cross_entropy(m(x), y)\n{lines}\n}}"
    )


def _loss(p: dict[str, torch.Tensor], i: int) -> torch.Tensor:
    h = torch.tanh(torch.from_numpy(X[i]) @ p["first.weight"] + p["first.bias"])
    return F.cross_entropy(h @ p["dense.weight"] + p["dense.bias"], torch.from_numpy(Y[i]))


def _parameters() -> dict[str, torch.Tensor]:
    return {n: torch.tensor(a, requires_grad=True) for n, a in START.items()}


def _compare(steps: Steps, p: dict[str, torch.Tensor], step: Callable[[int], Any]) -> None:
    for i in range(len(X)):
        expected = step(i)
        np.testing.assert_allclose(steps(X[i], Y[i])["loss"], expected.item(), rtol=1e-10)
    for name, value in p.items():
        np.testing.assert_allclose(
            steps.values[name], value.detach().numpy(), rtol=1e-9, atol=1e-12, err_msg=name
        )


OPTIMIZERS: dict[str, Make] = {
    "sgd(lr: 0.1)": lambda p: torch.optim.SGD(p, 0.1),
    "sgd(lr: 0.1, momentum: 0.9, weight_decay: 0.01)": lambda p: torch.optim.SGD(
        p, 0.1, momentum=0.9, weight_decay=0.01
    ),
    "sgd(lr: 0.1, momentum: 0.9, nesterov: true)": lambda p: torch.optim.SGD(
        p, 0.1, momentum=0.9, nesterov=True
    ),
    "adam(lr: 0.01)": lambda p: torch.optim.Adam(p, 0.01),
    "adam(lr: 0.01, beta1: 0.8, beta2: 0.95, epsilon: 1e-3, weight_decay: 0.1)": lambda p: (
        torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-3, 0.1)
    ),
    "adamw(lr: 0.01, weight_decay: 0.1)": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop(lr: 0.01, weight_decay: 0.1)": lambda p: torch.optim.RMSprop(
        p, 0.01, weight_decay=0.1
    ),
    "rmsprop(lr: 0.01, momentum: 0.9, centered: true)": lambda p: torch.optim.RMSprop(
        p, 0.01, momentum=0.9, centered=True
    ),
    "adagrad(lr: 0.1, lr_decay: 0.1, initial: 0.2, weight_decay: 0.1)": lambda p: (
        torch.optim.Adagrad(p, 0.1, 0.1, 0.1, 0.2)
    ),
}


@pytest.mark.parametrize("call", OPTIMIZERS)
def test_optimizer(call: str) -> None:
    p = _parameters()
    optimizer = OPTIMIZERS[call](list(p.values()))

    def step(i: int) -> torch.Tensor:
        optimizer.zero_grad()
        loss = _loss(p, i)
        loss.backward()
        optimizer.step()
        return loss

    _compare(Steps(_source(f"optimizer = {call}"), START), p, step)


def test_lion() -> None:
    """Algorithm 2 of Chen et al. 2023; PyTorch has none."""
    p = _parameters()
    m = {n: torch.zeros_like(v) for n, v in p.items()}

    def step(i: int) -> torch.Tensor:
        loss = _loss(p, i)
        for (n, v), g in zip(p.items(), torch.autograd.grad(loss, list(p.values())), strict=True):
            change = torch.sign(0.9 * m[n] + 0.1 * g) + 0.1 * v.detach()
            m[n] = 0.99 * m[n] + 0.01 * g
            v.data -= 0.01 * change
        return loss

    _compare(Steps(_source("optimizer = lion(lr: 0.01, weight_decay: 0.1)"), START), p, step)


def test_clipped_gradients_and_weight_decay_of_matrices_alone() -> None:
    p = _parameters()
    groups = [
        {"params": [v for v in p.values() if v.dim() > 1], "weight_decay": 0.1},
        {"params": [v for v in p.values() if v.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.01)

    def step(i: int) -> torch.Tensor:
        optimizer.zero_grad()
        loss = _loss(p, i)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(p.values(), 0.3)
        optimizer.step()
        return loss

    settings = (
        "clip_norm = 0.3\noptimizer = adamw(lr: 0.01, weight_decay: 0.1, decay_vectors: false)"
    )
    _compare(Steps(_source(settings), START), p, step)


SCHEDULES: dict[str, Callable[[int], float]] = {
    "step_decay(step, 0.5, every: 4, factor: 0.3)": lambda t: 0.5 * 0.3 ** (t // 4),
    "0.5 * linear_warmup(step, 6)": lambda t: 0.5 * min((t + 1) / 6, 1),
    "linear_decay(step, 0.5, steps: 15, final: 0.1)": lambda t: 0.5 - 0.4 * min(t / 15, 1),
    "cosine(step, 0.5, steps: 16, warmup: 4, final: 0.1)": lambda t: (
        (0.1 + 0.4 * 0.5 * (1 + np.cos(np.pi * min(max((t - 4) / 12, 0), 1)))) * min((t + 1) / 4, 1)
    ),
}


@pytest.mark.parametrize("call", SCHEDULES)
def test_schedule(call: str) -> None:
    p = _parameters()

    def step(i: int) -> torch.Tensor:
        loss = _loss(p, i)
        for v, g in zip(p.values(), torch.autograd.grad(loss, list(p.values())), strict=True):
            v.data -= SCHEDULES[call](i) * g
        return loss

    steps = Steps(_source(f"let rate = {call}", "optimizer = sgd(lr: rate)"), START)
    _compare(steps, p, step)
    assert steps.values["optimizer.step"] == 20


def test_an_optimizer_of_ones_own() -> None:
    """Signs of gradients; the count of steps is at hand."""
    own = """
    optimizer signs(lr: float, every: int = 3) {
        state flips: i64 = zeros
        flips = flips + cast(step % every == 0, i64)
        parameter = parameter - lr * sign(gradient) * cast(step % every == 0, f64)
    }"""
    p = _parameters()

    def step(i: int) -> torch.Tensor:
        loss = _loss(p, i)
        for v, g in zip(p.values(), torch.autograd.grad(loss, list(p.values())), strict=True):
            v.data -= 0.01 * torch.sign(g) * (i % 3 == 0)
        return loss

    steps = Steps(own + _source("optimizer = signs(lr: 0.01)"), START)
    _compare(steps, p, step)
    assert steps.values["optimizer.first.bias.flips"] == 7


def test_frozen_parameters_stay() -> None:
    steps = Steps(_source('frozen = ["first", "dense.bias"]', "optimizer = adam(lr: 0.1)"), START)
    steps(X[0], Y[0])
    changed = [name for name, value in START.items() if (steps.values[name] != value).any()]
    assert changed == ["dense.weight"]
    states = [p.path for p in steps.graph.parameters if p.kind == "state"]
    assert states == ["optimizer.step", "optimizer.dense.weight.m", "optimizer.dense.weight.v"]


def test_evaluation_changes_nothing_and_reads_no_optimizer() -> None:
    steps = Steps(_source("optimizer = adam(lr: 0.1)"), START)
    assert not steps.evaluation.updates
    assert [p.path for p in steps.evaluation.parameters] == list(START)
    before = steps.evaluate(X[0], Y[0])["loss"]
    assert before == steps(X[0], Y[0])["loss"]
    assert steps.evaluate(X[0], Y[0])["loss"] < before
