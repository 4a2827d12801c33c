"""Published networks written with PyTorch's functions, their parameters under our names.

Each draws its weights as it meets them, under the names that the language gives: so names and
shapes are checked too.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass
class Weights:
    """Draws each parameter on first use from a seed made of its name, and keeps it; in training
    batch normalisation goes by the batch, and `tensors` have gradients."""

    training: bool = False
    drawn: dict[str, np.ndarray] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def normal(self, name: str, shape: tuple[int, ...], deviation: float) -> Tensor:
        """A parameter around 0."""
        return self._keep(name, deviation * self._rng(name).standard_normal(shape))

    def positive(self, name: str, size: int) -> Tensor:
        """A parameter between 1/2 and 3/2."""
        return self._keep(name, self._rng(name).uniform(0.5, 1.5, size))

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(name.encode()))

    def _keep(self, name: str, value: np.ndarray) -> Tensor:
        assert name not in self.drawn, name
        self.drawn[name] = value.astype(np.float32)
        tensor = torch.from_numpy(self.drawn[name]).double()
        self.tensors[name] = tensor.requires_grad_(self.training and ".running_" not in name)
        return tensor


def _dense(p: Weights, name: str, x: Tensor, units: int) -> Tensor:
    inputs = x.shape[-1]
    weight = p.normal(f"{name}.weight", (inputs, units), (2 / inputs) ** 0.5)
    return x @ weight + p.normal(f"{name}.bias", (units,), 0.1)


def _conv(
    p: Weights, name: str, x: Tensor, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> Tensor:
    shape = (channels, x.shape[1] // groups, kernel, kernel)
    weight = p.normal(f"{name}.weight", shape, (2 / np.prod(shape[1:])) ** 0.5)
    return functional.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=groups)


def _batch_norm(p: Weights, name: str, x: Tensor) -> Tensor:
    channels = x.shape[1]
    return functional.batch_norm(
        x,
        running_mean=p.normal(f"{name}.running_mean", (channels,), 0.1),
        running_var=p.positive(f"{name}.running_variance", channels),
        weight=p.positive(f"{name}.scale", channels),
        bias=p.normal(f"{name}.shift", (channels,), 0.1),
        training=p.training,
        eps=1e-5,
    )


def _layer_norm(p: Weights, name: str, x: Tensor) -> Tensor:
    width = x.shape[-1]
    scale = p.positive(f"{name}.scale", width)
    shift = p.normal(f"{name}.shift", (width,), 0.1)
    return functional.layer_norm(x, (width,), scale, shift, eps=1e-12)


def bert_layer(p: Weights, x: Tensor) -> Tensor:
    n, t, d = x.shape
    at = "encoder_layer.attention"
    q, k, v = (
        _dense(p, f"{at}.{part}", x, d).reshape(n, t, 12, d // 12).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)
    attention = x + _dense(p, f"{at}.output", mixed, d)
    attention = _layer_norm(p, "encoder_layer.attention_norm", attention)
    wide = functional.gelu(_dense(p, "encoder_layer.wide", attention, 4 * d))
    narrow = _dense(p, "encoder_layer.narrow", wide, d)
    return _layer_norm(p, "encoder_layer.output_norm", attention + narrow)


def _basic_block(p: Weights, at: str, x: Tensor, channels: int, stride: int) -> Tensor:
    y = _conv(p, f"{at}.conv1", x, channels, 3, stride)
    y = _batch_norm(p, f"{at}.bn1", y).relu()
    y = _batch_norm(p, f"{at}.bn2", _conv(p, f"{at}.conv2", y, channels, 3))
    if stride != 1:
        x = _conv(p, f"{at}.shortcut.conv", x, channels, 1, stride)
        x = _batch_norm(p, f"{at}.shortcut.bn", x)
    return (x + y).relu()


def resnet18(p: Weights, x: Tensor) -> Tensor:
    x = _batch_norm(p, "bn1", _conv(p, "conv1", x, 64, 7, 2)).relu()
    x = functional.max_pool2d(x, 3, stride=2, padding=1)
    for number, (channels, stride) in enumerate([(64, 1), (128, 2), (256, 2), (512, 2)], 1):
        x = _basic_block(p, f"layer{number}.block1", x, channels, stride)
        x = _basic_block(p, f"layer{number}.block2", x, channels, 1)
    return _dense(p, "fc", x.mean(dim=(2, 3)), 1000)


def _conv_bn(
    p: Weights, at: str, x: Tensor, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> Tensor:
    return _batch_norm(p, f"{at}.bn", _conv(p, f"{at}.conv", x, channels, kernel, stride, groups))


def _inverted_residual(
    p: Weights, at: str, x: Tensor, channels: int, stride: int, expand: int
) -> Tensor:
    hidden = expand * x.shape[1]
    y = x
    if expand != 1:
        y = functional.relu6(_conv_bn(p, f"{at}.wide", y, hidden, 1))
    y = functional.relu6(_conv_bn(p, f"{at}.filtered", y, hidden, 3, stride, groups=hidden))
    y = _conv_bn(p, f"{at}.narrow", y, channels, 1)
    return x + y if stride == 1 and x.shape[1] == channels else y


def mobilenetv2(p: Weights, x: Tensor) -> Tensor:
    x = functional.relu6(_conv_bn(p, "stem", x, 32, 3, 2))
    count = 0
    for expand, channels, repeats, stride in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for turn in range(repeats):
            count += 1
            at = "inverted_residual" if count == 1 else f"inverted_residual_{count}"
            x = _inverted_residual(p, at, x, channels, stride if turn == 0 else 1, expand)
    x = functional.relu6(_conv_bn(p, "head", x, 1280, 1))
    return _dense(p, "classifier", x.mean(dim=(2, 3)), 1000)
