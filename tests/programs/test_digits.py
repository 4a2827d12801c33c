"""The digit classifiers of `examples/digits`: trained here, then run on the held-out images."""

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
LEAST = {"mlp": 0.965, "digits": 0.985}
EPOCHS = {"mlp": 40, "digits": 20}

Array = np.ndarray


@pytest.fixture(scope="module")
def data() -> dict[str, Array]:
    with np.load(FOLDER / "digits.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", params=list(LEAST))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights that README's command makes, for each network."""
    name = request.param
    path = tmp_path_factory.mktemp("digits") / f"{name}.safetensors"
    trainer = sw.trainer(FOLDER / f"{name}.well", seed=0)
    source = f"{FOLDER}/digits.npz"
    trainer.fit(f"{source}:train_", epochs=EPOCHS[name], batch=64, show=False)
    assert trainer.evaluate(f"{source}:test_")["accuracy"] >= LEAST[name]
    trainer.save(path)
    return path


def _logits(path: Path, image: Array) -> Array:
    """PyTorch's logits in float64."""
    p = {name: torch.from_numpy(value).double() for name, value in load_file(path).items()}
    x = torch.from_numpy(image).double()
    if path.stem == "digits":
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


def test_logits(trained: Path, data: dict[str, Array]) -> None:
    expected = _logits(trained, data["test_image"])
    model = sw.compile(FOLDER / f"{trained.stem}.well", weights=trained)
    actual = model(data["test_image"])
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_accuracy_on_the_command_line(trained: Path, data: dict[str, Array]) -> None:
    name = trained.stem
    command = [sys.executable, "-m", "stepwell", "run", f"{name}.well"]
    command += ["--model", f"{name}_accuracy", "--weights", str(trained)]
    command += ["--input", "image=digits.npz:test_image", "--input", "label=digits.npz:test_label"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (reached,) = re.findall(r"accuracy: f32 = ([01]\.\d*)", done.stdout)
    right = _logits(trained, data["test_image"]).argmax(1) == data["test_label"]
    assert float(reached) == pytest.approx(np.mean(right))
    assert float(reached) >= LEAST[name]


def test_one_compilation_serves_every_batch_size(trained: Path, data: dict[str, Array]) -> None:
    model = sw.compile(FOLDER / f"{trained.stem}.well", weights=trained)
    image = np.concatenate([data["test_image"], data["train_image"]])
    whole = model(image)
    for n in (1, 7, 64):
        np.testing.assert_allclose(model(image[:n]), whole[:n], rtol=1e-5, atol=1e-5)
    assert model(image[:0]).shape == (0, 10)


def test_parameters_are_named_by_their_place() -> None:
    parameters = sw.compile(FOLDER / "digits.well", model="digits").parameters
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


def test_threads_give_the_same_parameters() -> None:
    trainers = [sw.trainer(FOLDER / "digits.well", seed=1, threads=n) for n in (1, 2)]
    for trainer in trainers:
        trainer.fit(f"{FOLDER}/digits.npz:train_", epochs=2, batch=64, show=False)
    one, two = (trainer.state for trainer in trainers)
    assert [path for path in one if one[path].tobytes() != two[path].tobytes()] == []
