"""The pass `share_kernels`: equal kernels become one.

    call a(x, w1, y)    kernel a(…) { S }         call a(x, w1, y)    kernel a(…) { S }
    call b(y, w2, z)    kernel b(…) { S }    →    call a(y, w2, z)

Twelve equal layers compile once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import canonical
from stepwell.ir.loop.core import Kernel, Program


@dataclass(frozen=True)
class ShareKernels:
    """Keep the first of each set of kernels that differ in names only."""

    name = "share_kernels"
    kind = "loop"

    def run(self, program: Program) -> Program:
        first: dict[Kernel, str] = {}
        kept: list[Kernel] = []
        names: dict[str, str] = {}
        for kernel in program.kernels:
            form = canonical(kernel)
            if form not in first:
                first[form] = kernel.name
                kept.append(kernel)
            names[kernel.name] = first[form]
        if len(kept) == len(program.kernels):
            return program
        calls, preparations = (
            tuple(replace(call, kernel=names[call.kernel]) for call in calls)
            for calls in (program.calls, program.preparations)
        )
        return replace(program, kernels=tuple(kept), calls=calls, preparations=preparations)
