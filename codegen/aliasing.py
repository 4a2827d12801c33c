"""What LLVM is told of a kernel's arguments: what shares memory with nothing, what is aligned.

In: a program, its memory planned. Out: facts that hold in every call of a kernel.

    call scale(x, w, t)    →    x: any alignment; w, t: aligned to 64 bytes; none shares memory
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stepwell.codegen.kernel import ArgumentFacts
from stepwell.ir.loop.core import ALIGNMENT, Kernel, Program, ProgramBuffer


def argument_facts(
    program: Program, kernels: Iterable[Kernel]
) -> dict[str, tuple[ArgumentFacts, ...]]:
    """For each of these kernels, what holds of each argument in every call."""
    facts: dict[str, tuple[ArgumentFacts, ...]] = {}
    raw = frozenset(name for call in program.preparations for name in call.arguments)
    for kernel in kernels:
        calls = [
            [program.buffer(name) for name in call.arguments]
            for call in (*program.preparations, *program.calls)
            if call.kernel == kernel.name
        ]
        facts[kernel.name] = tuple(
            _facts_of(kernel, position, calls, raw) for position in range(len(kernel.parameters))
        )
    return facts


def _facts_of(
    kernel: Kernel, position: int, calls: Sequence[Sequence[ProgramBuffer]], raw: frozenset[str]
) -> ArgumentFacts:
    parameter = kernel.parameters[position]
    noalias = True
    for arguments in calls:
        for other, argument in enumerate(arguments):
            written = parameter.is_written or kernel.parameters[other].is_written
            if other != position and written and _share(arguments[position], argument):
                noalias = False
    ours = [arguments[position] for arguments in calls]
    # Parameters are aligned in the weights, but may be anywhere while these are prepared.
    loose = [b for b in ours if b.role == "parameter" and b.buffer.name in raw]
    loose += [b for b in ours if b.role in ("input", "output")]
    aligned = bool(ours) and not loose
    return ArgumentFacts(noalias, ALIGNMENT if aligned else parameter.buffer.dtype.bytes)


def _share(x: ProgramBuffer, y: ProgramBuffer) -> bool:
    """Whether two buffers may lie in the same memory during one call."""
    if x.buffer.name == y.buffer.name:
        return True
    return x.role == y.role and x.offset is not None and x.offset == y.offset
