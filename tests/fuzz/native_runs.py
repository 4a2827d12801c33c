"""Native code in a child process, on memory that ends where its arrays end.

In: a loop program, its native code, sizes and arrays by name. Out: the outputs by name; or
`Refused` with the message of a status; or `Crashed`: the child died. A crash so is a failure that
Hypothesis can shrink, and reading or writing beyond an array is a crash.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import signal
import traceback
from collections.abc import Mapping

import numpy as np

from stepwell.codegen.jit import NativeProgram
from stepwell.ir.loop.core import Program
from stepwell.ir.size import evaluate

_PAGE = mmap.PAGESIZE
_TIMEOUT_S = 20
_libc = ctypes.CDLL(None, use_errno=True)
_kept: list[mmap.mmap] = []


class Refused(Exception):
    """Native code gave a status other than 0."""


class Crashed(Exception):
    """The process died."""


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


def _run(
    native: NativeProgram,
    program: Program,
    sizes: Mapping[str, int],
    arrays: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    values = [sizes[name] for name in program.sizes]
    inputs = [_at_the_end(arrays[item.buffer.name]) for item in program.with_role("input")]
    outputs = {
        item.buffer.name: _at_the_end(
            np.empty([evaluate(d, sizes) for d in item.buffer.shape], item.buffer.dtype.numpy), 0xA5
        )
        for item in program.with_role("output")
    }
    bytes_needed = native.workspace_size(values)
    if bytes_needed < 0:
        raise Refused(f"the sizes {values} are refused")
    weights = _at_the_end(_padded(_prepared(native, program, arrays)))
    workspace = _at_the_end(_padded(np.empty(bytes_needed, np.uint8)), 0xFF)
    status = native.run(
        values,
        [array.ctypes.data for array in inputs],
        [array.ctypes.data for array in outputs.values()],
        weights.ctypes.data,
        workspace.ctypes.data,
    )
    if status:
        raise Refused(native.error_message(status))
    return outputs


def _prepared(native: NativeProgram, program: Program, arrays: Mapping[str, np.ndarray]):
    items = program.with_role("parameter")
    return native.prepared([_at_the_end(arrays[i.buffer.name]) for i in items])


def _padded(array: np.ndarray) -> np.ndarray:
    """Weights and workspace begin at a multiple of 64 bytes; so they end at one."""
    flat = np.zeros(-(-array.nbytes // 64) * 64, np.uint8)
    flat[: array.nbytes] = array.view(np.uint8).reshape(-1)
    return flat


def run_native(
    native: NativeProgram,
    program: Program,
    sizes: Mapping[str, int],
    arrays: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Runs in a child. Raises Refused and Crashed."""
    _ = native.entry, native.workspace_size([sizes[name] for name in program.sizes])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(_TIMEOUT_S)
        try:
            answer: object = _run(native, program, sizes, arrays)
        except Refused as error:
            answer = str(error)
        except BaseException:
            answer = Crashed(traceback.format_exc())
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(answer, stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise Crashed(signal.Signals(os.WTERMSIG(status)).name)
    answer = pickle.loads(data)
    if isinstance(answer, Crashed):
        raise answer
    if isinstance(answer, str):
        raise Refused(answer)
    return answer
