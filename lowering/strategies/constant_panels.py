"""Panels of constants: packed once, they come from far at every run.

In: a scheduled kernel that reads panels of weights. Out: the same, whose innermost loops ask for
what is multiplied next in time:

    for k in 0..K { … panels[j, k, :] … }   →   for k in 0..K { prefetch panels[j, k + 96, :] … }
"""

from __future__ import annotations

from stepwell.ir.loop.core import For, Kernel, LoopKind, statements
from stepwell.ir.scalar import Expr, loads, variables
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose, near
from stepwell.lowering.strategies.products import factor_of, guards_on, outermost
from stepwell.lowering.transforms.navigate import find_loop
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.prefetch_panels import prefetch_panels

AHEAD = 4  # of the first cache, the part that holds what of the panels was prefetched


def is_constant(kernel: Kernel, factor: Expr) -> bool:
    """Whether a factor's elements are known before any run."""
    known = {p.buffer.name for p in kernel.parameters if p.role == "const"}
    return all(load.buffer in known for load in loads(factor))


def pack_constant(
    kernel: Kernel, columns: tuple[str, str, str], deep: str, outside: tuple[str, ...]
) -> Kernel:
    """Pack B over all columns, panel by panel, each contiguous in k: before everything else."""
    b, (panel, vector, lane) = factor_of(kernel, deep, "b"), columns
    used = [name for name in outside if name in variables(b)]
    order = (*used, panel, deep, vector, lane)
    loops = [(name, find_loop(kernel.body, name).extent) for name in order]
    kinds: list[LoopKind] = ["serial"] * (len(used) + 2)
    guards = guards_on(kernel, lane)
    return pack(
        kernel, b, "b_panels", loops, outermost(kernel), guards, (*kinds, "unrolled", "vector")
    )


def asked_ahead(kernel: Kernel, panels: str, target: Target) -> Kernel:
    """The kernel whose innermost serial loops prefetch lines of these panels."""
    ahead = target.l1 // AHEAD
    ahead = choose("ahead", ahead, lambda: (0, *near(target.l1 // AHEAD, target.line, target.l2)))
    if not ahead:
        return kernel
    for deep in [s for s in statements(kernel.body) if isinstance(s, For) and s.kind == "serial"]:
        if not any(isinstance(s, For) and s.kind == "serial" for s in statements(deep.body)):
            kernel = prefetch_panels(kernel, deep.index, panels, ahead, target.line)
    return kernel
