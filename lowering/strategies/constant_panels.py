"""Panels of constants: packed once, they come from far at every run.

In: a scheduled kernel that reads panels of weights. Out: the same, whose innermost loops ask for
what is multiplied next in time:

    for k in 0..K { … panels[j, k, :] … }   →   for k in 0..K { prefetch panels[j, k + 96, :] … }
"""

from __future__ import annotations

from stepwell.ir.loop.core import For, Kernel, statements
from stepwell.ir.scalar import Expr, loads
from stepwell.ir.target import Target
from stepwell.lowering.knobs import choose, near
from stepwell.lowering.transforms.prefetch_panels import prefetch_panels

AHEAD = 4  # of the first cache, the part that holds what of the panels was prefetched


def is_constant(kernel: Kernel, factor: Expr) -> bool:
    """Whether a factor's elements are known before any run."""
    known = {p.buffer.name for p in kernel.parameters if p.role == "const"}
    return all(load.buffer in known for load in loads(factor))


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
