"""What this machine can do, measured with kernels of our own: FMA rate and bandwidth.

In: nothing. Out: `fma_peak()` in GFLOP/s of f32 on one core, `copy_bandwidth(bytes)` in GB/s. The
kernels are loop IR, compiled as every other kernel is, so that a ceiling is one for our code too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from stepwell.codegen.jit import NativeProgram
from stepwell.ir.dtypes import F32
from stepwell.ir.loop.core import (
    Alloc,
    Buffer,
    Call,
    For,
    Kernel,
    KernelParameter,
    Program,
    ProgramBuffer,
    Store,
)
from stepwell.ir.scalar import Binary, Const, Expr, Load, Var, index
from stepwell.ir.target import host

CHAINS = 12  # independent accumulators: more than latency times ports on any current core


def median_seconds(call: Callable[[], object], runs: int = 15) -> float:
    """The median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def fma_peak() -> float:
    """GFLOP/s of dependent-free multiply-adds in registers, one core, f32."""
    lanes, rounds = host().lanes(F32), 1_000_000
    accumulator = Buffer("acc", F32, (CHAINS, lanes), "register")

    def each(value: Callable[[tuple[Expr, Expr]], Expr], name: str) -> For:
        at = (Var(f"c_{name}"), Var(f"l_{name}"))
        body = (Store("acc", at, value(at)),)
        return For(f"c_{name}", CHAINS, "unrolled", (For(f"l_{name}", lanes, "vector", body),))

    def step(at: tuple[Expr, Expr]) -> Expr:
        product = Binary("mul", Load("acc", at, F32), Load("x", (index(0),), F32))
        return Binary("add", product, Load("x", (index(1),), F32))

    out_at = (Var("c_out"), Var("l_out"))
    store = Store("y", out_at, Load("acc", out_at, F32))
    body = (
        Alloc(accumulator),
        each(lambda _: Const(0.0, F32), "start"),
        For("t", rounds, "serial", (each(step, "step"),)),
        For("c_out", CHAINS, "unrolled", (For("l_out", lanes, "vector", (store,)),)),
    )
    out = Buffer("y", F32, (CHAINS, lanes))
    run = _compiled("fma", [Buffer("x", F32, (2,))], out, body)
    x, y = np.array([0.5, 0.25], np.float32), np.empty((CHAINS, lanes), np.float32)
    seconds = median_seconds(lambda: run([x], y), 9)
    return 2 * CHAINS * lanes * rounds / seconds / 1e9


def copy_bandwidth(size: int) -> float:
    """GB/s of reading `size` bytes and writing as many: the better of our loop and NumPy's."""
    count, lanes = size // 4, host().lanes(F32)
    position = Binary("add", Binary("mul", index(lanes), Var("i")), Var("l"))
    store = Store("y", (position,), Load("x", (position,), F32))
    body = (For("i", count // lanes, "serial", (For("l", lanes, "vector", (store,)),)),)
    run = _compiled("copy", [Buffer("x", F32, (count,))], Buffer("y", F32, (count,)), body)
    x, y = np.ones(count, np.float32), np.zeros(count, np.float32)
    seconds = min(median_seconds(lambda: run([x], y)), median_seconds(lambda: np.copyto(y, x)))
    return 2 * size / seconds / 1e9


def _compiled(
    name: str, inputs: list[Buffer], out: Buffer, body: tuple[For | Alloc, ...]
) -> Callable[[list[np.ndarray], np.ndarray], None]:
    parameters = [KernelParameter(buffer, "in") for buffer in inputs]
    kernel = Kernel(name, (), (*parameters, KernelParameter(out, "out")), body)
    buffers = [ProgramBuffer(buffer, "input") for buffer in inputs]
    arguments = tuple(buffer.name for buffer in (*inputs, out))
    program = Program(
        name,
        (),
        (*buffers, ProgramBuffer(out, "output")),
        (),
        (Call(name, (), arguments, 0),),
        (kernel,),
        0,
    )
    native = NativeProgram.compile(program, host())
    empty = np.zeros(128, np.uint8)
    workspace = (empty.ctypes.data + 63) // 64 * 64

    def run(arrays: list[np.ndarray], result: np.ndarray) -> None:
        pointers = [array.ctypes.data for array in arrays]
        status = native.run([], pointers, [result.ctypes.data], workspace, workspace)
        if status:
            raise RuntimeError(f"{name} returned status {status}")

    return run
