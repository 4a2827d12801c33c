"""`stepwell train` on a step as graph IR: files, resuming, mistakes, signals, terminals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stepwell.safetensors_file import SafetensorsFile

from .conftest import Run
from .test_training import STEP

DATA = ("train", "step.graph", "--data", "d.npz:train_")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(90, 20)).astype("f"), rng.normal(size=(20, 10)).astype("f")
    np.savez(tmp_path / "d.npz", train_x=x, train_y=x @ w, bad_x=x, bad_y=(x @ w)[:5])
    (tmp_path / "step.graph").write_text(STEP)
    return tmp_path


def test_train_and_go_on(run: Run, files: Path) -> None:
    done = run(*DATA, "--epochs", 3, "--batch", 32, "--out", "w.safetensors", "--plot", "c.png")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("epoch 1/3  loss ")
    assert lines[-1] == "wrote w.safetensors, w.checkpoint.safetensors, w.log.jsonl, c.png"
    assert {path.name for path in files.iterdir()} == {
        "d.npz", "step.graph", "w.safetensors", "w.checkpoint.safetensors", "w.log.jsonl", "c.png"
    }  # fmt: skip
    assert list(SafetensorsFile(files / "w.safetensors")) == ["w"]
    log = [json.loads(line) for line in (files / "w.log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [3, 6, 9]

    more = run(*DATA, "--epochs", 5, "--batch", 32, "--out", "w.safetensors", "--resume")
    assert more.out.startswith("epoch 4/5")
    whole = run(*DATA, "--epochs", 5, "--batch", 32, "--out", "v.safetensors", "--quiet")
    assert (whole.code, whole.out, whole.err) == (0, "", "")
    assert (files / "w.safetensors").read_bytes() == (files / "v.safetensors").read_bytes()
    again = run(*DATA, "--epochs", 5, "--batch", 32, "--out", "w.safetensors", "--resume")
    assert again.code == 0
    assert "epoch 5/5" not in again.out  # there was nothing left to do


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "none.npz"], "no file none.npz"),
        (["--data", "step.graph"], "must end in .npz or .safetensors"),
        (["--data", "d.npz"], "no array for `x: f32[N, 20]`, `y: f32[N, 10]`"),
        (["--data", "d.npz:test_"], "no array begins with `test_`"),
        (["--data", "d.npz:bad_"], "not the same number of samples: `x` has 90, `y` has 5"),
        (["--epochs", "0"], "--epochs 0"),
        (["--batch", "0"], "--batch 0"),
        (["--out", "w.npz"], "must end in .safetensors"),
        (["--out", "none/w.safetensors"], "no such folder"),
        (["--out", "."], "must end in .safetensors"),
        (["--out", "w.safetensors", "--log", "none/log"], "log none/log: there is no such folder"),
        (["--log", "."], "log . is a folder, not a file"),
        (["--plot", "none/c.png"], "the picture none/c.png: there is no such folder"),
        (["--resume"], "--resume needs --out"),
        (["--valid", "d.npz:train_"], "holds a step alone"),
        (["--weights", "none.npz"], "no weights file none.npz"),
        (["--train", "other"], "holds the model `linear`, not `other`"),
    ],
)
def test_mistakes(run: Run, files: Path, arguments: list[str], message: str) -> None:
    done = run(*DATA, *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err
    assert {path.name for path in files.iterdir()} == {"d.npz", "step.graph"}


def test_what_an_earlier_run_left_is_not_overwritten(run: Run, files: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in files.iterdir()}

    again = (*DATA, "--out", "w.safetensors", "--quiet", "--epochs", 1)
    assert run(*again).code == 0
    before = contents()
    done = run(*again)
    assert (done.code, contents()) == (2, before)
    assert "w.checkpoint.safetensors (of 3 steps): give --resume to go on" in done.err
    (files / "w.checkpoint.safetensors").unlink()
    before = contents()
    done = run(*again, "--resume")  # it would begin, and at its end replace what was trained
    assert (done.code, contents()) == (2, before)
    assert "left w.safetensors, w.log.jsonl: give --overwrite to begin anew" in done.err
    assert run(*again, "--overwrite").code == 0


def test_what_resumes_must_be_the_same_run(run: Run, files: Path) -> None:
    out = ("--out", "w.safetensors", "--quiet")
    first = run(*DATA, *out, "--epochs", 1, "--seed", 4, "--resume")
    assert (first.code, first.err) == (
        0,
        "note: there is no w.checkpoint.safetensors: the run begins\n",
    )
    done = run(*DATA, *out, "--epochs", 2, "--seed", 5, "--resume")
    assert (done.code, done.err) == (2, "error: w.checkpoint.safetensors is of seed 4, not 5\n")
    (files / "step.graph").write_text(STEP.replace("0.001", "0.002"))
    done = run(*DATA, *out, "--epochs", 2, "--resume")
    assert done.code == 0
    assert "step.graph has changed since the checkpoint" in done.err


def _long(files: Path, **more: object) -> subprocess.Popen[str]:
    """A run of some minutes, once it has begun to train."""
    command = [sys.executable, "-m", "stepwell", *DATA, "--epochs", "100000", "--batch", "8"]
    command += ["--out", "w.safetensors"]
    # Which overload it is depends on keywords that are handed on.
    process = subprocess.Popen(command, cwd=files, text=True, **more)  # type: ignore[call-overload]
    while not (files / "w.log.jsonl").exists() or not (files / "w.log.jsonl").stat().st_size:
        assert process.poll() is None
        time.sleep(0.02)
    return process  # type: ignore[no-any-return]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_stops_after_a_checkpoint(files: Path, number: int, code: int) -> None:
    process = _long(files, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err.startswith("stopped after step ")
    assert err.strip().endswith("w.checkpoint.safetensors")
    assert not (files / "w.safetensors").exists()


def test_a_bar_on_a_terminal(files: Path) -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "150"}
    process = _long(files, stdout=subprocess.PIPE, stderr=child, env=environment)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    os.close(child)
    shown = b""
    while select.select([parent], [], [], 20)[0]:
        try:
            shown += os.read(parent, 65536)
        except OSError:
            break
    process.communicate(timeout=20)
    os.close(parent)
    text = shown.decode()
    assert "/100000" in text
    assert "samples/s" in text
    assert "loss" in text
