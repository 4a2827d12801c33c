"""How passes on loops are checked: see `stepwell.ir.checking`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stepwell.ir import size
from stepwell.ir.checking import Inputs, Kind, random_array, random_sizes
from stepwell.ir.diagnostics import InputError
from stepwell.ir.loop.core import GIVEN, THREADS, Block, Buffer, For, If, Kernel, Program
from stepwell.ir.loop.interpreter import INTERPRETED_THREADS, interpret_program, run_kernel
from stepwell.ir.loop.parser import parse_kernel, parse_loops
from stepwell.ir.loop.printer import format_kernel, format_loops
from stepwell.ir.loop.sizes import bind_sizes
from stepwell.ir.loop.verifier import verify_loops
from stepwell.ir.numerics import Array
from stepwell.ir.types import TensorType

LIMIT = 300_000  # statements: about a second


def sample(program: Program, random: np.random.Generator) -> Inputs | None:
    """Inputs, parameters and states of small random sizes; None where the program is too large."""
    sizes = random_sizes(program.sizes, program.constraints, random)
    if sizes is None or work(program, sizes) > LIMIT:
        return None
    items = (item for item in program.buffers if item.role in GIVEN)
    arrays = {item.buffer.name: _array(item.buffer, sizes, random) for item in items}
    try:
        bind_sizes(program, arrays, {})
    except InputError:  # a size that no shape tells
        return None
    return arrays


def _array(buffer: Buffer, sizes: Mapping[str, int], random: np.random.Generator) -> Array:
    shape = tuple(size.evaluate(dim, sizes) for dim in buffer.shape)
    return random_array(TensorType(buffer.dtype, shape), random)


def work(program: Program, sizes: Mapping[str, int]) -> int:
    """About how many statements a run takes."""
    total, known = 0, {**sizes, THREADS: INTERPRETED_THREADS}
    for call in (*program.preparations, *program.calls):
        kernel = program.kernel(call.kernel)
        values = [size.evaluate(dim, known) for dim in call.sizes]
        total += _block_work(kernel.body, dict(zip(kernel.sizes, values, strict=True)))
    return total


def _block_work(block: Block, known: Mapping[str, int]) -> int:
    """An index of an outer loop counts as 0 in the extents of inner ones."""
    total = 0
    for statement in block:
        match statement:
            case For(index=index, extent=extent, body=body):
                times = max(0, size.evaluate(extent, known))
                total += 1 + times * _block_work(body, {**known, index: 0})
            case If(then=then, otherwise=otherwise):
                total += _block_work(then, known) + _block_work(otherwise, known)
            case _:
                total += 1
    return total


def interpret(program: Program, inputs: Inputs) -> dict[str, Array]:
    """The program's outputs, and what it leaves in its states."""
    return interpret_program(program, inputs, {})


def sample_kernel(kernel: Kernel, random: np.random.Generator) -> Inputs | None:
    """An array for every parameter of a kernel, and its sizes as scalars."""
    sizes = random_sizes(kernel.sizes, (), random)
    if sizes is None or _block_work(kernel.body, sizes) > LIMIT:
        return None
    arrays = {p.buffer.name: _array(p.buffer, sizes, random) for p in kernel.parameters}
    return {**arrays, **{f"size {name}": np.asarray(n) for name, n in sizes.items()}}


def interpret_kernel(kernel: Kernel, inputs: Inputs) -> dict[str, Array]:
    """What a kernel leaves in the arrays that it writes."""
    sizes = {name: int(inputs[f"size {name}"]) for name in kernel.sizes}
    arrays = {p.buffer.name: inputs[p.buffer.name].copy() for p in kernel.parameters}
    run_kernel(kernel, sizes, arrays)
    return {p.buffer.name: arrays[p.buffer.name] for p in kernel.parameters if p.is_written}


PROGRAMS = Kind("program", (Program,), format_loops, parse_loops, verify_loops, sample, interpret)
KERNELS = Kind(
    "kernel",
    (Kernel,),
    format_kernel,
    parse_kernel,
    verify_loops,
    sample_kernel,
    interpret_kernel,
)
