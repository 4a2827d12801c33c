"""Losses and their gradients against PyTorch, in float64 with the graph interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_steps import gradients

from stepwell.ir.dtypes import BY_NAME

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.standard_normal((4, 3, 5))
LABEL = RNG.integers(0, 5, (4, 3))
SOME = np.where(RNG.random((4, 3)) < 0.4, -7, LABEL)
SOFT = RNG.random((4, 3, 5))
SOFT[0, 0] = [0, 1, 0, 0, 0]
P = SOFT / SOFT.sum(-1, keepdims=True)


def _rows(loss: Callable[..., torch.Tensor], **options: Any) -> Callable[..., torch.Tensor]:
    return lambda x, y: loss(x.reshape(-1, 5), y.reshape(-1), **options)


CLASSES: dict[str, tuple[Callable[..., torch.Tensor], Any]] = {
    "cross_entropy(x, y)": (_rows(F.cross_entropy), LABEL),
    "cross_entropy(x, y, label_smoothing: 0.2)": (
        _rows(F.cross_entropy, label_smoothing=0.2),
        LABEL,
    ),
    "cross_entropy(x, y, ignore_index: -7)": (_rows(F.cross_entropy, ignore_index=-7), SOME),
    "cross_entropy(x, y, label_smoothing: 0.1, ignore_index: -7)": (
        _rows(F.cross_entropy, label_smoothing=0.1, ignore_index=-7),
        SOME,
    ),
    "nll(x, y)": (_rows(F.nll_loss), LABEL),
    "nll(x, y, ignore_index: -7)": (_rows(F.nll_loss, ignore_index=-7), SOME),
}
TARGETS: dict[str, Callable[..., torch.Tensor]] = {
    "mse(x, y)": F.mse_loss,
    "l1(x, y)": F.l1_loss,
    "huber(x, y)": F.huber_loss,
    "huber(x, y, delta: 0.3)": lambda x, y: F.huber_loss(x, y, delta=0.3),
    "binary_cross_entropy_with_logits(x, y)": F.binary_cross_entropy_with_logits,
    "kl_divergence(log_softmax(x), y)": lambda x, y: F.kl_div(
        F.log_softmax(x, -1).reshape(12, 5), y.reshape(12, 5), reduction="batchmean"
    ),
}


@pytest.mark.parametrize("call", CLASSES)
def test_loss_of_classes(call: str) -> None:
    reference, label = CLASSES[call]
    for name in ("i64", "i32", "u8" if label.min() >= 0 else "i8"):
        dtype = BY_NAME[name].numpy
        source = f"fn f(x: f64[N, T, 5], y: {name}[N, T]) {{ {call} }}"
        loss, by_x = gradients(source, ["x"], LOGITS, label.astype(dtype))
        x = torch.tensor(LOGITS, requires_grad=True)
        expected = reference(x, torch.from_numpy(label))
        expected.backward()
        np.testing.assert_allclose(loss, expected.item(), rtol=1e-12)
        np.testing.assert_allclose(by_x, x.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("call", TARGETS)
def test_loss_of_targets(call: str) -> None:
    x, y = torch.tensor(LOGITS, requires_grad=True), torch.tensor(P)
    expected = TARGETS[call](x, y)
    expected.backward()
    source = f"fn f(x: f64[N, T, 5], y: f64[N, T, 5]) {{ {call} }}"
    loss, by_x, by_y = gradients(source, ["x", "y"], LOGITS, P)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(by_x, x.grad, rtol=1e-10, atol=1e-14)
    assert np.isfinite(by_y).all()


def test_a_label_out_of_range_is_refused() -> None:
    with pytest.raises(IndexError):
        gradients("fn f(x: f64[N, 5], y: i64[N]) { cross_entropy(x, y) }", ["x"], LOGITS[0],
                  np.array([0, 5, 1]))  # fmt: skip
