"""NAME_run: what it refuses, how it places memory, what LLVM is told."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from loop_build import call, prepared, workspace

from stepwell.codegen import interface, modules
from stepwell.codegen.compile import assembly, compiled
from stepwell.codegen.jit import NativeProgram
from stepwell.codegen.llvm import Part, kernel_symbol, llvm_text
from stepwell.codegen.state import CodegenError
from stepwell.ir.diagnostics import InternalError
from stepwell.ir.loop.core import Call, Program, ProgramBuffer
from stepwell.ir.loop.interpreter import interpret_program
from stepwell.ir.loop.parser import parse_loops
from stepwell.ir.size import symbol
from stepwell.ir.target import UnknownTarget, host, named

TWO_STEPS = """
sources {m = "m.well"}

program two[N] {
  input x: f32[N, 12]
  input h: f16[N]
  parameter b.w: f32[12]
  parameter b.v: bf16[3]
  constant c: f32[2] = [1.0, 2.0]
  temporary t: f32[N, 12] at 0
  output y: f32[N, 12]
  output z: f32[N]
  require N <= 1000, "N is at most 1000"   @m:1:1-5
  workspace (48*N + 63) // 64 * 64 + 64
  call scale[N](x, b.w, c, t)   @m:2:3-8
  call scale[N](t, b.w, c, t)   @m:3:3-8
  call rows[N](t, h, b.v, y, z) scratch (48*N + 63) // 64 * 64   @m:4:3-8
}

kernel scale[N](x: f32[N, 12] in, w: f32[12] in, c: f32[2] in, y: f32[N, 12] out)
    pointwise {   @m:2:3-8
  for i in 0..N {   @m:2:3-8
    for j in 0..12 {
      y[i, j] = x[i, j] * w[j] + c[j % 2]   @m:2:10-14
    }
  }
}

kernel rows[N](x: f32[N, 12] in, h: f16[N] in, v: bf16[3] in, y: f32[N, 12] out, z: f32[N] out)
    reduction {   @m:4:3-8
  alloc row: f32[12] scratch
  alloc s: f32 register
  for i in 0..N {
    s[] = f32(h[i])
    for j in 0..12 {
      row[j] = x[i, j] - f32(v[j % 3])
      s[] = s[] + row[j]
    }
    check s[] < 1e6, "a row's sum is too large"
    for k in 0..12 { y[i, k] = row[11 - k] }
    z[i] = s[]
  }
}
"""


def two_steps():
    return parse_loops(TWO_STEPS)


def arrays(n, m):
    random = np.random.default_rng(5)
    return {
        "x": random.standard_normal((n, m)).astype(np.float32),
        "h": random.standard_normal(n).astype(np.float16),
        "b.w": random.standard_normal(m).astype(np.float32),
        "b.v": random.standard_normal(3).astype(ml_dtypes.bfloat16),
    }


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
def test_kernels_share_the_workspace(n):
    program = two_steps()
    given = arrays(n, 12)
    found = call(NativeProgram.compile(program, host()), program, {"N": n}, given)
    expected = interpret_program(
        program, {k: given[k] for k in ("x", "h")}, {k: given[k] for k in ("b.w", "b.v")}
    )
    for name in ("y", "z"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-5, atol=2e-5)


def test_refusals():
    program = two_steps()
    native = NativeProgram.compile(program, host())
    given = arrays(4, 12)
    weights, memory = prepared(native, program, given), workspace(native.workspace_size([4]))
    x, h = given["x"], given["h"]
    y, z = np.zeros((4, 12), np.float32), np.zeros(4, np.float32)

    def message(n=4, x=x.ctypes.data, y=y.ctypes.data, w=weights.ctypes.data, m=0):
        inputs, outputs = [x, h.ctypes.data], [y, z.ctypes.data]
        status = native.run([n], inputs, outputs, w, memory.ctypes.data if m == 0 else m)
        return native.error_message(status)

    assert message() == "ok"
    assert message(x=0) == message(y=0) == message(w=0) == message(m=None) == "a pointer is null"
    assert message(n=-1) == "a size is negative, or makes a shape negative"
    assert message(n=1001) == "N is at most 1000"
    assert "too large: a buffer" in message(n=2**60)
    assert "too large: a buffer" in message(n=2**63 - 1)
    assert "not aligned" in message(m=memory.ctypes.data + 4)
    assert "not aligned" in message(w=weights.ctypes.data + 32)
    x[2, 3] = 1e9 / weights.view(np.float32)[16 + 3] ** 2
    assert message() == "a row's sum is too large"
    assert native.error_message(999) == "unknown status"
    assert native.workspace_size([-1]) == native.workspace_size([2**60]) == -1
    assert native.workspace_size([4]) == 192 + 64


def test_divisibility_is_checked():
    text = """
    program p[N] {
      input x: f32[N]
      output y: f32[N]
      require N divisible by 4, "N must be a multiple of 4"
      workspace 0
      call k[N](x, y)
    }
    kernel k[N](x: f32[N] in, y: f32[N] out) pointwise { for i in 0..N { y[i] = x[i] } }
    """
    native = NativeProgram.compile(parse_loops(text), host())
    x, y = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    assert native.run([8], [x.ctypes.data], [y.ctypes.data], 0, 0) == 0
    assert (x == y).all()
    status = native.run([6], [x.ctypes.data], [y.ctypes.data], 0, 0)
    assert native.error_message(status) == "N must be a multiple of 4"


def test_noalias_except_where_a_call_shares_memory():
    text = llvm_text(two_steps(), host())
    scale = re.search(r"define hidden i32 .*kernel.scale.*\(.*\)", text)[0]
    rows = re.search(r"define hidden i32 .*kernel.rows.*\(.*\)", text)[0]
    noalias = {
        name: "noalias" in argument
        for argument in scale.split("(", 1)[1].split(",")
        for name in re.findall(r'%"(\w+)"', argument)
    }
    assert noalias == {"x": False, "w": True, "c": True, "y": False, "N": False, "scratch": True}
    assert rows.count("noalias") == 6
    assert re.search(r'ptr [^,]*align 64[^,]*%"w"', scale)


def test_objects_reload_and_are_deterministic():
    program = two_steps()
    objects = modules.compile_objects(program, host())
    assert objects == modules.compile_objects(two_steps(), host())
    [alone] = modules.compile_objects(program, host(), split=False)
    assert alone == compiled(llvm_text(program, host()), host())
    given = arrays(5, 12)
    first = call(NativeProgram.from_objects(objects, program, host()), program, {"N": 5}, given)
    second = call(NativeProgram.from_objects([alone], program, host()), program, {"N": 5}, given)
    assert (first["y"] == second["y"]).all()


def test_modules_are_cut_by_size(monkeypatch):
    """Kernels of one group share an object; the entry finds them all, wherever they are."""
    program = two_steps()
    kernels = {kernel_symbol(program, kernel.name) for kernel in program.kernels}
    together = modules.compile_objects(program, host())
    assert [set(each.defines) & kernels for each in together] == [kernels, set()]
    monkeypatch.setattr(modules, "MODULE", 1)
    apart = modules.compile_objects(program, host())
    assert len(apart) == len(kernels) + 1
    given = arrays(5, 12)
    results = [
        call(NativeProgram.from_objects(objects, program, host()), program, {"N": 5}, given)
        for objects in (together, apart)
    ]
    assert (results[0]["y"] == results[1]["y"]).all()


def test_reentrant():
    """Several threads at once, each with its own workspace: the same bits."""
    program = two_steps()
    native = NativeProgram.compile(program, host())
    given = arrays(300, 12)
    expected = call(native, program, {"N": 300}, given)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(call, native, program, {"N": 300}, given) for _ in range(32)]
        for job in jobs:
            for name, array in job.result().items():
                np.testing.assert_array_equal(array, expected[name])


def test_assembly_leads_back_to_the_source():
    code = assembly(llvm_text(two_steps(), host()), host())
    assert re.search(r"\.loc\s+\d+ 2 10", code), "line 2, column 10 of the source"
    assert '"m.well"' in code or '"m"' in code


def test_one_kernel_alone():
    text = llvm_text(two_steps(), host(), Part(("rows",), entry=False))
    assert "kernel.rows" in text and "kernel.scale" not in text and "two_run" not in text
    assert "rows:" in assembly(text, host())


def test_other_machines_compile():
    for name in ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "neoverse-v2", "riscv64"):
        target = named(name)
        assert compiled(llvm_text(two_steps(), target), target).data[:4] == b"\x7fELF"
    with pytest.raises(UnknownTarget, match="x86-64-v3"):
        named("pentium")


def test_weights_layout_is_aligned():
    offsets, total = interface.weight_layout(two_steps())
    assert offsets == {"b.w": 64, "b.v": 128}
    assert total == 192


def test_refused_programs_do_not_reach_llvm():
    for text in (
        "kernel k[N](x: f32[N] out) pointwise { for l in 0..1024 vector { x[l] = 0.0 } }",
        "kernel k[N](x: f32[N] out) pointwise { for i in 0..N unrolled { x[i] = 0.0 } }",
        """kernel k[N](x: f32[N] out) pointwise {
          alloc r: f32[4] register
          for i in 0..4 { r[i] = 0.0 }
        }""",
    ):
        kernel = parse_loops(text)
        with pytest.raises((CodegenError, InternalError)):
            emit(kernel)


def emit(kernel):
    items = tuple(ProgramBuffer(p.buffer, "output") for p in kernel.parameters)
    names = tuple(item.buffer.name for item in items)
    sizes = tuple(symbol(s) for s in kernel.sizes)
    calls = (Call(kernel.name, sizes, names, 0),)
    llvm_text(Program("p", kernel.sizes, items, (), calls, (kernel,), 0), host())
