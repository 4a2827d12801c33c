"""`stepwell build --train`: a C program that trains, to the same bits as the trainer in Python."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

import stepwell as sw
from stepwell.cli import main

SOURCE = """
use nn

model net(image: f32[N, 1, 8, 8]) -> f32[N, 10] {
    image |> flatten(from: 1) |> nn.dense(units: 16) |> relu |> dropout(0.1) |> nn.dense(units: 10)
}

train fit(image: f32[N, 1, 8, 8], label: i32[N], scale: f32[10]) {
    let logits = net(image) * scale
    loss = cross_entropy(logits, label)
    optimizer = adam(lr: 0.002)
    metric accuracy = mean(argmax(logits, axis: -1) == cast(label, i64))
    frozen = "dense.bias"
}
"""


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return {
        "image": random.normal(size=(70, 1, 8, 8)).astype("f4"),
        "label": random.integers(0, 10, 70).astype("i4"),
        "scale": np.linspace(0.5, 1.5, 10, dtype="f4"),
    }


def _built(folder, source, data, *arguments):
    """The C program, made by the system's compiler, beside its data."""
    (folder / "fit.well").write_text(source)
    output = folder / "libfit.a"
    command = ["build", str(folder / "fit.well"), "--train", "fit", "-o", str(output)]
    assert main([*command, *arguments]) == 0
    strict = ["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    compiler = ["cc", *strict, "main.c", "libfit.a", "-lpthread", "-o", "main"]
    subprocess.run(compiler, cwd=folder, check=True)
    for name, array in data.items():
        array.tofile(folder / f"{name}.raw")


def _run(folder, *arguments):
    inputs = [f"{path.stem}={path.name}" for path in sorted(folder.glob("*.raw"))]
    command = ["./main", "state=fit.state", "out=trained.state", *inputs, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_c_trains_to_the_same_bits(tmp_path, data, capsys):
    _built(tmp_path, SOURCE, data, "--seed", "5")
    assert "fit.state" in capsys.readouterr().out
    for threads, shuffle in ((1, "yes"), (2, "yes"), (2, "no")):
        said = _run(
            tmp_path, "weights=fit.weights", "epochs=3", "batch=16", f"threads={threads}",
            f"shuffle={shuffle}",
        )  # fmt: skip
        assert said.stderr == "" and said.returncode == 0
        trainer = sw.trainer(SOURCE, seed=5, threads=1)
        trainer.fit(data, epochs=3, batch=16, shuffle=shuffle == "yes", show=False)
        trained = (tmp_path / "trained.state").read_bytes()
        assert trained == trainer.model.state.block.tobytes()
        epoch = trainer.history[-1]
        numbers = f"loss {epoch['loss']:.6g}  accuracy {epoch['accuracy']:.6g}"
        assert said.stdout.splitlines()[-1] == f"epoch 3 of 3  {numbers}"


def test_batches_of_a_fixed_size_leave_out_the_rest(tmp_path, data):
    source = SOURCE.replace("[N", "[32")
    _built(tmp_path, source, data)
    assert _run(tmp_path, "weights=fit.weights", "epochs=2").returncode == 0
    trainer = sw.trainer(source)
    trainer.fit(data, epochs=2, show=False)
    assert (tmp_path / "trained.state").read_bytes() == trainer.model.state.block.tobytes()
    said = _run(tmp_path, "weights=fit.weights", "batch=16")
    assert said.returncode == 1 and said.stderr == "main: batch: is no size of a batch\n"


def test_mistakes_are_said(tmp_path, data):
    _built(tmp_path, SOURCE, data)
    assert "is missing" in _run(tmp_path).stderr  # the weights: what is frozen
    data["label"][:-1].tofile(tmp_path / "label.raw")
    said = _run(tmp_path, "weights=fit.weights")
    assert said.stderr == "main: label: has not the right number of samples\n"
    assert not (tmp_path / "trained.state").exists()


def test_a_built_step_runs_in_python(tmp_path, data, capsys):
    _built(tmp_path, SOURCE, data, "--seed", "5", "--embed")
    library = tmp_path / "libfit.so"
    command = ["build", str(tmp_path / "fit.well"), "--train", "fit", "-o", str(library)]
    assert main([*command, "--seed", "5", "--embed"]) == 0
    with pytest.raises(sw.InputError, match="holds a step, which has state"):
        sw.load(library)
    for name, array in data.items():
        np.save(tmp_path / f"{name}.npy", array)
    inputs = [f"--input={name}={tmp_path / name}.npy" for name in data]
    assert main(["run", str(library), "--state", str(tmp_path / "fit.state"), *inputs]) == 0
    assert "accuracy: f32 = " in capsys.readouterr().out
    step = sw.load(library, state=tmp_path / "fit.state")
    trainer = sw.trainer(SOURCE, seed=5)
    for _ in range(2):
        assert float(step(**data).loss) == trainer.step(**data)["loss"]
    assert step.state.block.tobytes() == trainer.model.state.block.tobytes()
    with pytest.raises(sw.InputError, match="holds native code, not a program"):
        sw.trainer(library)
    (tmp_path / "short.state").write_bytes(b"12345678")
    with pytest.raises(sw.InputError, match="it has 8 bytes"):
        sw.load(library, state=tmp_path / "short.state")


def test_a_step_that_fails_leaves_its_state(data):
    trainer = sw.trainer(SOURCE)
    trainer.step(**data)
    before = trainer.model.state.block.tobytes()
    with pytest.raises(sw.InputError, match="outside its axis of size 10"):
        trainer.step(**{**data, "label": data["label"] + 50})
    assert trainer.model.state.block.tobytes() == before
