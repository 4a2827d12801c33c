"""The threads that run a model's parallel loops: this process's one pool, or a part of it.

In: an object's description, how many threads at most. Out: `Threads`: the address of the
`stepwell_pool` that goes with each call, and how many there are.

    threads_of(description, 2)  →  Threads(address, 2);   Threads(0, 1) where no loop is parallel
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.cache import DiskCache
from stepwell.child import in_child
from stepwell.ir.diagnostics import InputError
from stepwell.version import compiler_digest


@dataclass(frozen=True)
class Threads:
    """What NAME_run gets as its pool, and into how many tasks loops are cut at most."""

    pool: int = 0
    count: int = 1


def require_count(threads: int | None) -> None:
    """InputError where it is no number of threads; None stands for as many as there are."""
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads: {threads} is not at least 1")


def threads_of(
    description: Mapping[str, Any], threads: int | None, cache: DiskCache | None
) -> Threads:
    """For one model. Without a number: STEPWELL_THREADS, OMP_NUM_THREADS, or the usable cores."""
    if not description["parallel"]:
        return Threads()
    from stepwell.codegen import process_pool

    provide_runtime(cache)
    return Threads(process_pool.pool(threads or 0), process_pool.thread_count(threads or 0))


def provide_runtime(cache: DiskCache | None) -> None:
    """Has the code of the pool at hand."""
    from stepwell.codegen import process_pool

    if not process_pool.has_runtime():
        process_pool.give_runtime(_runtime(cache))


def _runtime(cache: DiskCache | None) -> bytes:
    """The runtime's code, from the cache or into it."""
    from stepwell.codegen.process_pool import runtime_object
    from stepwell.ir.target import host

    about = f"runtime\0{compiler_digest()}\0{host().triple}\0{host().cpu}\0{host().features}"

    def made() -> bytes:
        return in_child(runtime_object) or runtime_object()

    return made() if cache is None else cache.kept(about, made)
