"""Measuring runs end to end, and says what it measured. Never how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from stepwell.api import compiled_model
from stepwell.bench import ceilings
from stepwell.bench.ceilings import Ceilings, Level
from stepwell.bench.inputs import random_inputs
from stepwell.bench.roofline import bound_of
from stepwell.bench.work import Traffic, Work, work_of
from stepwell.compilation import Compilation, Options
from stepwell.model import Model
from stepwell.source import as_source

from .conftest import Run

NET = """\
model net(x: f32[N, 40]) -> f32[N, 3] {
    param w: f32[40, 30] = glorot_uniform
    param v: f32[30, 3] = glorot_uniform
    softmax(relu(x @ w) @ v)
}
"""
TOWERS = """
model towers(x: f32[1, 256], z: f32[1, 256]) -> f32[1] {
    param v: f32[4, 256, 256] = glorot_uniform
    sum(relu(relu(x @ v[0]) @ v[1]) * relu(relu(z @ v[2]) @ v[3]), axis: -1)
}
"""
EMBED = "model embed(table: f32[50, 4], ids: i32[7]) -> f32[7, 4] { [n, d] -> table[ids[n], d] }"


def _compiled(text: str, **options: bool) -> Model:
    return compiled_model(Compilation(as_source(text), Options(**options)), None, 0)


@pytest.fixture(autouse=True)
def _small_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number is looked at here: what is measured of the machine may be far too small."""
    monkeypatch.setattr(ceilings, "MOVED", 1 << 20)
    monkeypatch.setattr(ceilings, "LARGEST", 1 << 20)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.well").write_text(NET)
    return tmp_path / "net.well"


# what is measured


def test_the_profile_notes_the_time_of_each_call() -> None:
    model = _compiled(NET, profile=True)
    x = np.linspace(-1, 1, 200, dtype=np.float32).reshape(5, 40)
    call = model.native_call(x)
    seconds = call.profile()
    assert seconds.shape == (len(model.kernels),)
    assert len(seconds) > 1
    assert (seconds >= 0).all()
    np.testing.assert_array_equal(call.outputs[0], model(x))


def test_calls_together_have_one_time() -> None:
    """Two towers of two layers: the work of a step is that of all its calls."""
    compilation = Compilation(as_source(TOWERS), Options(profile=True))
    model = compiled_model(compilation, None, 0)
    assert (len(model.kernels), model.kernels.steps) == (5, 3)
    first, _, last = work_of(compilation, {}, 2)
    assert first.name == " + ".join(kernel.name for kernel in model.kernels[:2])
    assert (first.flops, first.forks, last.forks) == (2 * 2 * 256 * 256 + 2 * 256, 1, 0)
    x = np.linspace(-1, 1, 256, dtype=np.float32).reshape(1, 256)
    call = model.native_call(x, 2 * x)
    assert call.profile().shape == (3,)
    assert str(model.kernels).count("+ matmul") == 2


def test_only_code_made_for_it_notes_times() -> None:
    assert b"clock_gettime" in _compiled(NET, profile=True).stage("obj")
    assert b"clock_gettime" not in _compiled(NET).stage("obj")


def test_work_counts_bytes_operations_functions_and_distances() -> None:
    compilation = Compilation(as_source("model m(x: f32[N]) -> f32 { sum(exp(x / 3.0)) }"))
    (work,) = work_of(compilation, {"N": 100})
    assert work.functions == {"div": 100, "exp": 100}
    assert work.flops == 300
    assert work.traffic == (Traffic(400, False, 404), Traffic(4, True, 404))

    first, *_, last = work_of(Compilation(as_source(NET)), {"N": 5})
    assert first.traffic[0].distance > last.traffic[0].distance  # what was just written is near


def test_work_counts_how_often_threads_are_woken() -> None:
    compilation = Compilation(
        as_source("model m(x: f32[4096, 1024]) -> f32[4096, 1024] { exp(x) }")
    )
    assert [work_of(compilation, {}, threads)[0].forks for threads in (1, 2)] == [0, 1]


def test_the_greatest_limit_binds() -> None:
    levels = {"L1": Level("L1", 100, 1e9, 1e9, 1e-9), "memory": Level("memory", 1 << 62, 10, 10, 1)}
    machine = Ceilings(1, 1e6, levels, 1e-6, 1e-3)

    def bound(
        flops: int, bytes: int, distance: int, exps: int = 0, forks: int = 0
    ) -> tuple[str, float]:
        work = Work("k", "", (), flops, (Traffic(bytes, False, distance),), {"exp": exps}, forks)
        found = bound_of(work, machine, lambda _: 1.0)
        return found.name, found.seconds

    assert bound(10**6, 1000, 50) == ("compute", 1.0)
    assert bound(7, 1, 50, exps=7) == ("compute", 7.0)
    assert bound(10**6, 1000, 101) == ("memory", 100.0)
    assert bound(0, 10**6, 100) == ("L1", 1e-3)
    assert bound(0, 1, 1) == ("latency", 1e-6)
    assert bound(0, 1, 1, forks=2) == ("fork-join", 2e-3)


def test_random_integers_stay_in_bounds_and_reach_them() -> None:
    inputs = random_inputs(_compiled(EMBED), {}, {})
    assert inputs["ids"].max() == 49
    assert inputs["ids"].min() >= 0


# the command


def test_bench_measures_and_explains(run: Run, net: Path) -> None:
    done = run("bench", net, "--size", "N=5", "--profile", "--seconds", "0.01", "--svg", "p.svg")
    assert done.code == 0, done.err
    assert done.out.startswith("net, N = 5: ")
    assert "of the bound" in done.out
    for name in ("native code", "matmul_relu", "L1", "L2", "L3", "memory"):
        assert name in done.out
    picture = ElementTree.parse(net.parent / "p.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert any("matmul_relu" in (text.text or "") for text in picture.iter())


def test_bench_of_a_step(run: Run, net: Path) -> None:
    """Its states are read and written: weights and moments."""
    step = "train fit(x: f32[N, 40], y: i32[N]) {\n    loss = cross_entropy(net(x), y)\n"
    net.write_text(f"{NET}{step}    optimizer = sgd(lr: 0.1, momentum: 0.9)\n}}\n")
    done = run("bench", net, "--train", "fit", "--size", "N=2", "--seconds", "0.01", "--json")
    (found,) = json.loads(done.out)
    states = 4 * 2 * (40 * 30 + 30 * 3) + 8  # weights, momenta, and how many steps were done
    assert found["bytes"] == 2 * states + 4 * (2 * 40 + 2 + 1)


def test_bench_as_json(run: Run, net: Path) -> None:
    np.save("x.npy", np.ones((2, 40), np.float32))
    done = run("bench", net, "--input", "x=x.npy", "--profile", "--seconds", "0.01", "--json")
    (found,) = json.loads(done.out)
    assert (found["model"], found["sizes"], found["threads"]) == ("net", {"N": 2}, 1)
    assert found["bytes"] == 4 * (2 * 40 + 40 * 30 + 30 * 3 + 2 * 3)
    assert set(found["times"]) == {"stepwell", "native code"}
    assert found["times"]["stepwell"]["median"] > 0
    assert set(found["ceilings"]["levels"]) == {"L1", "L2", "L3", "memory"}
    assert all(kernel["time"]["count"] >= 7 for kernel in found["kernels"])
    assert found["kernels"][0]["bound"]["name"] in found["kernels"][0]["bound"]["limits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.well"], "say how large `N` shall be, with --size N=16"),
        (["net.well", "--size", "N"], "write a name and a number, as in N=16"),
        (["net.well", "--threads", "0"], "write numbers from 1"),
        (["net.well", "--threads", "2,x"], "write numbers from 1"),
        (["net.well", "--threads", "5000"], "this process may use"),
        (["net.well", "--seconds", "0"], "write seconds"),
        (["net.well", "--seconds", "inf"], "write seconds"),
        (["net.well", "--svg", "p.svg"], "ask for it with --profile"),
        (["nothing"], "no file nothing"),
        (["none.well"], "no file none.well"),
        (["net.well", "--model", "nat"], "has no model `nat`"),
    ],
)
def test_bench_refuses(run: Run, net: Path, arguments: list[str], message: str) -> None:
    done = run("bench", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_bench_finds_the_workloads_of_a_checkout(
    run: Run, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = net.parent / "benchmarks" / "peers"
    folder.mkdir(parents=True)
    (folder / "tiny_net.well").write_text(NET.replace("model net", "model tiny_net"))
    (net.parent / "deep").mkdir()
    monkeypatch.chdir(net.parent / "deep")
    assert "did you mean `tiny_net`?" in run("bench", "tiny_nat").err
    assert "tiny_net[N]" in run("bench", "tiny_net").err


# peers

TWIN = """\
from torch import nn
class Twin:
    name, shapes = "net", [(5, 40)]
    def module(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.w, self.v = nn.Parameter(torch.ones(40, 30)), nn.Parameter(torch.ones(30, 3))
            def forward(self, x):
                return ((x @ self.w).relu() @ self.v).softmax(-1) SCALE
        return Net()
import torch
WORKLOADS = {"net": Twin()}
"""


def test_bench_against_pytorch(run: Run, net: Path) -> None:
    (net.parent / "torch_modules.py").write_text(TWIN.replace("SCALE", ""))
    arguments = ("bench", net, "--size", "N=5", "--seconds", "0.01", "--against", "torch", "--json")
    (found,) = json.loads(run(*arguments).out)
    assert list(found["times"]) == ["stepwell", "native code", "torch"]


@pytest.mark.parametrize(
    ("twin", "peers", "message"),
    [
        (TWIN.replace("SCALE", "* 2"), "torch", "torch computes something else: result 0 differs"),
        (TWIN.replace("SCALE", "").replace('{"net"', '{"other"'), "torch", "no net, but `other`"),
        ("import", "torch", "torch_modules.py: SyntaxError"),
        (None, "torch", "beside it there is no torch_modules.py"),
        (None, "torhc", "no peer is called torhc; did you mean `torch`?"),
    ],
)
def test_bench_refuses_peers(
    run: Run, net: Path, twin: str | None, peers: str, message: str
) -> None:
    if twin is not None:
        (net.parent / "torch_modules.py").write_text(twin)
    done = run("bench", net, "--size", "N=5", "--against", peers)
    assert done.code == 2
    assert message in done.err
