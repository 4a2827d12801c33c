"""The two classifiers of this folder, forward and backward, in plain NumPy.

A layer is an object with `forward(x)` and `backward(dy)`; its `parameters` and `gradients` are
dictionaries under the last part of the names that the Stepwell models use (`weight`, `bias`).
A network is a list of layers with the full names beside them:

    digits() -> [("conv2d", Conv(...)), ("", Relu()), ("conv2d_2", Conv(...)), ...]

Images are `[N, C, H, W]`, convolution weights `[O, C, 3, 3]`, dense weights `[in, out]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

Array = np.ndarray


class Layer(ABC):
    """A step of a network; without parameters unless a subclass sets them."""

    def __init__(self) -> None:
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """The layer's value, keeping what `backward` needs."""

    @abstractmethod
    def backward(self, dy: Array) -> Array:
        """The gradient of the loss by the input, given that by the output."""


def he_normal(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Array:
    """Normal weights of variance 2 / fan_in (He et al. 2015, section 2.2)."""
    return rng.normal(0.0, np.sqrt(2.0 / fan_in), shape).astype(np.float32)


class Dense(Layer):
    """`x @ weight + bias`."""

    def __init__(self, rng: np.random.Generator, inputs: int, units: int) -> None:
        super().__init__()
        self.parameters = {
            "weight": he_normal(rng, (inputs, units), inputs),
            "bias": np.zeros(units, np.float32),
        }

    def forward(self, x: Array) -> Array:
        self.x = x
        return x @ self.parameters["weight"] + self.parameters["bias"]

    def backward(self, dy: Array) -> Array:
        self.gradients = {"weight": self.x.T @ dy, "bias": dy.sum(axis=0)}
        return dy @ self.parameters["weight"].T


class Conv(Layer):
    """A 3x3 convolution with padding 1, as one matrix product over unfolded windows (im2col)."""

    def __init__(self, rng: np.random.Generator, channels_in: int, channels: int) -> None:
        super().__init__()
        self.parameters = {
            "weight": he_normal(rng, (channels, channels_in, 3, 3), 9 * channels_in),
            "bias": np.zeros(channels, np.float32),
        }

    def forward(self, x: Array) -> Array:
        n, c, h, w = self.shape = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        self.columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * 9)
        weight = self.parameters["weight"].reshape(-1, c * 9)
        y = self.columns @ weight.T + self.parameters["bias"]
        return y.reshape(n, h, w, -1).transpose(0, 3, 1, 2)

    def backward(self, dy: Array) -> Array:
        n, c, h, w = self.shape
        weight = self.parameters["weight"]
        rows = dy.transpose(0, 2, 3, 1).reshape(n * h * w, -1)
        self.gradients = {
            "weight": (rows.T @ self.columns).reshape(weight.shape),
            "bias": rows.sum(axis=0),
        }
        windows = (rows @ weight.reshape(-1, c * 9)).reshape(n, h, w, c, 3, 3)
        dx = np.zeros((n, h + 2, w + 2, c), np.float32)
        for i in range(3):
            for j in range(3):
                dx[:, i : i + h, j : j + w] += windows[..., i, j]
        return dx[:, 1:-1, 1:-1].transpose(0, 3, 1, 2)


class Relu(Layer):
    """`max(x, 0)`."""

    def forward(self, x: Array) -> Array:
        self.positive = x > 0
        return x * self.positive

    def backward(self, dy: Array) -> Array:
        return dy * self.positive


class MaxPool(Layer):
    """The largest of every 2x2 block; the gradient goes to the largest, shared among equals."""

    def forward(self, x: Array) -> Array:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        y = blocks.max(axis=(3, 5), keepdims=True)
        largest = blocks == y
        self.share = largest / largest.sum(axis=(3, 5), keepdims=True, dtype=np.float32)
        return y[:, :, :, 0, :, 0]

    def backward(self, dy: Array) -> Array:
        n, c, h, w = dy.shape
        return (self.share * dy[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w)


class Flatten(Layer):
    """`[N, ...]` to `[N, K]`."""

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape)


Network = list[tuple[str, Layer]]


def mlp(rng: np.random.Generator) -> Network:
    """The network of `mlp.well`."""
    return [
        ("", Flatten()),
        ("dense", Dense(rng, 64, 128)),
        ("", Relu()),
        ("dense_2", Dense(rng, 128, 10)),
    ]


def digits(rng: np.random.Generator) -> Network:
    """The network of `digits.well`."""
    return [
        ("conv2d", Conv(rng, 1, 32)),
        ("", Relu()),
        ("conv2d_2", Conv(rng, 32, 64)),
        ("", Relu()),
        ("", MaxPool()),
        ("", Flatten()),
        ("dense", Dense(rng, 1024, 128)),
        ("", Relu()),
        ("dense_2", Dense(rng, 128, 10)),
    ]


def forward(network: Network, x: Array) -> Array:
    """The logits `[N, 10]` of the images `x`."""
    for _, layer in network:
        x = layer.forward(x)
    return x


def backward(network: Network, dy: Array) -> None:
    """Fill every layer's `gradients` from the loss's gradient by the logits."""
    for _, layer in reversed(network):
        dy = layer.backward(dy)


def weights(network: Network) -> dict[str, Array]:
    """Every parameter under its path in the Stepwell model, such as `conv2d_2.weight`."""
    return {
        f"{path}.{name}": value
        for path, layer in network
        for name, value in layer.parameters.items()
    }
