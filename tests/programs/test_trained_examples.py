"""The examples that learn: their scripts run, and a few steps of each make the loss less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.image import imread
from safetensors.numpy import save_file
from training_steps import Steps

import stepwell as sw

EXAMPLES = Path(__file__).parents[2] / "examples"


def _run(script: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_char_gpt(tmp_path: Path) -> None:
    """One narrow block, to be quick, on the text that all of it learns from."""
    folder = EXAMPLES / "char_gpt"
    _run("char_gpt/prepare.py", "--output", tmp_path)
    with np.load(tmp_path / "text.npz") as arrays:
        learned, held_out = arrays["train_text"], arrays["valid_text"]
    assert learned.dtype == np.uint8
    assert max(learned.max(), held_out.max()) < 96
    seen = {row[:64].tobytes() for row in learned}
    assert not any(
        row[start : start + 64].tobytes() in seen for row in held_out for start in (0, 16)
    )

    source = (folder / "char_gpt.well").read_text().replace("depth: int = 4", "depth: int = 1")
    source = source.replace("width: int = 128", "width: int = 32")
    start = dict(sw.compile(source, model="char_gpt").parameters)
    steps = Steps(source, start, "char_gpt")
    losses = [steps(learned[i : i + 160 : 10])["loss"] for i in range(0, 16000, 800)]
    assert losses[-1] < losses[0] - 0.5

    (tmp_path / "char_gpt.well").write_text(source)
    for name in ("prepare.py", "sample.py"):
        (tmp_path / name).write_text((folder / name).read_text())
    save_file({path: steps.values[path] for path in start}, tmp_path / "char_gpt.safetensors")
    weights = {path: steps.values[path] for path in start}
    whole = sw.compile(source, model="char_gpt", weights=weights)
    one = sw.compile(source, model="next_character", weights=weights)
    for text in (learned[0, :128], learned[700, :70]):  # places from 0 again: the old are hidden
        logits = [one(text[i : i + 1], np.int64(i)) for i in range(len(text))]
        np.testing.assert_allclose(np.concatenate(logits), whole(text[None])[0], atol=1e-4)
    text = _run(str(tmp_path / "sample.py"), "--prompt", "The “for”", "--length", "150")
    assert text.startswith('The "for"')
    assert len(text) == len('The "for"') + 150 + 1


def test_regression(tmp_path: Path) -> None:
    folder = EXAMPLES / "regression"
    trainer = sw.trainer(folder / "diabetes.well")
    data = f"{folder / 'diabetes.npz'}:"
    trainer.fit(f"{data}train_", epochs=30, batch=32, show=False)
    assert trainer.evaluate(f"{data}valid_")["away"] < 46


def test_denoiser(tmp_path: Path) -> None:
    folder = EXAMPLES / "denoiser"
    _run("denoiser/prepare.py", "--output", tmp_path)
    trainer = sw.trainer(folder / "denoiser.well")
    data = tmp_path / "patches.npz"
    trainer.fit(f"{data}:train_", epochs=2, batch=16, show=False)
    assert trainer.evaluate(f"{data}:valid_")["decibels"] > 23
    weights, picture = tmp_path / "denoiser.safetensors", tmp_path / "flower.png"
    trainer.save(weights)
    said = _run("denoiser/denoise.py", "--weights", weights, "--output", picture)
    assert said.startswith("noisy 20.03 dB, denoised 2")
    image = imread(picture)
    assert image.shape == (128, 3 * 160, 3)
    with np.load(folder / "photographs.npz") as photographs:
        expected = photographs["flower"].transpose(1, 2, 0)
    np.testing.assert_array_equal(np.round(image[:, :160] * 255), expected)
