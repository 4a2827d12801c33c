"""The Python API: compile, call, look, load."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import stepwell as sw
from stepwell.cache import DiskCache
from stepwell.cli import main
from stepwell.frontend import parse, parser
from stepwell.frontend.parser import lark_parser
from stepwell.ir.diagnostics import UserError
from stepwell.pipeline import STAGES
from stepwell.programs import provide_parser
from stepwell.threads import provide_runtime

NET = """\
model net(x: f32[N, 4]) -> f32[N, 3] {
    param w: f32[4, 3] = glorot_uniform
    param b: f32[3] = zeros
    relu(x @ w + b)
}
"""
WEIGHTS = {"w": np.ones((4, 3), np.float32), "b": np.array([0, 1, -100], np.float32)}
X = np.arange(8, dtype=np.float32).reshape(2, 4)
WANTED = [[6, 7, 0], [22, 23, 0]]


@pytest.fixture(scope="module")
def net() -> sw.Model:
    return sw.compile(NET, weights=WEIGHTS)


def test_a_source_a_path_a_string(tmp_path: Path) -> None:
    (tmp_path / "net.well").write_text(NET)
    for source in (NET, tmp_path / "net.well", str(tmp_path / "net.well")):
        np.testing.assert_array_equal(sw.compile(source, weights=WEIGHTS)(X), WANTED)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "net.well").write_text(NET, encoding="utf-8-sig")
    np.testing.assert_array_equal(sw.compile(tmp_path / "net.well", weights=WEIGHTS)(X), WANTED)
    with pytest.raises(sw.InputError, match="declares no model"):
        sw.compile("")


def test_ir_is_a_source_too(net: sw.Model) -> None:
    for stage in ("graph", "graph-opt", "loops", "loops-opt"):
        again = sw.compile(net.stage(stage), weights=WEIGHTS)
        np.testing.assert_array_equal(again(X), WANTED)
        assert str(again.signature) == str(net.signature)


def test_call(net: sw.Model) -> None:
    np.testing.assert_array_equal(net(X), WANTED)
    np.testing.assert_array_equal(net(x=X), WANTED)
    np.testing.assert_array_equal(net(torch.from_numpy(X)), WANTED)
    np.testing.assert_array_equal(net(np.asfortranarray(X)), WANTED)
    np.testing.assert_array_equal(net(np.repeat(X, 2, axis=1)[:, ::2]), WANTED)
    assert net(X[:0]).shape == (0, 3)
    for n in (1, 2, 7, 64, 1000):
        assert net(np.ones((n, 4), "f")).shape == (n, 3)
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(net(frozen), WANTED)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "no value for input `x: f32\\[N, 4\\]`"),
        ((X, X), {}, "net takes 1 input \\(`x`\\), not 2"),
        ((X,), {"x": X}, "`x` is given twice"),
        ((), {"y": X}, "net has no input `y`; there are `x`"),
        ((), {"xx": X}, "did you mean `x`"),
        ((X.astype("f8"),), {}, "input `x`: is f64, but the model wants f32"),
        ((X[0],), {}, "input `x` is f32\\[4\\], but the model wants f32\\[N, 4\\]: 1 axis, not 2"),
        ((X.T,), {}, "axis 1 is 2, not 4"),
        (("text",), {}, "input `x`: is a str"),
    ],
)
def test_what_does_not_fit(net: sw.Model, args: tuple, kwargs: dict, message: str) -> None:
    with pytest.raises(sw.InputError, match=message):
        net(*args, **kwargs)


def test_sizes_that_disagree() -> None:
    add = sw.compile("model add(x: f32[N, K], y: f32[K, 2*N]) -> f32[N] { sum(x, axis: 1) }")
    assert add(np.ones((3, 5), "f"), np.ones((5, 6), "f")).shape == (3,)
    with pytest.raises(sw.InputError, match=r"axis 0 is 4, not 5 \(K = 5 from axis 1 of `x`\)"):
        add(np.ones((3, 5), "f"), np.ones((4, 6), "f"))
    with pytest.raises(sw.InputError, match=r"axis 1 is 7, not 6 \(N = 3 from axis 0 of `x`\)"):
        add(np.ones((3, 5), "f"), np.ones((5, 7), "f"))


def test_sizes_are_solved() -> None:
    half = sw.compile("model half(x: f32[2*H + 1]) -> f32[H] { x[0:H] }")
    assert half(np.ones(9, "f")).shape == (4,)
    with pytest.raises(sw.InputError, match="axis 0 is 8"):
        half(np.ones(8, "f"))
    with pytest.raises(sw.InputError, match="x"):
        half(np.ones(0, "f"))


def test_a_rule_on_sizes_is_checked() -> None:
    text = "model heads(x: f32[N, D]) -> f32[N, 4, D/4] { reshape(x, [N, 4, D/4]) }"
    heads = sw.compile(text)
    assert heads(np.ones((2, 8), "f")).shape == (2, 4, 2)
    with pytest.raises(sw.InputError, match="D"):
        heads(np.ones((2, 9), "f"))


def test_scalars_and_several_outputs() -> None:
    both = sw.compile(
        "model both(x: f32[N], a: f32) -> (scaled: f32[N], total: f32) { (a * x, sum(x)) }"
    )
    result = both(np.arange(4, dtype="f"), 2.0)
    np.testing.assert_array_equal(result.scaled, [0, 2, 4, 6])
    assert result.total == 6
    assert result[1].shape == ()
    scaled, total = both(x=np.ones(3, "f"), a=np.float32(1.5))
    assert (scaled == 1.5).all()
    assert total == 3


def test_bfloat16() -> None:
    twice = sw.compile("model twice(x: bf16[N]) -> bf16[N] { x + x }")
    result = twice(np.ones(5, ml_dtypes.bfloat16))
    assert result.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(twice(torch.ones(5).bfloat16()), result)


def test_parameters(net: sw.Model) -> None:
    own = sw.compile(NET, weights=WEIGHTS)
    assert list(own.parameters) == ["w", "b"]
    assert "w" in own.parameters
    assert np.shares_memory(own.parameters["w"], WEIGHTS["w"]), "nothing is copied"
    with pytest.raises(KeyError, match="no parameter `ww`; did you mean `w`"):
        own.parameters["ww"]
    with pytest.raises(ValueError, match="read-only"):
        own.parameters["b"][:] = 0
    own.load_parameters({**own.parameters, "b": np.zeros(3, "f")})
    assert not own.parameters["b"].any()
    np.testing.assert_array_equal(own(X), [[6, 6, 6], [22, 22, 22]])
    np.testing.assert_array_equal(net(X), WANTED)
    assert "w: f32[4, 3]" in repr(own.parameters)


@pytest.mark.parametrize("name", ["w.npz", "w.safetensors"])
def test_parameters_of_a_file(tmp_path: Path, name: str) -> None:
    """They are read from it again, but not from another file of the same name."""
    np.savez(tmp_path / "w.npz", **WEIGHTS)
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    own = sw.compile(NET, weights=tmp_path / name)
    np.testing.assert_array_equal(own.parameters["b"], WEIGHTS["b"])
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(sw.InputError, match=f"{name} has changed since"):
        own.parameters["b"]
    np.testing.assert_array_equal(own(X), WANTED)


def test_parameters_that_do_not_fit_change_nothing() -> None:
    own = sw.compile(NET, weights=WEIGHTS)
    with pytest.raises(sw.InputError, match="missing: `b`"):
        own.load_parameters({"w": WEIGHTS["w"]})
    np.testing.assert_array_equal(own(X), WANTED)


def test_what_parameters_alone_decide_is_computed_once() -> None:
    text = """model m(x: f32[N, 4]) -> (y: f32[N, 4], w: f32[4, 4]) {
        param u: f32[4, 4] = glorot_uniform
        param v: f32[4, 4] = glorot_uniform
        (x @ (u @ v), u)
    }"""
    model = sw.compile(text, check_each_pass=True)
    assert len(model.kernels) == 2, "one that multiplies, one that copies a parameter"
    u, v = model.parameters["u"], model.parameters["v"]
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_allclose(model(x).y, x @ (u @ v), rtol=1e-5)
    model.load_parameters({"u": v, "v": u})
    np.testing.assert_allclose(model(x).y, x @ (v @ u), rtol=1e-5)
    np.testing.assert_array_equal(model(x).w, v)


def test_seeds() -> None:
    first = sw.compile(NET, seed=1).parameters["w"]
    np.testing.assert_array_equal(first, sw.compile(NET, seed=1).parameters["w"])
    assert not np.array_equal(first, sw.compile(NET, seed=2).parameters["w"])
    limit = (6 / 7) ** 0.5
    assert 0 < abs(first).max() <= limit


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(sw.InputError, match=r"`b` is f32\[4\], the model wants f32\[3\]"):
        sw.compile(NET, weights=WEIGHTS | {"b": np.zeros(4, "f")})
    with pytest.raises(sw.InputError, match=r"missing: `b` f32\[3\]; did you mean `bb`"):
        sw.compile(NET, weights={"w": WEIGHTS["w"], "bb": WEIGHTS["b"]})


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_native_code_is_not_copied(net: sw.Model, copied: Callable[[sw.Model], object]) -> None:
    with pytest.raises(TypeError, match="can't be copied or pickled; compile it again"):
        copied(net)


def test_looking_at_a_model(net: sw.Model) -> None:
    assert str(net.signature) == "net[N](x: f32[N, 4]) -> (out: f32[N, 3])"
    assert repr(net) == f"<model {net.signature}>"
    for stage in STAGES:
        assert net.stage(stage)
    assert net.stage("obj").startswith(b"\x7fELF")
    with pytest.raises(sw.InputError, match="no stage `graphs`; did you mean `graph`"):
        net.stage("graphs")
    (kernel,) = net.kernels
    assert kernel.name == "matmul_add_relu"
    assert {"contract", "add", "max"} <= set(kernel.ops)
    assert "matmul_add_relu" in str(net.kernels)
    memory = net.memory.at(N=10)
    assert 0 <= memory.planned <= memory.naive
    assert memory.weights >= 4 * (4 * 3 + 3)
    assert "workspace" in str(net.memory)


def test_memory_is_reused() -> None:
    text = """
        model chain(x: f32[N, 64], w: f32[64, 64]) -> f32[N, 64] {
            let y = x
            repeat 8 { y = relu(y @ w) }
            y
        }"""
    memory = sw.compile(text).memory.at(N=100)
    assert memory.planned < memory.naive


def test_memory_names_what_a_gradient_needs_of_the_forward_pass() -> None:
    text = """
        fn f(x: f32[N, 16], w: f32[16, 64]) -> f32 { sum(tanh(gelu(x @ w) @ transpose(w))) }
        model slope(x: f32[N, 16], w: f32[16, 64]) -> f32[16, 64] { grad(f, wrt: w)(x, w) }"""
    memory = sw.compile(text).memory
    # The product before the activation, and the activation, which a gradient's product reads; but
    # nothing of what is between the two.
    assert [item.type for item in memory.saved].count("f32[N, 64]") == 2
    assert sum(item.bytes for item in memory.at(N=1).saved) < 3 * 64 * 4


def test_mistakes_in_a_program() -> None:
    with pytest.raises(sw.UserError, match=r"SW0203.*\n.*<source>:1"):
        sw.compile("model m(x: f32[N, 4], w: f32[5, 3]) -> f32[N, 3] { x @ w }")
    with pytest.raises(sw.InputError, match="a path or a text is wanted, not 3"):
        sw.compile(3)  # type: ignore[arg-type]
    with pytest.raises(sw.InputError, match=r"no file none\.well"):
        sw.compile("none.well")
    with pytest.raises(sw.InputError, match="declares no model"):
        sw.compile("fn f(x: f32) -> f32 { x }")
    with pytest.raises(sw.InputError, match="threads"):
        sw.compile(NET, threads=0)


def test_options() -> None:
    for options in ({"check_each_pass": True}, {"fast_math": True}, {"cache": False}):
        np.testing.assert_array_equal(sw.compile(NET, weights=WEIGHTS, **options)(X), WANTED)
    assert ".text" in sw.compile(NET, target_cpu="x86-64").stage("asm")


def test_many_threads(net: sw.Model) -> None:
    """Each with its own workspace, sizes changing."""
    heavy = sw.compile(
        "model heavy(x: f32[N, 64]) -> f32[N, 64] { let y = x\n repeat 4 { y = softmax(y @ transpose(x, [1, 0]) @ x) }\n y }"  # noqa: E501
    )
    inputs = [np.random.default_rng(n).random((n, 64), np.float32) for n in range(1, 40)]
    expected = [heavy(x) for x in inputs]
    wrong: list[int] = []

    def work(offset: int) -> None:
        for turn in range(60):
            i = (turn * 7 + offset) % len(inputs)
            if not np.array_equal(heavy(inputs[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_call_costs_microseconds(net: sw.Model) -> None:
    net(X)
    best = min(_seconds(lambda: net(X)) for _ in range(200))
    assert best < 200e-6


def _seconds(call: object) -> float:
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start


# the cache


def _count(folder: Path) -> int:
    return len(list(folder.glob("*.bin")))


def test_the_cache_is_keyed_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("STEPWELL_CACHE_DIR", str(cache))
    lark_parser()  # else its tables are an entry, too,
    provide_runtime(None)  # and so is the pool's code
    main_file, used = tmp_path / "m.well", tmp_path / "part.well"
    main_file.write_text("use part\nmodel m(x: f32[N]) -> f32[N] { part.f(x) }\n")
    used.write_text("fn f(x: f32[N]) -> f32[N] { x + 1 }\n")
    one = np.ones(3, "f")
    assert sw.compile(main_file)(one)[0] == 2
    assert _count(cache) == 1
    assert sw.compile(main_file)(one)[0] == 2
    assert _count(cache) == 1
    used.write_text("fn f(x: f32[N]) -> f32[N] { x + 2 }\n")  # what is used counts too
    assert sw.compile(main_file)(one)[0] == 3
    assert _count(cache) == 2
    sw.compile(main_file, target_cpu="x86-64")
    assert _count(cache) == 3
    sw.compile(main_file, weights={}, cache=False)
    assert _count(cache) == 3


def test_a_new_neighbour_shadows_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "m.well").write_text(
        "use nn\nmodel m(x: f32[N, 4]) -> f32[N, 2] { nn.dense(x, units: 2) }\n"
    )
    assert len(sw.compile(tmp_path / "m.well").parameters) == 2
    (tmp_path / "nn.well").write_text(
        "fn dense(x: f32[N, 4], units: int) -> f32[N, units] { x[:, 0:units] }\n"
    )
    assert len(sw.compile(tmp_path / "m.well").parameters) == 0


def test_a_damaged_cache_is_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_CACHE_DIR", str(tmp_path))
    sw.compile(NET, weights=WEIGHTS)
    for path in tmp_path.glob("*.bin"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    np.testing.assert_array_equal(sw.compile(NET, weights=WEIGHTS)(X), WANTED)
    for path in tmp_path.glob("*.bin"):
        DiskCache(tmp_path).put(path.stem, b"\5\0\0\0\0\0\0\0 whole, and not ours")
    np.testing.assert_array_equal(sw.compile(NET, weights=WEIGHTS)(X), WANTED)


def test_the_parsers_tables_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, wrong = DiskCache(tmp_path), "model m(x: f32[N]) -> f32[N] { x + }"
    wanted, fault = parse(NET, "n.well"), _fault(wrong)

    def start_again() -> None:
        monkeypatch.setattr(parser, "_saved", [])
        lark_parser.cache_clear()
        provide_parser(cache)

    start_again()
    assert _count(tmp_path) == 1
    with monkeypatch.context() as patched:
        patched.delattr(parser, "files")  # the grammar is not read again
        start_again()
        assert (parse(NET, "n.well"), _fault(wrong)) == (wanted, fault)
    for path in tmp_path.glob("*.bin"):
        cache.put(path.stem, b"whole, and not ours")
    start_again()
    assert parse(NET, "n.well") == wanted


def _fault(text: str) -> str:
    with pytest.raises(UserError) as error:
        parse(text, "n.well")
    return str(error.value)


# shared objects


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "net.well").write_text(NET + "model twice(x: f32[N]) -> f32[N] { x + x }\n")
    np.savez(tmp_path / "w.npz", **WEIGHTS)
    old = os.getcwd()
    os.chdir(tmp_path)
    try:
        for name, extra in [("plain.so", []), ("embedded.so", ["--embed"])]:
            arguments = ["build", "net.well", "-m", "net", "-w", "w.npz", "-o", name, *extra]
            assert main(arguments) == 0
    finally:
        os.chdir(old)
    return tmp_path


def test_load(library: Path) -> None:
    loaded = sw.load(library / "plain.so", weights=library / "w.npz")
    np.testing.assert_array_equal(loaded(X), WANTED)
    assert str(loaded.signature) == "net[N](x: f32[N, 4]) -> (out: f32[N, 3])"
    with pytest.raises(sw.InputError, match="is f64, but the model wants f32"):
        loaded(X.astype("f8"))
    with pytest.raises(sw.InputError, match="axis 1 is 2, not 4"):
        loaded(X.T)
    with pytest.raises(sw.InputError, match="its stages are not in it"):
        loaded.stage("graph")
    with pytest.raises(sw.InputError, match="has no weights in it"):
        sw.load(library / "plain.so")
    with pytest.raises(sw.InputError, match="missing: `b`"):
        sw.load(library / "plain.so", weights={"w": WEIGHTS["w"]})
    with pytest.raises(sw.InputError, match="choose one"):
        sw.load(library / "plain.so", model="nott")


def test_load_with_the_weights_that_were_built(library: Path) -> None:
    """They are mapped, and belong to one object."""
    loaded = sw.load(library / "plain.so", weights=library / "net.weights")
    np.testing.assert_array_equal(loaded(X), WANTED)
    np.testing.assert_array_equal(loaded.parameters["b"], WEIGHTS["b"])
    with pytest.raises(KeyError, match=r"`w` is not at hand: .* in packed form only"):
        loaded.parameters["w"]
    with pytest.raises(sw.InputError, match="no weights file"):
        sw.load(library / "plain.so", weights=library / "none.weights")
    data = bytearray((library / "net.weights").read_bytes())
    for name, broken in {"short": data[:-64], "foreign": data[:3] + b"x" + data[4:]}.items():
        (library / f"{name}.weights").write_bytes(broken)
        with pytest.raises(sw.InputError, match=f"{name}.weights was made for another object"):
            sw.load(library / "plain.so", weights=library / f"{name}.weights")


def test_load_with_embedded_weights(library: Path) -> None:
    loaded = sw.load(library / "embedded.so")
    np.testing.assert_array_equal(loaded(X), WANTED)
    np.testing.assert_array_equal(loaded.parameters["b"], WEIGHTS["b"])
    with pytest.raises(ValueError, match="read-only"):
        loaded.parameters["b"][:] = 0
    other = sw.load(library / "embedded.so", weights=WEIGHTS | {"b": np.zeros(3, "f")})
    np.testing.assert_array_equal(other(X), [[6, 6, 6], [22, 22, 22]])


def test_what_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(b"nothing")
    with pytest.raises(sw.InputError, match="was not made by stepwell"):
        sw.load(tmp_path / "a.so")
    with pytest.raises(sw.InputError, match="no file"):
        sw.load(tmp_path / "none.so")


def test_arguments_of_another_type_are_refused() -> None:
    source = "model m(x: f32[N]) -> f32[N] { x }"
    with pytest.raises(sw.InputError, match="3 is not the name of a model"):
        sw.compile(source, model=3)  # type: ignore[arg-type]
    with pytest.raises(sw.InputError, match="weights: int is no path"):
        sw.compile(source, weights=3)  # type: ignore[arg-type]


def test_threads() -> None:
    """As many as asked for, where a loop is long enough to be shared; the same bits with any."""
    text = "model m(x: f32[512, 512]) -> f32[512, 512] { softmax(x @ x) }"
    x = np.random.default_rng(0).standard_normal((512, 512)).astype("f")
    models = [sw.compile(text, threads=count) for count in (1, 2, 3, 7)]
    assert [model.threads for model in models] == [1, 2, 3, 7]
    expected = models[0](x)
    for model in (*models, models[0].with_threads(5)):
        np.testing.assert_array_equal(model(x), expected)
    assert models[0].with_threads(5).memory.at().planned > models[0].memory.at().planned
    assert sw.compile("model m(x: f32[4]) -> f32[4] { x + x }", threads=3).threads == 1
    with pytest.raises(sw.InputError, match="threads: 0 is not at least 1"):
        sw.compile(text, threads=0)
    with pytest.raises(sw.InputError, match="not at least 1"):
        models[0].with_threads(-1)
