"""The command line: every command, every exit code, no traceback for any mistake."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stepwell.__main__ import main as entry
from stepwell.cli import COMMANDS
from stepwell.ir.target import host, named
from stepwell.pipeline import STAGES
from stepwell.terminal import print_table

from .conftest import Run

NET = """\
model net(x: f32[N, 4]) -> f32[N, 3] {
    param w: f32[4, 3] = glorot_uniform
    param b: f32[3] = zeros
    relu(x @ w + b)
}
"""
PAIR = NET + "model twice(x: f32[N]) -> f32[N] { x + x }\n"
WRONG = "model m(x: f32[N, 4], w: f32[5, 3]) -> f32[N, 3] { x @ w }\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with programs, inputs and weights."""
    (tmp_path / "net.well").write_text(NET)
    (tmp_path / "pair.well").write_text(PAIR)
    (tmp_path / "wrong.well").write_text(WRONG)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "d.npz", x=x, other=np.zeros(3))
    weights = {"w": np.ones((4, 3), np.float32), "b": np.array([0, 1, -100], np.float32)}
    save_file(weights, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **weights)
    np.savez(tmp_path / "none.npz")
    (tmp_path / "low.llvm").write_text('; ModuleID = "net"\n')
    (tmp_path / "low.s").write_text('\t.file\t"<string>"\n')
    return tmp_path


# help


def test_help_of_everything(run: Run) -> None:
    assert run("--help").code == 0
    assert run().code == 2
    assert run("--version").out.startswith("stepwell ")
    for name in COMMANDS:
        done = run(name, "--help")
        assert done.code == 0
        assert "example:\n  stepwell" in done.out
    assert run("nonsense").code == 2
    assert run("run").code == 2


# check


def test_check(run: Run, files: Path) -> None:
    done = run("check", "pair.well", "net.well")
    assert done.code == 0
    assert done.out == (
        "pair.well: no mistakes, 2 models: net, twice\nnet.well: no mistakes, 1 model: net\n"
    )


def test_check_names_train_blocks(run: Run, files: Path) -> None:
    source = """model line(x: f32[N]) -> f32[N] { param w: f32 = ones
        x * w }
    train slope(x: f32[N]) { loss = mean(line(x)); optimizer = sgd(lr: 0.1) }"""
    (files / "line.well").write_text(source)
    assert run("check", "line.well").out == (
        "line.well: no mistakes, 1 model: line; 1 train block: slope\n"
    )


def test_check_finds_mistakes(run: Run, files: Path) -> None:
    done = run("check", "net.well", "wrong.well")
    assert done.code == 1
    assert "net.well: no mistakes" in done.out
    assert "error[SW0203]" in done.err
    assert "--> wrong.well:1:" in done.err
    assert "\x1b" not in done.err


def test_check_goes_on_after_a_file_that_cannot_be_read(run: Run, files: Path) -> None:
    (files / "bad.sw").write_text(
        "graph @g(%x: f32[2]) {\n  %y = neg(%x) : f32[3]\n  return y = %y\n}"
    )
    done = run("check", "none.well", "bad.sw", "wrong.well", "net.well")
    assert done.code == 2
    assert "error: no file none.well" in done.err
    assert "error[SW0203]" in done.err
    assert "neg gives f32[2], not f32[3]" in done.err
    assert done.out == "net.well: no mistakes, 1 model: net\n"
    assert run("check", "bad.sw", "net.well").code == 1


def test_check_as_json(run: Run, files: Path) -> None:
    done = run("check", "--json", "wrong.well")
    assert done.code == 1
    (found,) = json.loads(done.out)
    assert found["code"] == "SW0203"
    assert found["labels"][0]["line"] == 1
    assert json.loads(run("check", "--json", "net.well").out) == []
    assert json.loads(run("run", "wrong.well", "--json").out)[0]["code"] == "SW0203"


# run


@pytest.mark.parametrize("weights", ["w.safetensors", "w.npz"])
@pytest.mark.parametrize("given", ["x=x.npy", "x=d.npz:x", "x=d.npz"])
def test_run(run: Run, files: Path, weights: str, given: str) -> None:
    done = run("run", "net.well", "--weights", weights, "--input", given, "-o", "o.npz", "--check")
    assert done.code == 0, done.err
    assert done.out.startswith("model net, N = 2\nout: f32[2, 3] =")
    assert "check: out differs by at most 0" in done.out
    with np.load(files / "o.npz") as results:
        np.testing.assert_array_equal(results["out"], [[6, 7, 0], [22, 23, 0]])


def test_a_model_called_as_its_file_is_needs_no_naming(run: Run, files: Path) -> None:
    (files / "twice.well").write_text(PAIR)
    assert "graph @twice" in run("emit", "twice.well", "--stage", "graph").out
    assert run("emit", "pair.well", "--stage", "graph").code == 2


def test_the_seed_decides_without_weights(run: Run, files: Path) -> None:
    first = run("run", "net.well", "--input", "x=x.npy", "--seed", "1")
    assert "parameters were drawn with seed 1" in first.err
    assert run("run", "net.well", "--input", "x=x.npy", "--seed", "1").out == first.out
    assert run("run", "net.well", "--input", "x=x.npy", "--seed", "2").out != first.out


def test_large_results_are_summarised(run: Run, files: Path) -> None:
    np.save(files / "v.npy", np.arange(1000, dtype=np.float32))
    done = run("run", "pair.well", "--model", "twice", "--input", "x=v.npy")
    assert "min 0, max 1998, mean 999" in done.out
    assert "begins [ 0.,  2.,  4.,  6.,  8., 10., ...]" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.well"], "no file none.well"),
        (["."], "is a folder"),
        (["x.npy"], "is not UTF-8"),
        (["low.llvm"], "is LLVM IR or assembly"),
        (["low.s"], "is LLVM IR or assembly"),
        (["pair.well"], "has the models `net`, `twice`"),
        (["pair.well", "--model", "nett"], "did you mean `net`?"),
        (["net.well"], "no value for input `x: f32[N, 4]`"),
        (["net.well", "-i", "y=x.npy"], "net has no input `y`"),
        (["net.well", "-i", "x=x.npy", "-i", "x=x.npy"], "given twice"),
        (["net.well", "-i", "x"], "write name=x.npy"),
        (["net.well", "-i", "x=none.npy"], "no file none.npy"),
        (["net.well", "-i", "x=net.well"], "can't read net.well: it holds no array of numbers"),
        (["net.well", "-i", "x=."], "can't read .: Is a directory"),
        (["net.well", "-i", "x=d.npz:y"], "has no array `y`"),
        (["net.well", "-i", "x=d.npz:other"], "is f64, but the model wants f32"),
        (["net.well", "-i", "x=3"], "0 axes, not 2"),
        (["net.well", "-i", "x=none.npz"], "there are no arrays in none.npz"),
        (["net.well", "-i", "x=x.npy", "-w", "no.npz"], "no weights file"),
        (["net.well", "-i", "x=x.npy", "-w", "d.npz"], "missing: `w` f32[4, 3]"),
        (["net.well", "-i", "x=x.npy", "-o", "o.txt"], "must end in .npz"),
        (["net.well", "-i", "x=x.npy", "-o", "none/o.npz"], "none/o.npz: there is no such folder"),
        (["net.well", "-i", "x=x.npy", "--target-cpu", "pdp11"], "no target is called 'pdp11'"),
        (["net.well", "-i", "x=x.npy", "--dump", "x.npy"], "x.npy"),
    ],
)
def test_mistakes_on_the_command_line(
    run: Run, files: Path, arguments: list[str], message: str
) -> None:
    done = run("run", *arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_broken_rule_at_run_time(run: Run, files: Path) -> None:
    (files / "t.well").write_text("model t(x: f32[4], i: i32[N]) -> f32[N] { x[i] }\n")
    np.savez(files / "i.npz", x=np.ones(4, "f"), i=np.array([1, 9], np.int32))
    done = run("run", "t.well", "-i", "x=i.npz", "-i", "i=i.npz")
    assert done.code == 2
    assert "t: " in done.err


def test_the_model_called_as_the_file_is_the_files_own(run: Run, files: Path) -> None:
    (files / "twice.well").write_text(PAIR)
    assert "graph @twice[N]" in run("emit", "twice.well", "--stage", "graph").out
    assert "graph @net[N]" in run("emit", "twice.well", "-m", "net", "--stage", "graph").out


# emit and opt


@pytest.mark.parametrize("stage", STAGES)
def test_emit_every_stage(run: Run, files: Path, stage: str) -> None:
    done = run("emit", "net.well", "--stage", stage, "-o", "out")
    assert done.code == 0, done.err
    assert done.out == ""
    content = (files / "out").read_bytes()
    assert content.startswith(b"\x7fELF") if stage == "obj" else content.endswith(b"\n")
    if stage != "obj":
        assert run("emit", "net.well", "--stage", stage).out.encode() == content


@pytest.mark.parametrize("stage", ["graph", "graph-opt", "loops", "loops-opt"])
def test_ir_texts_read_back_and_run(run: Run, files: Path, stage: str) -> None:
    """Told apart by content: the file's name says nothing."""
    expected = run("run", "net.well", "-w", "w.npz", "-i", "x=x.npy").out
    text = run("emit", "net.well", "--stage", stage, "-o", "a.txt")
    assert text.code == 0
    assert run("opt", "a.txt", "--passes", "").out == (files / "a.txt").read_text()
    assert run("check", "a.txt").out == "a.txt: no mistakes, 1 model: net\n"
    assert run("run", "a.txt", "-w", "w.npz", "-i", "x=x.npy").out == expected


def test_going_on_from_a_text_is_the_same_way(run: Run, files: Path) -> None:
    run("emit", "net.well", "--stage", "graph", "-o", "a.g")
    run("emit", "net.well", "--stage", "loops", "-o", "a.l")
    for stage in ("loops", "loops-opt", "llvm"):
        expected = run("emit", "net.well", "--stage", stage).out
        assert run("emit", "a.g", "--stage", stage).out == expected
        assert run("emit", "a.l", "--stage", stage).out == expected
    assert run("emit", "a.l", "--stage", "graph").code == 2
    assert run("emit", "a.g", "--stage", "ast").code == 2
    for text in ("a.g", "a.l"):
        assert run("emit", text, "--stage", "loops", "--model", "net").code == 0
        assert "the model `net`, not" in run("emit", text, "-s", "loops", "-m", "other").err


def test_a_target_that_is_none(run: Run, files: Path) -> None:
    run("emit", "net.well", "--stage", "loops", "-o", "a.l")
    for done in (
        run("emit", "net.well", "--stage", "asm", "--target-cpu", "pdp11"),
        run("emit", "net.well", "--stage", "loops-opt", "--target-cpu", "pdp11"),
        run("opt", "a.l", "--passes", 'schedule{target="pdp11"}'),
    ):
        assert done.code == 2
        assert done.err.startswith("error: no target is called 'pdp11'; there are native, ")


def test_one_kernel_of_a_stage(run: Run, files: Path) -> None:
    for stage in ("loops", "loops-opt", "llvm", "asm"):
        done = run("emit", "net.well", "--stage", stage, "--kernel", "matmul_add_relu")
        assert done.code == 0, done.err
        assert "matmul_add_relu" in done.out
    done = run("emit", "net.well", "--stage", "loops", "--kernel", "matmul_add_rleu")
    assert done.code == 2
    assert "did you mean `matmul_add_relu`?" in done.err
    assert run("emit", "net.well", "--stage", "graph", "--kernel", "k").code == 2


def test_opt(run: Run, files: Path) -> None:
    run("emit", "net.well", "--stage", "graph", "-o", "a.g")
    done = run("opt", "a.g", "--passes", "canonicalize,cse,fuse", "-o", "b.g")
    assert done.code == 0, done.err
    assert "kernel(" in (files / "b.g").read_text()
    assert run("opt", "b.g", "--passes", "fuse").out == (files / "b.g").read_text()
    done = run("opt", "a.g", "--passes", "canonicalise")
    assert done.code == 2
    assert "did you mean `canonicalize`?" in done.err
    assert run("opt", "a.g", "--passes", "plan_memory").code == 2
    assert run("opt", "net.well").code == 2
    assert "canonicalize" in run("opt", "--list").out


@pytest.mark.parametrize("stage", ["graph", "loops"])
def test_a_broken_ir_text(run: Run, files: Path, stage: str) -> None:
    text = run("emit", "net.well", "--stage", stage).out
    (files / "cut.txt").write_text(text[: len(text) // 2])
    done = run("opt", "cut.txt")
    assert done.code == 1
    assert "error" in done.err
    assert "Traceback" not in done.err


def test_dump(run: Run, files: Path) -> None:
    for command in (
        ["run", "net.well", "-i", "x=x.npy"],
        ["build", "net.well", "-o", "libnet.so"],
        ["emit", "net.well", "--stage", "obj", "-o", "net.o"],
    ):
        done = run(*command, "--dump", "steps")
        assert done.code == 0, done.err
        names = [path.name for path in sorted((files / "steps").iterdir())]
        assert [name[:3] for name in names] == [f"{i + 1:02}-" for i in range(len(names))]
        stages = {name[3:].rsplit(".", 1)[0] for name in names}
        assert set(STAGES) | {"fuse", "schedule", "plan_memory"} <= stages
        for path in (files / "steps").iterdir():
            path.unlink()


# build and inspect


@pytest.mark.parametrize("embed", [False, True])
def test_build_inspect_load(run: Run, files: Path, embed: bool) -> None:
    extra = ["--embed"] if embed else []
    done = run("build", "net.well", "--weights", "w.npz", "-o", "libnet.so", *extra)
    assert done.code == 0, done.err
    made = ["libnet.so", "net.h", "main.c"] + ([] if embed else ["net.weights"])
    assert done.out.split() == made
    text = run("inspect", "libnet.so").out
    assert "model net[N](x: f32[N, 4]) -> (out: f32[N, 3])" in text
    assert "parameter  w: f32[4, 3], packed" in text
    assert "prepared   w.b_panels: f32[1, 4, 1, " in text
    assert json.loads(run("inspect", "libnet.so", "--json").out)[0]["name"] == "net"
    weights = [] if embed else ["-w", "w.npz"]
    expected = run("run", "net.well", "-w", "w.npz", "-i", "x=x.npy").out
    assert run("run", "libnet.so", *weights, "-i", "x=x.npy").out == expected
    if not embed:
        assert run("run", "libnet.so", "-w", "net.weights", "-i", "x=x.npy").out == expected
        assert "has no weights in it" in run("run", "libnet.so", "-i", "x=x.npy").err


@pytest.mark.parametrize("name", ["pair.so", "pair.o", "pair.a"])
def test_build_of_every_kind_holds_every_model(run: Run, files: Path, name: str) -> None:
    assert run("build", "pair.well", "--all", "-o", name).code == 0
    text = run("inspect", name).out
    assert "model net[N]" in text
    assert "model twice[N]" in text


def test_one_weights_file_for_every_model(run: Run, files: Path) -> None:
    other = "model other(x: f32[N]) -> f32[N] {\n    param v: f32[] = zeros\n    x + v\n}\n"
    (files / "both.well").write_text(NET + other)
    arrays = dict(np.load(files / "w.npz"))
    np.savez(files / "all.npz", **arrays, v=np.float32(3))
    done = run("build", "both.well", "--all", "-w", "all.npz", "-o", "both.o")
    assert (done.code, done.err) == (0, "")
    assert np.fromfile(files / "other.weights", np.float32)[16] == 3
    np.savez(files / "all.npz", **arrays, v=np.float32(3), u=np.float32(1))
    done = run("build", "both.well", "--all", "-w", "all.npz", "-o", "both.o")
    assert "not in the model: `u`" in done.err


def test_build_leaves_what_is_not_its_own(run: Run, files: Path) -> None:
    """A project has a main.c already, and may have a header of that name."""
    assert run("build", "net.well", "-o", "libnet.so").err == (
        "note: no --weights: parameters were drawn with seed 0\n"
    )
    again = run("build", "net.well", "-w", "w.npz", "-o", "libnet.so")
    assert ("main.c" in again.out, again.err) == (True, "")
    (files / "main.c").write_text("int main(void) { return 0; }\n")
    done = run("build", "net.well", "-w", "w.npz", "-o", "libnet.so")
    assert (done.code, "main.c" in done.out) == (0, False)
    assert done.err == "note: main.c is not Stepwell's: it stays as it is\n"
    assert (files / "main.c").read_text() == "int main(void) { return 0; }\n"
    (files / "other.h").write_text("#define OTHER 1\n")
    done = run("build", "net.well", "-w", "w.npz", "-o", "libother.so")
    assert (done.code, "other.h was not made by stepwell" in done.err) == (2, True)
    assert (files / "other.h").read_text() == "#define OTHER 1\n"
    assert not (files / "libother.so").exists()


def test_build_refuses(run: Run, files: Path) -> None:
    assert run("build", "net.well", "-o", "net.exe").code == 2
    assert run("build", "wrong.well", "-o", "w.so").code == 1
    assert run("build", "net.well", "-w", "d.npz", "-o", "w.so").code == 2
    assert run("build", "net.well", "-m", "nett", "-o", "w.so").code == 2
    assert run("build", "pair.well", "-o", "w.so").code == 2
    assert run("build", "pair.well", "-m", "net", "--all", "-o", "w.so").code == 2
    assert not list(files.glob("*.so"))


def test_an_object_for_another_machine_is_not_loaded(run: Run, files: Path) -> None:
    other = "x86-64" if host().architecture == "aarch64" else "aarch64"
    run("build", "net.well", "--target-cpu", other, "-o", "net.o")
    (files / "net.o").rename(files / "net.so")  # as far as anybody sees without loading it
    done = run("run", "net.so", "-w", "w.npz", "-i", "x=x.npy")
    assert (done.code, done.err.split(": this")[0]) == (
        2,
        f"error: net.so: {other} is {named(other).architecture}",
    )


def test_a_folder_in_the_place_of_an_output_is_named(run: Run, files: Path) -> None:
    (files / "d.so").mkdir()
    (files / "d.txt").mkdir()
    assert "error: d.so: Is a directory" in run("build", "net.well", "-o", "d.so").err
    assert "d.txt: " in run("emit", "net.well", "-s", "graph", "-o", "d.txt").err
    assert {path.name for path in files.iterdir() if path.name.startswith(".")} == set()


def test_inspect_of_other_files(run: Run, files: Path) -> None:
    assert "w" in run("inspect", "w.safetensors").out
    assert json.loads(run("inspect", "w.npz", "--json").out) == [
        {"name": "w", "type": "f32[4, 3]", "bytes": 48},
        {"name": "b", "type": "f32[3]", "bytes": 12},
    ]
    assert run("inspect", "net.well").code == 2
    assert run("inspect", "none.so").code == 2


def test_without_a_linker_the_error_names_both(
    run: Run, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(files))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run("build", "net.well", "-o", "libnet.so")
    assert done.code == 2
    assert "C compiler" in done.err
    assert "ziglang" in done.err


# why


def test_why_a_value_is_where_it_is(run: Run, files: Path) -> None:
    program = """\
model soft(x: f32[N, 64], v: f32[64, 64]) -> f32[N, 64] {
    let e = exp(x)
    let p = e / sum(e, axis: 1, keep: true)
    p @ v @ v
}
"""
    (files / "soft.well").write_text(program)
    found = {item["value"]: item for item in json.loads(run("why", "soft.well", "--json").out)}
    assert (found["e"]["fused"], found["p"]["fused"]) == (True, False)
    assert run("why", "soft.well", "%reduce_sum").out == (
        "%reduce_sum is fused into exp_sum_div (%p): read along the kernel's own rows\n"
    )
    assert "did you mean `reduce_sum`?" in run("why", "soft.well", "reduce").err


def test_why_needs_a_graph_that_is_not_fused(run: Run, files: Path) -> None:
    for stage in ("graph-opt", "loops"):
        run("emit", "net.well", "--stage", stage, "-o", "a.txt")
        assert run("why", "a.txt").code == 2


# explain, cache, doctor


def test_explain(run: Run) -> None:
    listed = run("explain").out
    assert "SW0203  inner dimensions differ" in listed
    assert "What to do" in run("explain", "sw0203").out
    done = run("explain", "SW9999")
    assert done.code == 2
    assert "no code `SW9999`" in done.err


def test_cache(run: Run, files: Path) -> None:
    run("run", "net.well", "-i", "x=x.npy")
    assert "entries  0" not in run("cache").out
    assert run("cache", "--clear").code == 0
    assert "entries  0" in run("cache").out


def test_doctor(run: Run) -> None:
    done = run("doctor")
    assert done.code == 0
    names = ("stepwell", "llvm", "processor", "vectors", "each cycle", "caches", "pages", "cores")
    for name in (*names, "linker"):
        assert f"\n{name}" in f"\n{done.out}"


# the environment, and the world around a process


@pytest.mark.parametrize("level", range(1, 6))
def test_debug_levels_are_cumulative(
    run: Run, files: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    monkeypatch.setenv("STEPWELL_DEBUG", str(level))
    done = run("run", "net.well", "-i", "x=x.npy")
    assert done.code == 0
    marks = ["matmul_add_relu ", " ms", "// after fuse", "llvm.fma", ".text"]
    if "fma" not in run("doctor").out and level >= 4:
        marks[3] = "define"
    assert [mark in done.err for mark in marks] == [i < level for i in range(5)]
    assert done.out.startswith("model net")


def _environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": ""}


def test_a_reader_that_goes_away(files: Path) -> None:
    command = f"{sys.executable} -m stepwell emit net.well --stage llvm | head -1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=files, capture_output=True, text=True, check=False
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
@pytest.mark.parametrize(
    "command", ["check net.well", "emit net.well -s asm", "emit net.well -s obj"]
)
def test_output_that_cannot_be_written(files: Path, command: str, where: str) -> None:
    line = f"{sys.executable} -m stepwell {command} {where}"
    done = subprocess.run(line, shell=True, cwd=files, capture_output=True, text=True, check=False)
    if where == ">&-":
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert (done.returncode, done.stderr) == (
            2,
            "error: can't write: No space left on device\n",
        )


def test_interrupted(files: Path) -> None:
    os.mkfifo(files / "slow.well")
    process = subprocess.Popen(
        [sys.executable, "-m", "stepwell", "check", "slow.well"],
        cwd=files, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_interrupted_while_modules_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("builtins.__import__", interrupt)
        code = entry()
    assert code == 130


def test_programs_from_stdin(files: Path) -> None:
    def shell(line: str) -> subprocess.CompletedProcess[str]:
        line = line.replace("stepwell", f"{sys.executable} -m stepwell")
        return subprocess.run(
            line, shell=True, cwd=files, capture_output=True, text=True, check=False
        )

    piped = "stepwell emit - -s graph < net.well | stepwell opt - --passes dce | "
    done = shell(piped + "stepwell run - -i x=x.npy")
    assert (done.returncode, done.stdout.split("\n")[0]) == (0, "model net, N = 2"), done.stderr
    done = shell("stepwell check - < wrong.well")
    assert (done.returncode, "--> <stdin>:1:52" in done.stderr) == (1, True), done.stderr


def test_a_program_whose_first_comment_speaks_of_a_graph(run: Run, files: Path) -> None:
    for comment in ("# graph convolution", "# program: {", "# kernel @smoother", "#graph"):
        (files / "g.well").write_text(f"{comment}\n{NET}")
        assert run("check", "g.well").out == "g.well: no mistakes, 1 model: net\n"


def test_colours_on_a_terminal_only(files: Path) -> None:
    """The command gets a terminal of its own."""

    def shown(arguments: list[str], environment: dict[str, str]) -> bytes:
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "stepwell", *arguments],
            cwd=files, stdout=child, stderr=child, env=environment,
        )  # fmt: skip
        os.close(child)
        chunks = []
        while True:
            try:
                chunk = os.read(parent, 65536)
            except OSError:
                break
            if not chunk:
                break
            chunks.append(chunk)
        process.wait()
        os.close(parent)
        return b"".join(chunks)

    bright = {**os.environ, "TERM": "xterm-256color"}
    bright.pop("NO_COLOR", None)
    for arguments in (["check", "wrong.well"], ["emit", "net.well", "--stage", "graph"]):
        assert b"\x1b[" in shown(arguments, bright)
        assert b"\x1b[" not in shown(arguments, {**bright, "NO_COLOR": "1"})
    assert b"an object is binary" in shown(["emit", "net.well", "--stage", "obj"], bright)


def test_tables_are_not_cut_short_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    print_table([("name", "milliseconds"), ("a_long_name", "123456.789012")], stream=stream)
    assert "123456.789012" in stream.getvalue()
    assert "…" not in stream.getvalue()


def test_passes_are_listed_with_whole_sentences(run: Run) -> None:
    lines = {line.split()[0]: line for line in run("opt", "--list").out.splitlines()}
    assert lines["fuse"].endswith("Partition into kernels")
    assert lines["cse"].endswith("Keep the first of equal ops: same operator, operands, attributes")


def test_names_that_are_no_text(files: Path) -> None:
    (files / os.fsdecode(b"\xff.well")).write_text(NET)
    (files / "größe.well").write_text(NET)
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}

    def done(command: str) -> tuple[int, str, str]:
        line = [
            *f"{sys.executable} -m stepwell".split(),
            *os.fsdecode(command.encode("latin1")).split(),
        ]
        made = subprocess.run(line, cwd=files, env=plain, capture_output=True, check=False)
        return made.returncode, made.stdout.decode(), made.stderr.decode()

    assert done("emit \xff.well -s graph")[::2] == (
        2,
        "error: the name '\\udcff.well' is not UTF-8 text\n",
    )
    assert done("build net.well -w w.npz -o lib\xff.so")[::2] == (0, "")
    assert b'#include "\xff.h"' in (files / "main.c").read_bytes()
    assert done("check gr\xc3\xb6\xc3\x9fe.well")[:2] == (
        0,
        "gr\\xf6\\xdfe.well: no mistakes, 1 model: net\n",
    )


def test_a_bug_is_said_to_be_one(run: Run, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reproducer holds the IR; `opt` on it with the same pass fails again."""

    def broken(self: object, graph: object) -> object:
        raise ZeroDivisionError("inside a pass")

    with monkeypatch.context() as patch:
        patch.setattr("stepwell.lowering.cse.Cse.run", broken)
        done = run("emit", "net.well", "--stage", "loops")
        (path,) = files.glob("stepwell-bug-*")
        kept = path.rename(files / "kept.txt")
        assert run("opt", kept, "--passes", "cse").code == 3
    for again in files.glob("stepwell-bug-*"):
        again.unlink()
    assert done.code == 3
    assert "a bug in Stepwell: the pass cse raised ZeroDivisionError: inside a pass" in done.err
    assert "Traceback" not in done.err
    assert f"stepwell opt {path.name} --passes 'cse'" in done.err
    assert run("opt", kept, "--passes", "cse").code == 0


def test_a_bug_in_code_generation_leaves_the_loops(
    run: Run, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("no code")

    with monkeypatch.context() as patch:
        patch.setattr("stepwell.codegen.modules.compile_objects", broken)
        done = run("emit", "net.well", "--stage", "obj", "-o", "net.o")
    assert done.code == 3
    assert "a bug in Stepwell: code generation: RuntimeError: no code" in done.err
    (path,) = files.glob("stepwell-bug-*")
    assert f"stepwell emit {path.name} -s obj" in done.err
    assert "command: " in path.read_text()
    path = path.rename(files / "kept.txt")
    assert run("emit", path, "--stage", "obj", "-o", "net.o").code == 0
