"""Running loop IR in plain Python, scalar by scalar: the definition of what a program means.

In: a kernel or a program with its arrays. Out: the arrays, changed in place, or the outputs by
name. Slow and strict: an access out of bounds is an error, uninitialised memory holds NaN (every
byte 0xFF), and after memory planning all temporaries live in one workspace, so that a wrong plan
gives wrong answers here and not only in native code.

    run_kernel(softmax, {"N": 2}, {"x": x, "out": out})      # writes `out`
    interpret_program(program, {"x": x}, weights)            # {"out": array}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from stepwell.ir.diagnostics import InputError, InternalError
from stepwell.ir.loop.core import (
    GIVEN,
    THREADS,
    Buffer,
    Call,
    Kernel,
    Program,
    ProgramBuffer,
    scratch_buffers,
)
from stepwell.ir.loop.printer import statement_line
from stepwell.ir.loop.python_source import Site, to_python
from stepwell.ir.loop.sizes import bind_sizes
from stepwell.ir.size import Dim, evaluate

Array = np.ndarray[Any, np.dtype[Any]]

INTERPRETED_THREADS = 3  # so that work is shared, and not evenly
FILL = 0xFF  # every byte of uninitialised memory: NaN, -1, 255, true


def run_kernel(
    kernel: Kernel,
    sizes: Mapping[str, int],
    arrays: Mapping[str, Array],
    scratch: Mapping[str, Array] | None = None,
) -> None:
    """Run a kernel on its parameters' arrays, in place.

    Raises InputError where a `check` fails, InternalError where an access is out of bounds or an
    array does not fit its parameter. `scratch` gives flat arrays for the scratch buffers.
    """
    memory: dict[str, Array] = {}
    for parameter in kernel.parameters:
        buffer = parameter.buffer
        memory[buffer.name] = _fitting(kernel, buffer, sizes, arrays[buffer.name])
    flat = {name: np.ascontiguousarray(array).reshape(-1) for name, array in memory.items()}
    if scratch is None:
        buffers = (buffer for buffer, _ in scratch_buffers(kernel))
        scratch = {buffer.name: uninitialised(buffer, sizes).reshape(-1) for buffer in buffers}
    with np.errstate(all="ignore"):
        _compiled(kernel)(dict(sizes), flat, scratch)
    for parameter in kernel.parameters:
        name = parameter.buffer.name
        if parameter.is_written and not np.shares_memory(flat[name], memory[name]):
            memory[name][...] = flat[name].reshape(memory[name].shape)


def _fitting(kernel: Kernel, buffer: Buffer, sizes: Mapping[str, int], array: Array) -> Array:
    shape = tuple(evaluate(dim, sizes) for dim in buffer.shape)
    if array.size != math.prod(shape) or array.dtype != buffer.dtype.numpy:
        given = f"{array.dtype}{list(array.shape)}"
        raise InternalError(
            f"kernel {kernel.name}: `{buffer.name}` is {buffer.dtype}{list(shape)}, given {given}"
        )
    return array


@lru_cache(maxsize=512)
def _compiled(kernel: Kernel) -> Callable[..., None]:
    """The kernel as a Python function of sizes, flat arrays and scratch."""
    python = to_python(kernel)

    def out_of_bounds(number: int, axis: int, subscript: int, extent: int) -> None:
        raise InternalError(_out_of_bounds(kernel, python.sites[number], axis, subscript, extent))

    def fail(message: str) -> None:
        raise InputError(message)

    namespace = dict(python.namespace)
    namespace |= {"out_of_bounds": out_of_bounds, "uninitialised": _refilled}
    namespace |= {"fail": fail, "Failure": InputError}
    exec(compile(python.source, f"<kernel {kernel.name}>", "exec"), namespace)
    return namespace["kernel"]  # type: ignore[no-any-return]


def _out_of_bounds(kernel: Kernel, site: Site, axis: int, subscript: int, extent: int) -> str:
    name = site.buffer.name
    span = f" (from {site.statement.span})" if site.statement.span else ""
    return (
        f"kernel {kernel.name}: subscript {axis} of `{name}` is {subscript}, outside its extent "
        f"{extent}, in `{statement_line(site.statement)}`{span}"
    )


def _refilled(array: Array) -> Array:
    array.view(np.uint8).fill(FILL)
    return array


def uninitialised(buffer: Buffer, sizes: Mapping[str, int]) -> Array:
    """A new array of the buffer's type that holds garbage."""
    shape = tuple(evaluate(dim, sizes) for dim in buffer.shape)
    array = np.empty(shape, buffer.dtype.numpy)
    array.reshape(-1).view(np.uint8).fill(FILL)
    return array


def interpret_program(
    program: Program,
    inputs: Mapping[str, Array],
    parameters: Mapping[str, Array],
    sizes: Mapping[str, int] | None = None,
    threads: int = INTERPRETED_THREADS,
) -> dict[str, Array]:
    """Run a whole program, as `threads` would; the outputs, and what is in the states afterwards,
    by name. The arrays given stay; `parameters` has the states, too.

    Sizes are read from the arrays' shapes; `sizes` gives those that no shape determines.
    Raises InputError where an array does not fit, a constraint or a `check` fails.
    """
    given = {**inputs, **parameters}
    values = {**bind_sizes(program, given, sizes or {}), THREADS: threads}
    workspace, preparing = (
        _workspace(bytes, values) for bytes in (program.workspace, program.preparation_workspace)
    )
    arrays = {
        item.buffer.name: _array(
            item, given, preparing if item.role == "prepared" else workspace, values
        )
        for item in program.buffers
    }
    for call in program.preparations:
        _run_call(program, call, values, arrays, preparing)
    for step in program.steps:
        _run_step(program, step, values, arrays, workspace)
    written = (*program.with_role("output"), *program.with_role("state"))
    return {item.buffer.name: arrays[item.buffer.name] for item in written}


def _workspace(bytes: Dim | None, sizes: Mapping[str, int]) -> Array:
    return np.full(0 if bytes is None else evaluate(bytes, sizes), FILL, np.uint8)


def _array(
    item: ProgramBuffer, given: Mapping[str, Array], workspace: Array, sizes: Mapping[str, int]
) -> Array:
    if item.role in GIVEN:
        return np.array(given[item.buffer.name], order="C", copy=True)
    if item.role == "constant":
        assert item.data is not None, f"constant {item.buffer.name} has no data"
        return np.array(item.data, order="C", copy=True).reshape(_shape(item.buffer, sizes))
    if item.offset is None:
        return uninitialised(item.buffer, sizes)
    return _view(workspace, item.buffer, evaluate(item.offset, sizes), sizes)


def _shape(buffer: Buffer, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(dim, sizes) for dim in buffer.shape)


def _view(workspace: Array, buffer: Buffer, offset: int, sizes: Mapping[str, int]) -> Array:
    """The part of the workspace that holds a buffer."""
    size = evaluate(buffer.bytes, sizes)
    if offset < 0 or offset + size > workspace.size:
        raise InternalError(
            f"`{buffer.name}` lies at {offset}..{offset + size} in a workspace of "
            f"{workspace.size} bytes"
        )
    part = workspace[offset : offset + size]
    return part.view(buffer.dtype.numpy).reshape(_shape(buffer, sizes))


def _run_step(
    program: Program,
    calls: Sequence[Call],
    sizes: Mapping[str, int],
    arrays: Mapping[str, Array],
    workspace: Array,
) -> None:
    """Calls that are together run backwards; of those that fail the first in order tells."""
    failure: InputError | None = None
    for call in reversed(calls):
        try:
            _run_call(program, call, sizes, arrays, workspace)
        except InputError as error:
            failure = error
    if failure is not None:
        raise failure


def _run_call(
    program: Program,
    call: Call,
    sizes: Mapping[str, int],
    arrays: Mapping[str, Array],
    workspace: Array,
) -> None:
    kernel = program.kernel(call.kernel)
    dims = zip(kernel.sizes, call.sizes, strict=True)
    own = {name: evaluate(dim, sizes) for name, dim in dims}
    names = [parameter.buffer.name for parameter in kernel.parameters]
    arguments = {
        name: arrays[argument] for name, argument in zip(names, call.arguments, strict=True)
    }
    scratch = None
    if call.scratch is not None:
        start = evaluate(call.scratch, sizes)
        scratch = {
            buffer.name: _view(workspace, buffer, start + evaluate(offset, own), own).reshape(-1)
            for buffer, offset in scratch_buffers(kernel)
        }
    run_kernel(kernel, own, arguments, scratch)
