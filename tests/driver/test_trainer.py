"""`sw.trainer` on train blocks: evaluation, states of layers, random numbers, memory, faults."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import stepwell as sw
from stepwell.arrays import Array
from stepwell.ir.catalogue import CATALOGUE
from stepwell.safetensors_file import SafetensorsFile

from .conftest import Run

PROGRAM = """\
use nn

model net(x: f32[N, 6]) -> f32[N, 3] {
    x |> nn.dense(units: 16) |> relu |> dropout(0.5) |> nn.dense(units: 3)
}

train net(x: f32[N, 6], label: i32[N]) {
    loss      = cross_entropy(net(x), label)
    optimizer = adam(lr: 0.01)
    metric accuracy = mean(cast(argmax(net(x), axis: -1) == cast(label, i64), f32))
}

train only_bias(x: f32[N, 6], label: i32[N]) {
    loss      = cross_entropy(net(x), label)
    optimizer = sgd(lr: 0.1)
    frozen    = ["weight"]
}
"""


@pytest.fixture(scope="module")
def data() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 6)).astype("f")
    return {"x": x, "label": (x @ rng.normal(size=(6, 3))).argmax(1).astype("i4")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "net.well").write_text(PROGRAM)
    return tmp_path / "net.well"


def test_a_trainer_takes_the_options_of_a_compilation() -> None:
    compiled, trained = (dict(inspect.signature(f).parameters) for f in (sw.compile, sw.trainer))
    assert compiled.pop("model").default is trained.pop("train").default is None
    assert {name: (p.default, p.annotation) for name, p in compiled.items()} == {
        name: (p.default, p.annotation) for name, p in trained.items()
    }


def test_training_evaluating_and_running_agree(file: Path, data: dict[str, Array]) -> None:
    trainer = sw.trainer(file)  # the block that is called as the file
    assert trainer.signature == (
        "net[N](x: f32[N, 6], label: i32[N]) -> (loss: f32, accuracy: f32)"
    )
    history = trainer.fit(data, epochs=40, batch=32, valid=data, show=False)
    assert history[-1]["valid_accuracy"] > 0.9 > history[0]["valid_accuracy"]
    found = trainer.evaluate(data, batch=64)
    assert found == trainer.evaluate(data, batch=64)  # no dropout, and nothing moves
    assert found["accuracy"] == pytest.approx(history[-1]["valid_accuracy"])

    trainer.save(file.with_suffix(".safetensors"))
    weights = SafetensorsFile(file.with_suffix(".safetensors"))
    assert set(weights) == {"dense.weight", "dense.bias", "dense_2.weight", "dense_2.bias"}
    logits = sw.compile(file, weights=file.with_suffix(".safetensors"))(data["x"])
    assert np.mean(logits.argmax(1) == data["label"]) == pytest.approx(found["accuracy"])
    picked = np.log(np.exp(logits).sum(1)) - logits[np.arange(150), data["label"]]
    assert picked.mean() == pytest.approx(found["loss"], rel=1e-5)


def test_the_seed_is_of_parameters_and_of_random_numbers(
    file: Path, data: dict[str, Array]
) -> None:
    def losses(seed: int, weights: dict[str, Array] | None = None) -> list[float]:
        trainer = sw.trainer(file, seed=seed, weights=weights)
        return [trainer.step(**data)["loss"] for _ in range(3)]

    assert losses(7) == losses(7)
    assert losses(7)[0] != losses(8)[0]
    same = dict(sw.trainer(file, seed=7).parameters)
    assert losses(7, same) == losses(7)
    assert losses(8, same) != losses(7)  # dropout


def test_what_is_frozen_stays_and_is_in_checkpoints(
    file: Path, data: dict[str, Array], tmp_path: Path
) -> None:
    trainer = sw.trainer(file, "only_bias")
    before = {path: array.copy() for path, array in trainer.parameters.items()}
    trainer.fit(data, epochs=2, batch=50, show=False, checkpoint=tmp_path / "c.safetensors")
    moved = {p for p, a in trainer.parameters.items() if (a != before[p]).any()}
    assert moved == {"dense.bias", "dense_2.bias"}
    other = sw.trainer(file, "only_bias", seed=9)
    other.resume(tmp_path / "c.safetensors")
    assert all((other.state[p] == a).all() for p, a in trainer.state.items())
    assert trainer.evaluate(data) == other.evaluate(data)


def test_memory_names_what_lives_from_forward_to_backward(file: Path) -> None:
    memory = sw.trainer(file).memory
    floats = 6 * 16 + 16 + 16 * 3 + 3
    assert memory.state >= 3 * 4 * floats  # parameters and two moments each
    assert {item.type for item in memory.saved} >= {"f32[N, 16]", "f32[N, 3]"}
    assert "saved" in str(memory)
    numbers = memory.at(N=8)
    assert 0 < sum(int(str(item.bytes)) for item in numbers.saved) <= int(str(numbers.naive))
    assert sw.compile(file).memory.saved == ()


def test_tensorboard_shows_the_step_from_parameters_to_updates(
    file: Path, data: dict[str, Array], tmp_path: Path
) -> None:
    sw.trainer(file).fit(data, show=False, logdir=tmp_path / "runs")
    nodes = EventAccumulator(str(tmp_path / "runs")).Reload().Graph().node
    named = {node.name: node for node in nodes}
    assert named["dense/weight"].op == "Placeholder"
    products = [node for node in nodes if node.op == "contract"]
    assert len(products) >= 5  # forward, and backward twice but for the first layer's input
    assert all(name.split(":")[0] in named for node in nodes for name in node.input)


def test_every_stage_of_a_step(file: Path, run: Run) -> None:
    text = str(sw.trainer("net.well", "net").stage("graph"))
    assert "gradient(" in text
    assert "update %dense.weight = " in text
    assert run("emit", "net.well", "--train", "net", "--stage", "graph").out == text
    assert "update" not in run("emit", "net.well", "--evaluate", "net", "-s", "graph").out
    done = run("emit", "net.well", "--train", "net", "--model", "net", "-s", "graph")
    assert (done.code, "choose one of them" in done.err) == (2, True)
    done = run("emit", "net.well", "--train", "nett", "-s", "graph")
    assert "no train block `nett`; did you mean `net`?" in done.err
    (file.parent / "two.well").write_text(PROGRAM)
    done = run("train", "two.well", "--data", "d.npz")
    assert done.code == 2


def test_several_blocks_need_a_choice(file: Path, data: dict[str, Array]) -> None:
    (file.parent / "two.well").write_text(PROGRAM)
    with pytest.raises(sw.InputError, match="has the train blocks `net`, `only_bias`: choose one"):
        sw.trainer(file.parent / "two.well")
    (file.parent / "none.well").write_text("model f(x: f32[N]) -> f32[N] { x }\n")
    with pytest.raises(sw.InputError, match="declares no train block"):
        sw.trainer(file.parent / "none.well")


def test_the_catalogues_example_of_a_number_that_is_not_finite() -> None:
    trainer = sw.trainer(CATALOGUE["SW0801"].example)
    with pytest.raises(sw.UserError) as caught:
        trainer.fit({"x": np.ones(64, "f")}, epochs=9, batch=8, show=False)
    (found,) = caught.value.diagnostics
    assert found.code == "SW0801"
    assert "loss      = mean(log(scale(x)))" in str(caught.value)


def test_what_spoils_a_mean_is_said_once(
    file: Path, data: dict[str, Array], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, (name, first) = sw.trainer(file), next(iter(data.items()))
    held_out = {**data, name: first.copy()}
    held_out[name][41] = np.nan
    records = trainer.fit(data, epochs=2, batch=32, valid=held_out)
    assert np.isnan(records[-1]["valid_loss"])
    place = "in epoch 1, from sample 32 of the held-out data on"
    cause = f"`{name}` holds nan at [9, 0] of that batch"
    assert f"warning: valid loss is nan {place}: {cause}" in capsys.readouterr().err.splitlines()[0]
    trainer.fit(data, epochs=3, batch=32, valid=data)
    assert capsys.readouterr().err == ""


def test_a_step_that_fails_has_changed_nothing() -> None:
    trainer = sw.trainer("""
        use nn
        model net(ids: i32[N, 4]) -> f32[N, 5] {
            mean(nn.embedding(ids, count: 20, width: 16), axis: 1)
                |> nn.batch_norm |> nn.dense(units: 5)
        }
        train net(ids: i32[N, 4], label: i32[N]) {
            loss      = cross_entropy(net(ids), label)
            optimizer = sgd(lr: 0.1)
        }""")
    ids, label = np.arange(24, dtype="i4").reshape(6, 4) % 20, np.arange(6, dtype="i4") % 5
    before = {path: array.copy() for path, array in trainer.state.items()}
    for wrong in ((ids, label + 5), (ids + 17, label)):
        with pytest.raises(sw.InputError, match="an index is outside its axis of size"):
            trainer.step(*wrong)
        with pytest.raises(sw.InputError, match=r"evaluation, batch 0: .*`label` goes from \d to"):
            trainer.evaluate(wrong)
        assert all((array == before[path]).all() for path, array in trainer.state.items())
    trainer.step(ids, label)
    assert not any((array == before[path]).all() for path, array in trainer.state.items())


def test_a_stream_is_evaluated_as_arrays_are(file: Path, data: dict[str, Array]) -> None:
    trainer = sw.trainer(file)
    batches = [(data["x"][i : i + 64], data["label"][i : i + 64]) for i in (0, 64, 128)]
    assert trainer.evaluate(batches) == trainer.evaluate(data, batch=64)
    with pytest.raises(sw.InputError, match="are empty"):
        trainer.evaluate([])
