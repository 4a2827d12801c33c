"""The digit classifiers of `examples/digits` on their held-out images, in Python and the shell."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional

import stepwell as sw

FOLDER = Path(__file__).parents[2] / "examples" / "digits"
LEAST = {"mlp": 0.96, "digits": 0.97}

Array = np.ndarray


@pytest.fixture(scope="module")
def data() -> dict[str, Array]:
    with np.load(FOLDER / "digits.npz") as arrays:
        return dict(arrays)


def _compile(name: str, model: str) -> sw.Model:
    weights = FOLDER / f"{name}.safetensors"
    return sw.compile(FOLDER / f"{name}.well", model=model, weights=weights)


def _logits(name: str, image: Array) -> Array:
    """PyTorch's logits in float64."""
    weights = load_file(FOLDER / f"{name}.safetensors")
    p = {path: torch.from_numpy(value).double() for path, value in weights.items()}
    x = torch.from_numpy(image).double()
    if name == "digits":
        for conv in ("conv2d", "conv2d_2"):
            x = functional.conv2d(x, p[f"{conv}.weight"], p[f"{conv}.bias"], padding=1).relu()
        x = functional.max_pool2d(x, 2)
    x = (x.flatten(1) @ p["dense.weight"] + p["dense.bias"]).relu()
    return (x @ p["dense_2.weight"] + p["dense_2.bias"]).numpy()


def test_the_data_is_whole(data: dict[str, Array]) -> None:
    assert data["train_image"].shape == (1397, 1, 8, 8)
    assert data["test_image"].shape == (400, 1, 8, 8)
    both = np.concatenate([data["train_image"], data["test_image"]])
    assert both.dtype == np.float32
    assert len(np.unique(both.reshape(1797, 64), axis=0)) == 1797  # none is held out and seen
    np.testing.assert_array_equal(both * 16, np.round(both * 16))
    assert both.min() == 0
    assert both.max() == 1
    assert data["test_label"].dtype == np.int32
    assert np.bincount(data["test_label"]).min() >= 36


@pytest.mark.parametrize("name", LEAST)
def test_logits(name: str, data: dict[str, Array]) -> None:
    expected = _logits(name, data["test_image"])
    actual = _compile(name, name)(data["test_image"])
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LEAST)
def test_accuracy(name: str, data: dict[str, Array]) -> None:
    label = data["test_label"]
    reached = _compile(name, f"{name}_accuracy")(data["test_image"], label)
    assert reached == pytest.approx(np.mean(_logits(name, data["test_image"]).argmax(1) == label))
    assert reached >= LEAST[name]


@pytest.mark.parametrize("name", LEAST)
def test_accuracy_on_the_command_line(name: str) -> None:
    command = [sys.executable, "-m", "stepwell", "run", f"{name}.well"]
    command += ["--model", f"{name}_accuracy", "--weights", f"{name}.safetensors"]
    command += ["--input", "image=digits.npz:test_image", "--input", "label=digits.npz:test_label"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    numbers = [float(number) for number in re.findall(r"\b[01]\.\d*", done.stdout)]
    assert any(LEAST[name] <= number <= 1 for number in numbers), done.stdout


@pytest.mark.parametrize("name", LEAST)
def test_one_compilation_serves_every_batch_size(name: str, data: dict[str, Array]) -> None:
    model = _compile(name, name)
    image = np.concatenate([data["test_image"], data["train_image"]])
    whole = model(image)
    for n in (1, 7, 64):
        np.testing.assert_allclose(model(image[:n]), whole[:n], rtol=1e-5, atol=1e-5)
    assert model(image[:0]).shape == (0, 10)


def test_parameters_are_named_by_their_place() -> None:
    parameters = _compile("digits", "digits").parameters
    shapes = {path: tuple(value.shape) for path, value in parameters.items()}
    assert shapes == {
        "conv2d.weight": (32, 1, 3, 3),
        "conv2d.bias": (32,),
        "conv2d_2.weight": (64, 32, 3, 3),
        "conv2d_2.bias": (64,),
        "dense.weight": (1024, 128),
        "dense.bias": (128,),
        "dense_2.weight": (128, 10),
        "dense_2.bias": (10,),
    }
