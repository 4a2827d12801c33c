"""A program to object files: its kernels in several modules, which compile at once.

In: a program with memory planned, a target. Out: objects that belong together; one more holds the
functions that C calls.

    compile_objects(program, host())   →   [Object(…), …]

While LLVM compiles a module on a thread, the next module's text is made on this one. Where the cuts
lie depends on the program alone, so that its objects are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from stepwell.codegen.compile import Object, compiled
from stepwell.codegen.llvm import Embedding, Part, llvm_text, whole
from stepwell.codegen.runtime import RESOLVE
from stepwell.codegen.undefined import foreign_symbols
from stepwell.ir.diagnostics import InternalError
from stepwell.ir.loop.code_size import code_size
from stepwell.ir.loop.core import Program
from stepwell.ir.target import Target, available_cores

MODULE = 1500  # instructions after which a module is full


def compile_objects(
    program: Program,
    target: Target,
    part: Part | None = None,
    embedding: Embedding | None = None,
    models: str = "",
    runtime: str = "",
    split: bool = True,
) -> list[Object]:
    """The program's objects, or those of a part of it; `models` is text for the entry's module,
    and `runtime` a module to link into that if it needs one.

    Without `split` there is one object. InternalError where they need another library than libc.
    """
    part = part or whole(program)
    parts = _split(program, part) if split else [part]
    with ThreadPoolExecutor(min(len(parts), available_cores())) as pool:
        pending = []
        for each in parts:
            text = llvm_text(program, target, each, embedding if each.entry else None)
            linked = runtime if RESOLVE in text else ""
            pending.append(pool.submit(compiled, text + models * each.entry, target, linked))
        objects = [future.result() for future in pending]
    _require_libc_alone(objects)
    return objects


def _split(program: Program, part: Part) -> list[Part]:
    """The kernels in groups of a module's size, in order, then the entry without kernels."""
    groups: list[list[str]] = [[]]
    filled = 0
    for kernel in program.kernels:
        if kernel.name not in part.kernels:
            continue
        size = code_size(kernel.body)
        if groups[-1] and filled + size > MODULE:
            groups.append([])
            filled = 0
        groups[-1].append(kernel.name)
        filled += size
    parts = [replace(part, kernels=tuple(group), entry=False) for group in groups if group]
    return [*parts, replace(part, kernels=())] if part.entry else parts


def _require_libc_alone(objects: Sequence[Object]) -> None:
    needed = frozenset[str]().union(*(each.needs for each in objects))
    foreign = foreign_symbols(needed, (name for each in objects for name in each.defines))
    if foreign:
        raise InternalError(f"the code calls {', '.join(sorted(foreign))}, which libc lacks")
