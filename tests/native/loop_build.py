"""Loop programs by hand, for the tests of code generation, and running them on NumPy arrays."""

from __future__ import annotations

import subprocess
import textwrap

import numpy as np

from stepwell.codegen.jit import NativeProgram
from stepwell.ir.dtypes import F32, I64
from stepwell.ir.loop.core import (
    Block,
    Buffer,
    Call,
    For,
    Kernel,
    KernelParameter,
    Program,
    ProgramBuffer,
    aligned,
    scratch_bytes,
)
from stepwell.ir.loop.interpreter import run_kernel
from stepwell.ir.loop.parser import parse_kernel
from stepwell.ir.loop.verifier import verify_loops
from stepwell.ir.scalar import Binary, Const, Expr, Load, Var, from_dim
from stepwell.ir.size import evaluate, symbol, symbols
from stepwell.ir.target import Target, host, named


def expr(value) -> Expr:
    """Names become i64 variables, ints become i64 constants, floats f32 constants."""
    if isinstance(value, str):
        return Var(value, I64)
    if isinstance(value, bool | int):
        return Const(int(value), I64)
    return Const(value, F32) if isinstance(value, float) else value


def op(name, x, y):
    return Binary(name, expr(x), expr(y))


def add(x, y):
    return op("add", x, y)


def mul(x, y):
    return op("mul", x, y)


def load(buffer: Buffer, *indices, guard=None) -> Load:
    return Load(buffer.name, tuple(expr(i) for i in indices), buffer.dtype, guard)


def loop(kind: str, index: str, extent, *body) -> For:
    return For(index, extent, kind, tuple(body))


def register(name: str, dtype, *shape) -> Buffer:
    return Buffer(name, dtype, shape, "register")


def one_kernel(
    name: str, inputs: list[Buffer], outputs: list[Buffer], body: Block, parameters=(),
    constraints=(),
) -> Program:  # fmt: skip
    """A program that calls one kernel on its inputs, parameters and outputs."""
    buffers = [*inputs, *parameters, *outputs]
    sizes = sorted({s for b in buffers for dim in b.shape for s in symbols(dim)})
    given = [KernelParameter(b, "in") for b in (*inputs, *parameters)]
    kernel = Kernel(
        name, tuple(sizes), (*given, *(KernelParameter(b, "out") for b in outputs)), tuple(body)
    )
    roles = ["input"] * len(inputs) + ["parameter"] * len(parameters) + ["output"] * len(outputs)
    items = [ProgramBuffer(b, role) for b, role in zip(buffers, roles, strict=True)]
    arguments = tuple(b.name for b in buffers)
    call = Call(name, tuple(symbol(s) for s in sizes), arguments, scratch=0)
    return Program(
        name, tuple(sizes), tuple(items), tuple(constraints), (call,), (kernel,),
        workspace=aligned(scratch_bytes(kernel)),
    )  # fmt: skip


def workspace(size: int) -> np.ndarray:
    """Aligned memory, filled with what no program should read."""
    memory = np.full(max(size, 0) + 64, 0xFF, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + max(size, 0)]


def prepared(native: NativeProgram, program: Program, arrays) -> np.ndarray:
    """The weights that native code makes of the parameters."""
    items = program.with_role("parameter")
    return native.prepared([np.ascontiguousarray(arrays[i.buffer.name]) for i in items])


def call(native: NativeProgram, program: Program, sizes: dict[str, int], arrays) -> dict:
    """Runs on arrays by name; returns the outputs by name. Fails where the status is not 0."""
    values = [sizes[name] for name in program.sizes]
    inputs = [np.ascontiguousarray(arrays[i.buffer.name]) for i in program.with_role("input")]
    outputs = {
        item.buffer.name: np.zeros(
            [evaluate(dim, sizes) for dim in item.buffer.shape], item.buffer.dtype.numpy
        )
        for item in program.with_role("output")
    }
    weights = prepared(native, program, arrays)
    memory = workspace(native.workspace_size(values))
    status = native.run(
        values,
        [a.ctypes.data for a in inputs],
        [a.ctypes.data for a in outputs.values()],
        weights.ctypes.data,
        memory.ctypes.data,
    )
    assert status == 0, native.error_message(status)
    return outputs


def run(program: Program, sizes: dict[str, int], arrays, target: Target | None = None) -> dict:
    """Compiles and runs once."""
    return call(NativeProgram.compile(program, target or host()), program, sizes, arrays)


def sh(*command, cwd) -> str:
    """What a command prints; it must end well and say nothing on stderr."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def kernel_program(text: str) -> Program:
    """The text of one kernel, as a program: `out` and `inout` parameters are outputs."""
    kernel = parse_kernel(textwrap.dedent(text))
    verify_loops(kernel)
    roles = {"in": "input", "out": "output", "inout": "output"}
    items = [ProgramBuffer(p.buffer, roles[p.role]) for p in kernel.parameters]
    arguments = tuple(item.buffer.name for item in items)
    sizes = tuple(symbol(s) for s in kernel.sizes)
    return Program(
        kernel.name, kernel.sizes, tuple(items), (), (Call(kernel.name, sizes, arguments, 0),),
        (kernel,), workspace=aligned(scratch_bytes(kernel)),
    )  # fmt: skip


def interpreted(program: Program, sizes: dict[str, int], arrays) -> dict:
    """The outputs that the loop interpreter gives."""
    found = {name: np.array(array) for name, array in arrays.items()}
    for item in program.with_role("output"):
        shape = [evaluate(dim, sizes) for dim in item.buffer.shape]
        found[item.buffer.name] = np.zeros(shape, item.buffer.dtype.numpy)
    run_kernel(program.kernels[0], sizes, found)
    return {item.buffer.name: found[item.buffer.name] for item in program.with_role("output")}


def machines() -> list[Target]:
    """The targets whose code this machine can run."""
    mine = host()
    if mine.architecture != "x86_64":
        return [mine]
    names = ["x86-64", "x86-64-v2"]
    names += ["x86-64-v3"] * (mine.vector_bits >= 256) + ["x86-64-v4"] * (mine.vector_bits >= 512)
    return [mine, *map(named, names)]


__all__ = [
    "add",
    "call",
    "expr",
    "from_dim",
    "interpreted",
    "kernel_program",
    "load",
    "loop",
    "machines",
    "mul",
    "one_kernel",
    "op",
    "prepared",
    "register",
    "run",
    "sh",
    "workspace",
]  # fmt: skip
