"""Objects on disk: linked into C programs by the system's compiler, run, loaded back."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
from loop_build import add, load, loop, mul, one_kernel, op, prepared, sh

from stepwell.codegen import link
from stepwell.codegen.jit import NativeProgram, library_models
from stepwell.codegen.objects import build
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import BF16, BOOL, F16, F32, I32, I64, U8
from stepwell.ir.graph.core import Constraint
from stepwell.ir.loop.core import Buffer, Check, Store
from stepwell.ir.scalar import Cast
from stepwell.ir.size import floordiv, symbol
from stepwell.ir.target import host, named

N = symbol("N")
COUNT = 5003


def scale_program(name="scale"):
    """z[i] = x[i] * w.k[i], for N at most COUNT - 1."""
    x, w, z = Buffer("x", F32, (N,)), Buffer("w.k", F32, (COUNT,)), Buffer("z", F32, (N,))
    body = loop(
        "serial", "i", N,
        Check(op("lt", "i", COUNT), "N is too large */ for \"w.k\""),
        Store("z", (load(x, "i").indices[0],), mul(load(x, "i"), load(w, "i"))),
    )  # fmt: skip
    return one_kernel(name, [x], [z], [body], [w])


def _weights(program, arrays):
    return prepared(NativeProgram.preparing(program), program, arrays)


@pytest.fixture
def weights():
    return np.linspace(-1, 1, COUNT, dtype=np.float32)


@pytest.mark.parametrize("output", ["libscale.so", "scale.a", "scale.o"])
@pytest.mark.parametrize("embed", [False, True])
def test_c_program_runs_the_object(tmp_path, weights, output, embed):
    program = scale_program()
    packed = _weights(program, {"w.k": weights})
    made = build([program], host(), tmp_path / output, {"scale": packed}, embed)
    names = {path.name for path in made}
    assert names == {output, "scale.h", "main.c"} | (set() if embed else {"scale.weights"})
    assert {path.name for path in tmp_path.iterdir()} == names, "no temporary file stays"
    library = ["-L.", "-lscale", "-Wl,-rpath,."] if output.endswith(".so") else [output]
    sh("cc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "main.c", *library,
       "-o", "main", cwd=tmp_path)  # fmt: skip
    x = np.arange(100, dtype=np.float32)
    x.tofile(tmp_path / "x.raw")
    given = [] if embed else ["weights=scale.weights"]
    sh("./main", *given, "N=100", "x=x.raw", "z=z.raw", cwd=tmp_path)
    assert np.array_equal(np.fromfile(tmp_path / "z.raw", np.float32), x * weights[:100])


def test_main_reports_mistakes(tmp_path, weights):
    program = scale_program()
    build([program], host(), tmp_path / "scale.o")
    sh("cc", "main.c", "scale.o", "-o", "main", cwd=tmp_path)
    np.zeros(COUNT + 8, np.float32).tofile(tmp_path / "x.raw")
    weights.tofile(tmp_path / "w.raw")

    def message(*arguments):
        done = subprocess.run(
            ["./main", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        return done.stderr

    assert "usage: ./main [weights=FILE] [threads=N] N=SIZE x=FILE z=FILE" in message()
    assert "weights: is missing" in message("N=1", "x=x.raw", "z=z.raw")
    assert "N: is no size" in message("N=1x", "x=x.raw", "z=z.raw")
    assert "w.raw: is too short" in message("weights=w.raw", "N=1", "x=x.raw", "z=z.raw")
    packed = _weights(program, {"w.k": weights})
    packed.tofile(tmp_path / "w.raw")
    assert "x.raw: is too long" in message("weights=w.raw", "N=1", "x=x.raw", "z=z.raw")
    too_large = message("weights=w.raw", f"N={COUNT + 8}", "x=x.raw", "z=z.raw")
    assert "N is too large" in too_large


def test_shared_object_needs_only_libc_and_exports_only_the_interface(tmp_path, weights):
    program = scale_program()
    build([program], host(), tmp_path / "libscale.so")
    needed = set(re.findall(r"(\S+) =>", sh("ldd", "libscale.so", cwd=tmp_path)))
    assert needed <= {"libc.so.6", "linux-vdso.so.1"}
    defined = re.findall(r" [TWDBR] (\S+)", sh("nm", "-D", "libscale.so", cwd=tmp_path))
    functions = ["run", "workspace_size", "weights_size", "weights", "error_message", "description"]
    functions += ["prepare", "prepare_workspace_size"]
    assert sorted(defined) == sorted([f"scale_{f}" for f in functions] + ["stepwell_models"])


@pytest.mark.parametrize("language", [("cc", "-std=c11", "c"), ("c++", "-std=c++17", "c++")])
def test_header_compiles_without_warnings(tmp_path, language):
    compiler, standard, kind = language
    dtypes = [F16, BF16, BOOL, U8, I64]
    inputs = [Buffer(f"int{i}" if i else "int", d, (N,)) for i, d in enumerate(dtypes)]
    out = Buffer("out", F32, (floordiv(N + 1, 2), 3))
    store = Store("out", (add("i", 0), add("j", 0)), Cast(load(inputs[4], "i"), F32))
    body = loop("serial", "i", floordiv(N + 1, 2), loop("serial", "j", 3, store))
    build([one_kernel("odd", inputs, [out], [body])], host(), tmp_path / "odd.o")
    (tmp_path / "use.c").write_text('#include "odd.h"\n#include "odd.h"\nint x;\n')
    sh(compiler, standard, "-x", kind, "-Wall", "-Wextra", "-pedantic", "-Werror",
       "-fsyntax-only", "use.c", cwd=tmp_path)  # fmt: skip
    sh("cc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c", "main.c", cwd=tmp_path)


HEADERS = ("stdio.h", "stdint.h", "stddef.h", "errno.h", "limits.h", "math.h", "complex.h")
AWKWARD = """
    N int float _Complex _Atomic alignas asm typeof export and_eq NULL EOF stdin errno linux I
    int64_t int32_t SIZE_MAX INT64_C size_t weights workspace status count arguments argument
    data_x x
"""


@pytest.mark.parametrize("standard", ["c11", "gnu11", "gnu2x", "c++17", "gnu++20"])
def test_names_that_c_knows_are_changed(tmp_path, standard):
    sizes = [symbol(name) for name in ("N", "argument", "int", "NULL")]
    inputs = [Buffer(name, F32, tuple(sizes)) for name in AWKWARD.split()]
    out = Buffer("out", I32, (N,))
    body = loop("serial", "i", N, Store("out", (add("i", 0),), Cast(op("lt", "i", 3), I32)))
    program = one_kernel("int", inputs, [out], [body])
    build([program], host(), tmp_path / "names.o")
    assert (tmp_path / "names.h").read_text().count("int32_t int_run(") == 1
    after = "".join(f"#include <{header}>\n" for header in HEADERS if "+" not in standard)
    (tmp_path / "use.c").write_text(after + '#include "names.h"\nint unused;\n')
    command = ["c++", "-x", "c++"] if "+" in standard else ["cc"]
    command += [f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c"]
    sh(*command, "use.c", cwd=tmp_path)
    sh(*command, "main.c", cwd=tmp_path)


def test_library_describes_itself_and_runs_from_python(tmp_path, weights):
    programs = [scale_program("first"), scale_program("second")]
    constraint = Constraint(N, "<=", 1000, "N is at most 1000")
    programs[0] = one_kernel_with(programs[0], constraint)
    packed = _weights(programs[0], {"w.k": weights})
    path = tmp_path / "libtwo.so"
    build(programs, host(), path, {"first": packed}, embed=True)
    names = library_models(path)
    assert names == ["first", "second"]
    first, second = (NativeProgram.from_library(path, name).description() for name in names)
    assert first["inputs"] == [{"name": "x", "dtype": "f32", "shape": ["N"]}]
    assert first["constraints"][0]["message"] == "N is at most 1000"
    assert first["parameters"][0]["offset"] == 64
    assert second["name"] == "second"
    native = NativeProgram.from_library(path, "first")
    assert native.weights_size() == 64 + -(-4 * COUNT // 64) * 64
    x, z = np.ones(7, np.float32), np.zeros(7, np.float32)
    assert native.run([7], [x.ctypes.data], [z.ctypes.data], 0, 0) == 0
    assert np.array_equal(z, weights[:7])
    status = native.run([1001], [x.ctypes.data], [z.ctypes.data], 0, 0)
    assert native.error_message(status) == "N is at most 1000"
    assert NativeProgram.from_library(path, "second").embedded_weights() == 0
    with pytest.raises(InputError, match="no model `third`"):
        NativeProgram.from_library(path, "third")


def one_kernel_with(program, constraint):
    return replace(program, constraints=(constraint,))


def test_builds_are_deterministic(tmp_path, weights):
    program = scale_program()
    packed = {"scale": _weights(program, {"w.k": weights})}
    for name in ("libscale.so", "scale.a", "scale.o"):
        for run in ("a", "b"):
            build([program], host(), tmp_path / run / name, packed, embed=True)
        for file in (name, "scale.h", "main.c"):
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_no_linker_names_both(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(link.shutil, "which", lambda name: None)
    monkeypatch.setattr(link.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(link.LinkError, match=r"`cc`.*`ziglang`"):
        build([scale_program()], host(), tmp_path / "libscale.so")
    assert not list(tmp_path.iterdir())


def test_another_architecture_needs_a_linker_of_its_own(tmp_path, monkeypatch):
    other = named("aarch64" if host().architecture != "aarch64" else "x86-64")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(link.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(link.LinkError, match=rf"no linker for {other.architecture}: .*`ziglang`"):
        build([scale_program()], other, tmp_path / "libscale.so")
    monkeypatch.setattr(link.importlib.util, "find_spec", lambda name: True)
    assert link.linker(other)[1:] == ["-m", "ziglang", "cc"]
    monkeypatch.setenv("CC", "other-cc -O1")
    assert link.linker(other) == ["other-cc", "-O1"]
    monkeypatch.setenv("CC", '"')
    with pytest.raises(link.LinkError, match="which is no command"):
        link.linker()


def test_cc_is_respected(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -x")
    with pytest.raises(link.LinkError, match="no-such-compiler"):
        build([scale_program()], host(), tmp_path / "libscale.so")


def test_large_weights_embed_in_seconds(tmp_path):
    w = Buffer("w", F32, (25_000_000,))
    z = Buffer("z", F32, (N,))
    body = loop("serial", "i", N, Store("z", (load(w, "i").indices[0],), load(w, "i")))
    program = one_kernel("large", [], [z], [body], [w])
    packed = _weights(program, {"w": np.arange(25_000_000, dtype=np.float32)})
    start = time.perf_counter()
    build([program], host(), tmp_path / "liblarge.so", {"large": packed}, embed=True)
    assert time.perf_counter() - start < 20
    native = NativeProgram.from_library(tmp_path / "liblarge.so")
    out = np.zeros(1000, np.float32)
    assert native.run([1000], [], [out.ctypes.data], 0, 0) == 0
    assert np.array_equal(out, np.arange(1000))
