"""The trainer and its loop, on a step as graph IR: data, order, checkpoints, logs, faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import stepwell as sw
from stepwell.arrays import Array
from stepwell.ir.philox import words
from stepwell.safetensors_file import SafetensorsFile
from stepwell.training.checkpoint import read_checkpoint
from stepwell.training.data import as_data
from stepwell.training.display import print_history
from stepwell.training.listeners import Listener
from stepwell.training.order import order
from stepwell.training.position import Position, Record

# w ← w - 0.001 (m ← 0.9 m + xᵀ(xw - y)); the loss is a sum over the batch
STEP = """\
graph @linear[N](%x: f32[N, 20], %y: f32[N, 10]) {
  param %w: f32[20, 10] = glorot_uniform
  state %optimizer.w.m: f32[20, 10] = zeros
  state %optimizer.step: i64[] = zeros
  %h = contract(%x, %w) {spec = "nk,kj->nj"} : f32[N, 10]
  %d = sub(%h, %y) : f32[N, 10]
  %dd = mul(%d, %d) : f32[N, 10]
  %loss = reduce_sum(%dd) {axes = [0, 1]} : f32[]
  %a = abs(%d) : f32[N, 10]
  %error = reduce_sum(%a) {axes = [0, 1]} : f32[]
  %g = contract(%x, %d) {spec = "nk,nj->kj"} : f32[20, 10]
  %beta = constant {value = 0.9, dtype = f32, shape = [20, 10]} : f32[20, 10]
  %m0 = mul(%optimizer.w.m, %beta) : f32[20, 10]
  %m1 = add(%m0, %g) : f32[20, 10]
  %lr = constant {value = 0.001, dtype = f32, shape = [20, 10]} : f32[20, 10]
  %s = mul(%lr, %m1) : f32[20, 10]
  %w1 = sub(%w, %s) : f32[20, 10]
  %one = constant {value = 1, dtype = i64, shape = []} : i64[]
  %t1 = add(%optimizer.step, %one) : i64[]
  update %w = %w1
  update %optimizer.w.m = %m1
  update %optimizer.step = %t1
  return loss = %loss, error = %error
}
"""


@pytest.fixture(scope="module")
def data() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(90, 20)).astype("f"), rng.normal(size=(20, 10)).astype("f")
    return {"x": x, "y": x @ w}


def _trainer(**more: Any) -> sw.Trainer:
    return sw.trainer(STEP, **more)


def _same(one: sw.Trainer, other: sw.Trainer) -> bool:
    return all(one.state[path].tobytes() == other.state[path].tobytes() for path in one.state)


# order


def test_the_order_is_a_permutation_of_seed_and_epoch() -> None:
    found = order(1000, seed=3, epoch=5)
    assert sorted(found) == list(range(1000))
    assert (order(1000, 3, 5) == found).all()
    for other in (order(1000, 3, 6), order(1000, 4, 5)):
        assert np.mean(other == found) < 0.02
    places = np.array([np.argsort(order(8, 0, epoch)) for epoch in range(4000)])
    assert np.abs(places.mean(axis=0) - 3.5).max() < 0.15  # each sample is everywhere


def test_the_order_is_the_documented_one() -> None:
    keys = [words(i, 2**64 - 3, 7)[0] + 2**32 * words(i, 2**64 - 3, 7)[1] for i in range(50)]
    assert list(order(50, seed=7, epoch=2)) == sorted(range(50), key=keys.__getitem__)


# data


def test_batches_hold_every_sample_once(data: dict[str, Array]) -> None:
    inputs = _trainer().model.signature.inputs
    given = as_data(data, inputs, 32)
    batches = list(given.batches(epoch=1, seed=0))
    assert [len(x) for x, _ in batches] == [32, 32, 26]
    rows = order(90, 0, 1)
    assert (np.concatenate([x for x, _ in batches]) == data["x"][rows]).all()
    assert (np.concatenate([y for _, y in batches]) == data["y"][rows]).all()
    later = list(given.batches(epoch=1, seed=0, start=1))
    assert all((a[0] == b[0]).all() for a, b in zip(batches[1:], later, strict=True))
    assert (next(given.batches())[0] == data["x"][:32]).all()


def test_data_of_every_kind_are_the_same(data: dict[str, Array], tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", train_x=data["x"], train_y=data["y"], test_x=data["x"][:3])
    save_file(data, tmp_path / "d.safetensors")
    pairs = [(data["x"][i : i + 32], data["y"][i : i + 32]) for i in (0, 32, 64)]
    named = [{"y": y, "x": x} for x, y in pairs]
    trainers = []
    for source in (data, (data["x"], data["y"]), f"{tmp_path}/d.npz:train_",
                   tmp_path / "d.safetensors", pairs, named):  # fmt: skip
        trainers.append(_trainer())
        size = None if isinstance(source, list) else 32
        trainers[-1].fit(source, epochs=2, batch=size, shuffle=False, show=False)
    assert all(_same(trainers[0], other) for other in trainers[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "no array for `y: f32[N, 10]`; there are `x`"),
        ({"y": None, "yy": np.ones(3)}, "did you mean `yy`?"),
        ({"x": np.ones((90, 20))}, "`x`: is f64, but the model wants f32"),
        ({"x": np.ones((90, 21), "f")}, "`x` is f32[90, 21], the program wants f32[N, 20]"),
        ({"x": np.ones((89, 20), "f")}, "not the same number of samples: `x` has 89, `y` has 90"),
        ({"x": np.ones((0, 20), "f"), "y": np.ones((0, 10), "f")}, "there are no samples"),
    ],
)
def test_data_that_do_not_fit(data: dict[str, Array], change: dict[str, Any], message: str) -> None:
    given = {name: x for name, x in {**data, **change}.items() if x is not None}
    trainer = _trainer()
    with pytest.raises(sw.InputError) as caught:
        trainer.fit(given, show=False)
    assert message in str(caught.value)
    assert trainer.position.step == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": 3}, "the data are a int"),
        ({"data": "none.npz"}, "no file none.npz"),
        ({"data": "none.csv"}, "must end in .npz or .safetensors"),
        ({"data": [np.ones((2, 20), "f")]}, "batch 0: 1 arrays, but the inputs are `x`, `y`"),
        ({"data": []}, "the data gave no batch"),
        ({"data": [], "batch": 3}, "the data come in batches already"),
        ({"batch": 0}, "batch: 0 is not at least 1"),
        ({"epochs": 0}, "epochs: 0 is not at least 1"),
        ({"checkpoint": "a.ckpt"}, "must end in .safetensors"),
        ({"checkpoint": "none/a.safetensors"}, "there is no such folder"),
        ({"log": print}, "is no path"),
        ({"listeners": (print,)}, "is no Listener"),
        ({"plot": "a.pdf"}, "must end in .png"),
        ({"plot": "none/a.png"}, "there is no such folder"),
        ({"data": [(np.ones((2, 20), "f"), np.ones((3, 10), "f"))]}, "step 1: input `y` is f32[3"),
        ({"valid": (np.ones((2, 20), "f"), np.ones((2, 10), "f"))}, "nothing in it evaluates"),
    ],
)
def test_arguments_that_are_wrong(
    data: dict[str, Array], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(sw.InputError) as caught:
        _trainer().fit(**{"data": data, "show": False, **arguments})
    assert message in str(caught.value)


def test_an_iterator_serves_one_epoch(data: dict[str, Array]) -> None:
    def once() -> Iterator[Any]:
        yield data

    trainer = _trainer()
    with pytest.raises(sw.InputError, match="once only, and 2 epochs are to be done"):
        trainer.fit(once(), epochs=2, show=False)
    assert trainer.position.step == 0
    assert len(trainer.fit(once(), show=False)) == 1
    assert len(trainer.fit(once(), epochs=2, show=False)) == 2  # the second alone
    assert len(trainer.fit([data], epochs=4, show=False)) == 4


# steps


def test_a_step_tells_loss_and_metrics_and_refuses_what_does_not_fit(
    data: dict[str, Array],
) -> None:
    trainer = _trainer(seed=1)
    w = trainer.parameters["w"].copy()
    d = data["x"] @ w - data["y"]
    found = trainer.step(y=data["y"], x=data["x"])
    assert found == pytest.approx({"loss": np.sum(d * d), "error": np.sum(np.abs(d))}, rel=1e-5)
    np.testing.assert_allclose(
        trainer.parameters["w"], w - 0.001 * data["x"].T @ d, rtol=1e-4, atol=1e-6
    )
    assert list(trainer.parameters) == ["w"]
    assert trainer.state["optimizer.step"] == 1
    before = trainer.state["w"].copy()
    with pytest.raises(sw.InputError):
        trainer.step(data["x"], data["y"][:3])
    assert (trainer.state["w"] == before).all() and trainer.position.step == 1
    with pytest.raises(ValueError, match="read-only"):
        trainer.parameters["w"][...] = 0


def test_weights_begin_and_are_saved(data: dict[str, Array], tmp_path: Path) -> None:
    w = np.full((20, 10), 0.5, "f")
    trainer = _trainer(weights={"w": w, "optimizer.step": np.int64(9)})
    assert (trainer.parameters["w"] == w).all()
    assert trainer.state["optimizer.step"] == 0
    trainer.save(tmp_path / "w.safetensors")
    assert set(SafetensorsFile(tmp_path / "w.safetensors")) == {"w"}
    with pytest.raises(sw.InputError, match="missing: `w`"):
        _trainer(weights={"v": w})
    with pytest.raises(sw.InputError, match="no checkpoint: it holds weights"):
        trainer.resume(tmp_path / "w.safetensors")


def test_a_graph_that_updates_nothing_is_no_step() -> None:
    with pytest.raises(sw.InputError, match="updates nothing"):
        sw.trainer("graph @f(%x: f32[2]) {\n  return loss = %x\n}\n")


def test_threads_give_the_same_bits(data: dict[str, Array]) -> None:
    one, two = _trainer(threads=1), _trainer(threads=2)
    for each in (one, two):
        each.fit(data, epochs=2, batch=64, show=False)
    assert _same(one, two)


# checkpoints


class _Stop(Listener):
    def __init__(self, at: int, number: int = 0) -> None:
        self.at, self.number = at, number

    def step(self, position: Position, results: Record, samples: int) -> None:
        if position.step == self.at:
            if not self.number:
                raise SystemExit("the machine stops")
            signal.raise_signal(self.number)


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_goes_on_to_the_same_bits(
    data: dict[str, Array], tmp_path: Path, stream: bool
) -> None:
    """Stopped in the middle of an epoch; records and log too are those of one run."""
    source: Any = data
    if stream:
        source = [(data["x"][i : i + 32], data["y"][i : i + 32]) for i in (0, 32, 64)]
    size = None if stream else 32

    def fit(trainer: sw.Trainer, name: str, **more: Any) -> None:
        log = tmp_path / f"{name}.jsonl"
        trainer.fit(source, epochs=7, batch=size, show=False, steps=2,
                    checkpoint=tmp_path / f"{name}.safetensors", log=log, **more)  # fmt: skip

    whole, stopped, resumed = _trainer(seed=5), _trainer(seed=5), _trainer(seed=0)
    fit(whole, "whole")
    with pytest.raises(SystemExit):
        fit(stopped, "parts", listeners=(_Stop(14),))
    # written while the run goes on, and lost with it
    with (tmp_path / "parts.jsonl").open("a") as log:
        log.write('{"step": 20, "epoch": 7, "loss": 1.0}\n{"st')
    resumed.resume(tmp_path / "parts.safetensors")
    assert 11 < resumed.position.step < 14
    fit(resumed, "parts")
    assert _same(whole, resumed)
    times = ("seconds", "samples_per_second")

    def timeless(records: list[Record]) -> list[Record]:
        return [{k: v for k, v in r.items() if k not in times} for r in records]

    assert timeless(whole.history) == timeless(resumed.history)
    logs = [(tmp_path / f"{n}.jsonl").read_text().splitlines() for n in ("whole", "parts")]
    first, second = ([json.loads(line) for line in lines] for lines in logs)
    assert timeless(first) == timeless(second)
    assert [r["step"] for r in first] == [3, 6, 9, 10, 12, 15, 18, 20, 21]


def test_an_interrupt_waits_for_the_step_and_a_checkpoint(
    data: dict[str, Array], tmp_path: Path
) -> None:
    trainer, path = _trainer(), tmp_path / "c.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(data, epochs=9, batch=32, show=False, checkpoint=path,
                    listeners=(_Stop(5, signal.SIGINT),))  # fmt: skip
    assert trainer.position.step == read_checkpoint(path).position.step == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trainer.fit(data, epochs=9, batch=32, show=False)  # as in a notebook
    whole = _trainer()
    whole.fit(data, epochs=9, batch=32, show=False)
    assert _same(whole, trainer)


class _Broken(Listener):
    def __init__(self, method: str) -> None:
        self.method, self.ended = method, False

    def epoch(self, position: Position, record: Record) -> None:
        if self.method == "epoch":
            raise RuntimeError("no space")

    def end(self, position: Position) -> None:
        self.ended = True
        if self.method == "end":
            raise RuntimeError("no space")


@pytest.mark.parametrize(("method", "steps"), [("epoch", 3), ("end", 9)])
def test_a_listener_that_fails_loses_nothing(
    data: dict[str, Array], tmp_path: Path, method: str, steps: int
) -> None:
    trainer, path, log = _trainer(), tmp_path / "c.safetensors", tmp_path / "log.jsonl"
    broken = (_Broken(method), _Broken("none"))
    with pytest.raises(RuntimeError, match="no space"):
        trainer.fit(data, epochs=3, batch=32, show=False, checkpoint=path, listeners=broken,
                    log=log)  # fmt: skip
    assert all(each.ended for each in broken)
    assert read_checkpoint(path).position.step == trainer.position.step == steps
    trainer.fit(data, epochs=3, batch=32, show=False, checkpoint=path, log=log)
    whole = _trainer()
    whole.fit(data, epochs=3, batch=32, show=False)
    assert _same(whole, trainer)
    assert len(log.read_text().splitlines()) == 3


def test_a_log_may_be_a_pipe(data: dict[str, Array]) -> None:
    reader, writer = os.pipe()
    _trainer().fit(data, epochs=2, batch=32, show=False, log=f"/dev/fd/{writer}")
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_a_checkpoint_that_does_not_fit(data: dict[str, Array], tmp_path: Path) -> None:
    trainer, path = _trainer(), tmp_path / "c.safetensors"
    trainer.fit(data, batch=32, show=False, checkpoint=path)
    raw = path.read_bytes()
    other = sw.trainer(STEP.replace("@linear", "@other"))
    with pytest.raises(sw.InputError, match="is of `linear`, not of `other`"):
        other.resume(path)
    wider = sw.trainer(STEP.replace("20", "21"))
    with pytest.raises(sw.InputError, match=r"`w` is f32\[20, 10\], the model wants f32\[21, 10\]"):
        wider.resume(path)
    assert wider.position.step == 0
    path.write_bytes(raw[:-50])
    with pytest.raises(sw.InputError, match="can't read the checkpoint"):
        trainer.resume(path)
    path.write_bytes(raw.replace(b'"stepwell.checkpoint":"1"', b'"stepwell.checkpoint":"2"'))
    with pytest.raises(sw.InputError, match="format 2"):
        trainer.resume(path)
    with pytest.raises(sw.InputError, match="no checkpoint"):
        trainer.resume(tmp_path / "none.safetensors")


def test_a_checkpoint_that_is_further_is_not_replaced(
    data: dict[str, Array], tmp_path: Path
) -> None:
    trainer, path = _trainer(), tmp_path / "c.safetensors"
    trainer.fit(data, batch=32, show=False, checkpoint=path)
    trainer.fit(data, epochs=2, batch=32, show=False, checkpoint=path)
    kept = path.read_bytes()
    with pytest.raises(sw.InputError, match="holds a run of 6 steps, this one has done 0"):
        _trainer().fit(data, batch=32, show=False, checkpoint=path)
    assert path.read_bytes() == kept
    _trainer().fit(data, batch=32, show=False, checkpoint=path, overwrite=True)
    assert read_checkpoint(path).position.step == 3


def test_within_an_epoch_the_data_must_be_cut_as_they_were(
    data: dict[str, Array], tmp_path: Path
) -> None:
    trainer, path = _trainer(), tmp_path / "c.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(data, batch=32, show=False, checkpoint=path,
                    listeners=(_Stop(1, signal.SIGINT),))  # fmt: skip
    with pytest.raises(sw.InputError, match="90 samples in batches of 32; it can't go on with"):
        trainer.fit(data, batch=30, show=False)


KILLED = """
import sys, numpy as np, stepwell as sw
data = dict(np.load("d.npz"))
t = sw.trainer("step.graph")
if "resume" in sys.argv: t.resume("c.safetensors")
t.fit(data, epochs=150, batch=8, checkpoint="c.safetensors", seconds=0.005, show=False, log="l")
t.save("done.safetensors")
"""


def test_killed_at_any_moment_only_steps_are_lost(data: dict[str, Array], tmp_path: Path) -> None:
    (tmp_path / "step.graph").write_text(STEP)
    np.savez(tmp_path / "d.npz", **data)
    whole = _trainer()
    whole.fit(data, epochs=150, batch=8, show=False)
    rng, more, kills, steps = np.random.default_rng(), [], 0, [0]
    checkpoint = tmp_path / "c.safetensors"
    while True:
        process = subprocess.Popen([sys.executable, "-c", KILLED, *more], cwd=tmp_path)
        stamp = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and kills < 3:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != stamp:
                time.sleep(rng.uniform(0, 0.2))
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills, more = kills + 1, ["resume"]
        steps.append(read_checkpoint(checkpoint).position.step)
    assert steps == sorted(steps)
    saved = SafetensorsFile(tmp_path / "done.safetensors")
    assert saved["w"].tobytes() == whole.parameters["w"].tobytes()
    assert not list(tmp_path.glob(".*.part"))  # what a killed process left is cleared away
    assert len([line for line in (tmp_path / "l").read_text().splitlines() if "seconds" in line]) \
        == 150  # fmt: skip


# what is told


def test_event_files_hold_scalars_and_the_graph(data: dict[str, Array], tmp_path: Path) -> None:
    _trainer().fit(data, epochs=10, batch=64, show=False, logdir=tmp_path)
    found = EventAccumulator(str(tmp_path)).Reload()
    losses = found.Scalars("train/loss")
    assert [event.step for event in losses] == [10, 20]
    assert losses[1].value < losses[0].value
    nodes = {node.name: node for node in found.Graph().node}
    assert nodes["h"].op == "contract"
    assert list(nodes["h"].input) == ["x", "w"]


def test_a_picture_of_the_curves(data: dict[str, Array], tmp_path: Path) -> None:
    _trainer().fit(data, epochs=3, show=False, plot=tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("package", "argument", "extra"),
    [("tensorboard", "logdir", "tensorboard"), ("matplotlib", "plot", "plot")],
)
def test_an_extra_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch,
    data: dict[str, Array],
    package: str,
    argument: str,
    extra: str,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, f"{package}.compat.proto", None)
    with pytest.raises(sw.InputError, match=rf"pip install 'stepwell\[{extra}\]'"):
        _trainer().fit(data, show=False, **{argument: tmp_path / "x.png"})


def test_lines_and_the_table(data: dict[str, Array], capsys: pytest.CaptureFixture[str]) -> None:
    trainer = _trainer()
    trainer.fit(data, epochs=30, batch=64)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 30
    assert lines[0].startswith("epoch 1/30  loss ")
    assert lines[0].endswith(" samples/s")
    print_history(trainer.history)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["epoch", "loss", "error", "samples/s", "seconds"]
    assert [rows[1][0], rows[-1][0]] == ["1", "30"]
    assert len(rows) == 13


# a loss that is no number

NAN = """\
sources {step = "step.well"}

graph @step[N](%x: f32[N, 4])  @step:1:1-9:2 {
  param %w: f32[4] = ones  @step:2:5-20
  %b = broadcast(%w) {shape = [N, 4], axes = [1]} : f32[N, 4]  @step:3:5-20
  %p = add(%x, %b) : f32[N, 4]  @step:3:5-20
  %l = log(%p) : f32[N, 4]  @step:4:10-16
  %q = exp(%l) : f32[N, 4]  @step:5:5-20
  %loss = reduce_sum(%q) {axes = [0, 1]} : f32[]  @step:6:5-20
  %w1 = add(%w, %w) : f32[4]  @step:7:5-20
  update %w = %w1
  return loss = %loss
}
"""


@pytest.mark.parametrize("stream", [False, True])
def test_the_op_that_made_a_nan_is_named(stream: bool, tmp_path: Path) -> None:
    x = np.ones((40, 4), "f")
    x[29, 2] = -300  # of its batch the 10th, which is the 3rd of the first epoch
    trainer, path = sw.trainer(NAN), tmp_path / "c.safetensors"
    source: Any = [x[:10], x[10:20], x[20:30]] if stream else x
    size = None if stream else 10
    with pytest.raises(sw.UserError) as caught:
        trainer.fit(source, batch=size, shuffle=False, show=False, checkpoint=path, steps=1)
    (found,) = caught.value.diagnostics
    assert found.message == "the loss is nan in step 3: `log` gives nan at [9, 2]"
    assert found.labels[0].text == "of operands in [-296, 5]"
    assert (found.span.line, found.span.column) == (4, 10)
    assert trainer.position.step == read_checkpoint(path).position.step == 2
    assert (trainer.parameters["w"] == 4).all()  # as it was before that step


def test_infinities_are_led_back_to_what_made_them() -> None:
    def blamed(x: Array) -> tuple[str, str]:
        program = NAN.replace("exp(%l)", "neg(%l)")
        with pytest.raises(sw.UserError) as caught:
            sw.trainer(program).fit(x, epochs=200, shuffle=False, show=False)
        (found,) = caught.value.diagnostics
        return found.message, found.labels[0].text

    given = blamed(np.float32([[0] * 4, [0, 0, 0, np.inf]]))
    assert given == ("the loss is -inf in step 1: `x` holds inf at [1, 3]", "")
    assert blamed(np.ones((1, 4), "f")) == (  # w doubles in each step
        "the new `w` holds inf in step 128: `add` gives inf at [0]",
        "of operands in [1.701e+38], [1.701e+38]",
    )


def test_weights_that_are_no_numbers_begin_nothing(data: dict[str, Array]) -> None:
    trainer = _trainer(weights={"w": np.full((20, 10), np.nan, "f")})
    with pytest.raises(sw.InputError, match="not finite: nothing was done"):
        trainer.fit(data, show=False)
