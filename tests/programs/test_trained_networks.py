"""Whole networks in training against PyTorch: every parameter's gradient in float64, for which a
step of SGD has a rate of 1; and the losses of a hundred steps in float32, compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_networks import Weights, bert_layer, resnet18
from torch.nn import functional

import stepwell as sw
from stepwell.frontend import check, elaborate_train
from stepwell.ir.graph import interpret_step

ROOT = Path(__file__).parents[2]
Arrays = Mapping[str, np.ndarray]


def _step(file: str, train: str, inputs: Arrays, held: Arrays) -> Arrays:
    """The parameters and states after one step of `train`, appended to a source."""
    path = ROOT / file
    source = f"{path.read_text()}\n{train}".replace("224, 224", "32, 32")
    if "torch_layers" not in source:
        source = source.replace("f32", "f64")
    graph = elaborate_train(check(source, str(path)), "t")
    wide = {n: a.astype(np.float64) for n, a in held.items()}
    wide["optimizer.step"] = np.zeros((), np.int64)
    return interpret_step(graph, inputs, wide, precision="f64")[1]


def _compare(new: Arrays, before: Arrays, gradients: Mapping[str, torch.Tensor]) -> None:
    for name, gradient in gradients.items():
        found, expected = before[name].astype(np.float64) - new[name], gradient.numpy()
        # the keys' bias of an attention has the gradient 0, but for rounding
        assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max() + 1e-15, name


def _gradients(p: Weights, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    loss.backward()
    return {n: t.grad for n, t in p.tensors.items() if t.grad is not None}


def test_resnet18_with_batch_normalisation_in_training() -> None:
    """The running statistics as well."""
    rng = np.random.default_rng(0)
    image, label = rng.standard_normal((6, 3, 32, 32)), rng.integers(0, 1000, 6)
    p = Weights(training=True)
    loss = functional.cross_entropy(resnet18(p, torch.from_numpy(image)), torch.from_numpy(label))
    gradients = _gradients(p, loss)
    train = """train t(image: f32[6, 3, 32, 32], label: i64[6]) {
        loss = cross_entropy(resnet18(image), label); optimizer = sgd(lr: 1.0) }"""
    new = _step("examples/resnet18.well", train, {"image": image, "label": label}, p.drawn)
    assert len(gradients) == 62
    _compare(new, p.drawn, gradients)
    for name in set(p.tensors) - set(gradients):
        np.testing.assert_allclose(new[name], p.tensors[name].numpy(), rtol=1e-9, err_msg=name)


def test_a_bert_layer() -> None:
    x = np.random.default_rng(0).standard_normal((1, 16, 768))
    p = Weights(training=True)
    gradients = _gradients(p, (bert_layer(p, torch.from_numpy(x)) ** 3).mean())
    train = """train t(x: f32[1, 16, 768]) {
        loss = mean(bert_layer(x) ** 3); optimizer = sgd(lr: 1.0) }"""
    _compare(_step("examples/transformer.well", train, {"x": x}, p.drawn), p.drawn, gradients)


def test_an_unrolled_lstm() -> None:
    torch.manual_seed(0)
    module = torch.nn.LSTM(256, 256).double()
    x = torch.randn(64, 1, 256, dtype=torch.float64)
    y, (h, c) = module(x)
    ((y * y).mean() + h.mean() - c.mean()).backward()
    named = {f"lstm.{n}": t for n, t in module.named_parameters()}
    held = {n: t.detach().numpy() for n, t in named.items()}
    train = """train t(x: f32[64, 1, 256]) {
        let y, h, c = lstm_s64_h256(x)
        loss = mean(y * y) + mean(h) - mean(c); optimizer = sgd(lr: 1.0) }"""
    new = _step("benchmarks/peers/lstm_s64_h256.well", train, {"x": x.numpy()}, held)
    _compare(new, held, {n: t.grad for n, t in named.items()})


DIGITS = """use nn
model net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
    let h = nn.conv2d(x, channels: 8, kernel: 3, padding: 1) |> relu |> nn.max_pool2d(2)
    flatten(h, from: 1) |> nn.dense(units: 10)
}
train net(x: f32[N, 1, 8, 8], label: i64[N]) {
    loss = cross_entropy(net(x), label)
    optimizer = OPTIMIZER
}"""
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd(lr: 0.1, momentum: 0.9)": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adam(lr: 1e-2)": lambda p: torch.optim.Adam(p, 1e-2),
    "adamw(lr: 1e-2, weight_decay: 0.1)": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1),
}


@pytest.mark.parametrize("call", OPTIMIZERS)
def test_a_hundred_steps_on_digits(call: str) -> None:
    """Batches of 64, the last one short."""
    data = np.load(ROOT / "examples" / "digits" / "digits.npz")
    image, label = data["train_image"], data["train_label"].astype(np.int64)
    trainer = sw.trainer(DIGITS.replace("OPTIMIZER", call), seed=3)
    p = [torch.tensor(np.array(trainer.parameters[n])) for n in trainer.parameters]
    filters, bias, weight, shift = [t.requires_grad_() for t in p]
    optimizer = OPTIMIZERS[call](p)
    for step in range(100):
        rows = slice(64 * step % len(image), 64 * step % len(image) + 64)
        x, y = image[rows], label[rows]
        h = functional.conv2d(torch.from_numpy(x), filters, bias, padding=1).relu()
        logits = functional.max_pool2d(h, 2).flatten(1) @ weight + shift
        expected = functional.cross_entropy(logits, torch.from_numpy(y))
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        assert trainer.step(x, y)["loss"] == pytest.approx(expected.item(), rel=1e-3), step
