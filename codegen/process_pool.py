"""The one pool of threads of this process, which all models in it share.

In: how many threads. Out: the address of a `stepwell_pool` for NAME_run.

    pool(2)   →   { run, context, 2 }, at an address that stays

The runtime is compiled and loaded at its first use, unless its object was given from a cache. Its
threads end before Python does.
"""

from __future__ import annotations

import atexit
import ctypes
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from stepwell.codegen.compile import compiled, target_machine
from stepwell.codegen.runtime import RESOLVE, STOP, runtime_text
from stepwell.ir.target import host


class _Pool(ctypes.Structure):
    """`stepwell_pool` of the header."""

    _fields_ = [
        ("run", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
    ]


def runtime_object() -> bytes:
    """The runtime for this machine, compiled: what a cache may keep."""
    return compiled(runtime_text(host()).replace("define weak hidden", "define"), host()).data


_objects: list[bytes] = []  # one that was given, before the first use


def give_runtime(data: bytes) -> None:
    """Have `runtime_object()`'s bytes, so that it need not be made again."""
    _objects[:] = [data]


def has_runtime() -> bool:
    """Whether the runtime's code was given, or is loaded already."""
    return bool(_objects) or provide_pool.cache_info().currsize > 0


@cache
def provide_pool() -> Any:
    """The engine that holds the runtime, so that objects loaded from now on find its functions."""
    machine = target_machine(host())
    empty = llvm.parse_assembly("")
    empty.triple = host().triple
    engine = llvm.create_mcjit_compiler(empty, machine)
    data = _objects[0] if _objects else runtime_object()
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    for name in (RESOLVE, STOP):
        llvm.add_symbol(name, engine.get_function_address(name))
    atexit.register(ctypes.CFUNCTYPE(None)(engine.get_function_address(STOP)))
    return engine


@cache
def _resolved(threads: int) -> _Pool:
    given, result = _Pool(None, None, threads), _Pool()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    resolve = kind(provide_pool().get_function_address(RESOLVE))
    resolve(ctypes.addressof(result), ctypes.addressof(given))
    return result


def pool(threads: int = 0) -> int:
    """The address of a `stepwell_pool` of at most so many threads; 0: as the environment and the
    machine have it."""
    return ctypes.addressof(_resolved(threads))


def thread_count(threads: int = 0) -> int:
    """How many threads `pool(threads)` has."""
    return int(_resolved(threads).threads)
