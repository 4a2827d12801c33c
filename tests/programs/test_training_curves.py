"""A hundred steps on digits in float32: the losses are those of PyTorch, to a thousandth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import stepwell as sw

FOLDER = Path(__file__).parents[2] / "examples" / "digits"
MODEL = (FOLDER / "digits.well").read_text().split("\ntrain ")[0].replace("|> shifted", "")
STEPS, BATCH = 100, 64
Array = np.ndarray[Any, np.dtype[Any]]
Make = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "sgd(lr: 0.01, momentum: 0.9)": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "adam(lr: 1e-3)": lambda p: torch.optim.Adam(p, 1e-3),
    "adamw(lr: 1e-3, weight_decay: 0.1)": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1),
}


@pytest.mark.parametrize("call", OPTIMIZERS)
def test_losses(call: str) -> None:
    source = f"""{MODEL}
    train digits(image: f32[N, 1, 8, 8], label: i32[N]) {{
        loss = cross_entropy(digits(image), label)
        optimizer = {call}
    }}"""
    trainer = sw.trainer(source, "digits", seed=1)
    p = {path: nn.Parameter(torch.tensor(value)) for path, value in trainer.parameters.items()}
    optimizer = OPTIMIZERS[call](p.values())
    for step, (image, label) in enumerate(_batches()):
        optimizer.zero_grad()
        loss = F.cross_entropy(_logits(p, torch.from_numpy(image)), torch.from_numpy(label).long())
        loss.backward()
        optimizer.step()
        assert trainer.step(image, label)["loss"] == pytest.approx(loss.item(), rel=1e-3), step
    assert loss.item() < 0.4


def _batches() -> Iterable[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    with np.load(FOLDER / "digits.npz") as data:
        images, labels = data["train_image"], data["train_label"]
    for _ in range(STEPS):
        rows = rng.integers(0, len(images), BATCH)
        yield images[rows], labels[rows]


def _logits(p: dict[str, Tensor], x: Tensor) -> Tensor:
    """`digits.well` in PyTorch."""
    for conv in ("conv2d", "conv2d_2"):
        x = F.conv2d(x, p[f"{conv}.weight"], p[f"{conv}.bias"], padding=1).relu()
    x = F.max_pool2d(x, 2).flatten(1)
    x = (x @ p["dense.weight"] + p["dense.bias"]).relu()
    return x @ p["dense_2.weight"] + p["dense_2.bias"]
