"""Make this folder's data and weights: `python train.py` (NumPy, scikit-learn and safetensors).

Comes in: scikit-learn's bundled handwritten digits, 1,797 images of 8x8 pixels from 0 to 16.
Goes out, beside this file (or in the folder given as `--output`):

    digits.npz           train_image, train_label, test_image, test_label
    mlp.safetensors      dense.weight, dense.bias, dense_2.weight, dense_2.bias
    digits.safetensors   the same, and conv2d.weight, conv2d.bias, conv2d_2.weight, conv2d_2.bias

Every seed is fixed. The last bits of the weights still depend on how NumPy's matrix product adds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import networks
import numpy as np
from networks import Array, Network
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HELD_OUT = 400
SPLIT_SEED = 0
WEIGHT_SEED = 1


def load() -> dict[str, Array]:
    """The images as f32[N, 1, 8, 8] in [0, 1] and the labels as i32[N], split by class."""
    data = load_digits()
    image = (data.images / 16.0).astype(np.float32)[:, None]
    label = data.target.astype(np.int32)
    train_image, test_image, train_label, test_label = train_test_split(
        image, label, test_size=HELD_OUT, random_state=SPLIT_SEED, stratify=label
    )
    return {
        "train_image": train_image,
        "train_label": train_label,
        "test_image": test_image,
        "test_label": test_label,
    }


def shifted(rng: np.random.Generator, image: Array) -> Array:
    """Every image moved by -1, 0 or 1 pixel each way (0 half of the time), zeros moving in."""
    n, _, h, w = image.shape
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    down, right = rng.choice([0, 1, 1, 2], size=(2, n))
    rows = down[:, None, None] + np.arange(h)[None, :, None]
    columns = right[:, None, None] + np.arange(w)[None, None, :]
    return padded[np.arange(n)[:, None, None], 0, rows, columns][:, None]


def loss_gradient(logits: Array, label: Array) -> Array:
    """The gradient by the logits of the mean cross-entropy: (softmax(logits) - one_hot) / N."""
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    gradient = exps / exps.sum(axis=1, keepdims=True)
    gradient[np.arange(len(label)), label] -= 1
    return gradient / len(label)


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay on the matrices."""

    def __init__(self, network: Network, decay: float = 1e-4) -> None:
        self.layers = [layer for _, layer in network if layer.parameters]
        self.decay = decay
        self.steps = 0
        self.moments = [
            {name: (np.zeros_like(p), np.zeros_like(p)) for name, p in layer.parameters.items()}
            for layer in self.layers
        ]

    def step(self, rate: float) -> None:
        """Move every parameter in place by its gradient."""
        self.steps += 1
        scale = rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for layer, moments in zip(self.layers, self.moments, strict=True):
            for name, (m, v) in moments.items():
                gradient = layer.gradients[name]
                m += 0.1 * (gradient - m)
                v += 0.001 * (gradient * gradient - v)
                if name == "weight":
                    layer.parameters[name] *= 1 - rate * self.decay
                layer.parameters[name] -= (scale * m / (np.sqrt(v) + 1e-8)).astype(np.float32)


def train(network: Network, image: Array, label: Array, epochs: int, batch: int = 64) -> None:
    """Train in place; the learning rate falls from 2e-3 to 0 along half a cosine."""
    rng = np.random.default_rng(WEIGHT_SEED)
    optimizer = Adam(network)
    for epoch in range(epochs):
        order = rng.permutation(len(image))
        moved = shifted(rng, image)
        rate = 1e-3 * (1 + np.cos(np.pi * epoch / epochs))
        for start in range(0, len(image), batch):
            rows = order[start : start + batch]
            logits = networks.forward(network, moved[rows])
            networks.backward(network, loss_gradient(logits, label[rows]).astype(np.float32))
            optimizer.step(rate)


def accuracy(network: Network, image: Array, label: Array) -> float:
    """The fraction of `image` whose largest logit is at its label."""
    return float(np.mean(networks.forward(network, image).argmax(axis=1) == label))


def main() -> None:
    """Write the data, then train and write each network and print what it reaches."""
    parser = argparse.ArgumentParser(description="Train the digit classifiers of this folder.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().output
    data = load()
    np.savez_compressed(folder / "digits.npz", **data)
    for name, build, epochs in [("mlp", networks.mlp, 160), ("digits", networks.digits, 30)]:
        network = build(np.random.default_rng(WEIGHT_SEED))
        train(network, data["train_image"], data["train_label"], epochs)
        save_file(networks.weights(network), folder / f"{name}.safetensors")
        reached = accuracy(network, data["test_image"], data["test_label"])
        print(f"{name}: {reached:.4f} of {HELD_OUT} held-out images")


if __name__ == "__main__":
    main()
