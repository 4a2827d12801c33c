"""Native code in a child process, on memory that ends where its arrays end.

In: a loop program, its objects, sizes and arrays by name. Out: the outputs by name; or `Refused`
with the message of a status; or `Died`: the child did. A crash so is a failure that Hypothesis can
shrink, and reading or writing beyond an array is a crash.

One child runs one case after the other, as long as it lives: to fork a process that has collected
thousands of tests takes longer than most cases.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from workers import Worker

from stepwell.codegen.compile import Object
from stepwell.codegen.jit import NativeProgram
from stepwell.ir.loop.core import Program
from stepwell.ir.size import evaluate
from stepwell.ir.target import host

_PAGE = mmap.PAGESIZE
_LIMIT_S = 20.0
_libc = ctypes.CDLL(None, use_errno=True)
_kept: list[mmap.mmap] = []


class Refused(Exception):
    """Native code gave a status other than 0."""


@dataclass(frozen=True)
class _Request:
    """What the child is to load and to run; arrays in the program's order."""

    name: str
    objects: tuple[bytes, ...]
    sizes: tuple[int, ...]
    parameters: tuple[np.ndarray, ...]
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]  # of the shapes and types of what comes back


def _at_the_end(array: np.ndarray, fill: int | None = None) -> np.ndarray:
    """A copy whose last byte is the last before memory that nobody may touch."""
    pages = -(-array.nbytes // _PAGE) + 1
    block = mmap.mmap(-1, pages * _PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(block))
    end = start + (pages - 1) * _PAGE
    if _libc.mprotect(ctypes.c_void_p(end), ctypes.c_size_t(_PAGE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    _kept.append(block)
    offset = (pages - 1) * _PAGE - array.nbytes
    memory = np.frombuffer(block, np.uint8, array.nbytes, offset)
    found = memory.view(array.dtype).reshape(array.shape)
    if fill is not None:
        memory[:] = fill
    else:
        found[...] = array
    return found


def _run(request: object) -> tuple[np.ndarray, ...] | str:
    """In the child: the outputs, or why they are refused."""
    assert isinstance(request, _Request)
    _kept.clear()
    sizes, inputs = request.sizes, [_at_the_end(array) for array in request.inputs]
    outputs = tuple(_at_the_end(array, 0xA5) for array in request.outputs)
    native = NativeProgram.load(
        request.objects, host(), request.name, len(sizes), len(inputs), len(outputs), False
    )
    bytes_needed = native.workspace_size(sizes)
    if bytes_needed < 0:
        return f"the sizes {sizes} are refused"
    parameters = [_at_the_end(array) for array in request.parameters]
    weights = _at_the_end(_padded(native.prepared(parameters)))
    workspace = _at_the_end(_padded(np.empty(bytes_needed, np.uint8)), 0xFF)
    status = native.run(
        sizes,
        [array.ctypes.data for array in inputs],
        [array.ctypes.data for array in outputs],
        weights.ctypes.data,
        workspace.ctypes.data,
    )
    return native.error_message(status) if status else outputs


def _padded(array: np.ndarray) -> np.ndarray:
    """Weights and workspace begin at a multiple of 64 bytes; so they end at one."""
    flat = np.zeros(-(-array.nbytes // 64) * 64, np.uint8)
    flat[: array.nbytes] = array.view(np.uint8).reshape(-1)
    return flat


_child = Worker(_run, _LIMIT_S)


def run_native(
    objects: Sequence[Object],
    program: Program,
    sizes: Mapping[str, int],
    arrays: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Runs in the child. Raises Refused and Died."""

    def given(role: str) -> tuple[np.ndarray, ...]:
        return tuple(arrays[item.buffer.name] for item in program.with_role(role))

    results = [item.buffer for item in program.with_role("output")]
    shapes = [tuple(evaluate(d, sizes) for d in buffer.shape) for buffer in results]
    empty = [np.empty(s, b.dtype.numpy) for s, b in zip(shapes, results, strict=True)]
    answer = _child(
        _Request(
            program.name, tuple(each.data for each in objects),
            tuple(sizes[name] for name in program.sizes), given("parameter"), given("input"),
            tuple(empty),
        )
    )  # fmt: skip
    if isinstance(answer, str):
        raise Refused(answer)
    assert isinstance(answer, tuple)
    return {b.name: array for b, array in zip(results, answer, strict=True)}
