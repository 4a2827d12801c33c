"""The pass `schedule`: naive nests to scheduled ones, each by the strategy of its family.

for i { for j { acc[] = 0.0; for k { acc[] = acc[] + x[i, k] * w[k, j] }; y[i, j] = acc[] } }
  →  packed panels, a register tile of vectors, masked edges   (see strategies/contraction.py)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from stepwell.ir.diagnostics import PassError
from stepwell.ir.loop.core import Kernel, Program
from stepwell.ir.target import Target, UnknownTarget, named
from stepwell.lowering.knobs import choose, tuned
from stepwell.lowering.strategies.attention import schedule_attention
from stepwell.lowering.strategies.attention_gradient import schedule_attention_gradient
from stepwell.lowering.strategies.contraction import schedule_contraction
from stepwell.lowering.strategies.convolution import schedule_convolution
from stepwell.lowering.strategies.correlation import schedule_correlation
from stepwell.lowering.strategies.deep_product import schedule_deep_product
from stepwell.lowering.strategies.depthwise_gradient import schedule_depthwise_gradient
from stepwell.lowering.strategies.long_reduction import schedule_long_reduction
from stepwell.lowering.strategies.loops import schedule_loops
from stepwell.lowering.strategies.row_window import schedule_row_window
from stepwell.lowering.strategies.strided import schedule_strided
from stepwell.lowering.strategies.window import schedule_window
from stepwell.lowering.strategies.winograd import schedule_winograd
from stepwell.lowering.transforms.navigate import ScheduleError
from stepwell.lowering.transforms.prefix import carry_prefixes
from stepwell.lowering.transforms.scatter import scatter_sums
from stepwell.lowering.tuning import Database, kernel_key

NARROWEST = 128  # bits of a vector


@dataclass(frozen=True)
class Schedule:
    """Schedule every kernel for a target: "native", or a name such as "x86-64-v3"; `database` is a
    file of tuned choices, which overrule the analytic ones; `winograd` says whether convolutions
    may be computed by Winograd's method, which rounds more."""

    target: str = "native"
    database: str = ""
    winograd: bool = True
    name = "schedule"
    kind = "loop"

    def run(self, program: Program) -> Program:
        try:
            machine = named(self.target)
        except UnknownTarget as error:
            raise PassError(str(error)) from None
        try:
            records = Database.read(self.database).best(machine) if self.database else {}
        except OSError as error:
            raise PassError(str(error)) from None
        kernels = []
        for kernel in program.kernels:
            with tuned(records.get(kernel_key(kernel), {}) if records else {}):
                kernels.append(schedule_kernel(kernel, machine, self.winograd))
        return replace(program, kernels=tuple(kernels))


Strategy = Callable[[Kernel, Target], Kernel | None]


def schedule_kernel(kernel: Kernel, target: Target, winograd: bool = True) -> Kernel:
    """The kernel, scheduled: a convolution or a packed product where it is one, else loops."""
    again = partial(schedule_kernel, winograd=winograd)
    strategies: tuple[Strategy, ...] = (
        schedule_attention,
        schedule_attention_gradient,
        partial(schedule_strided, schedule=again),
        schedule_correlation,
        schedule_depthwise_gradient,
        *((schedule_winograd,) if winograd else ()),
        schedule_convolution,
        partial(schedule_long_reduction, schedule=_schedule_nest),
        partial(schedule_deep_product, schedule=_schedule_nest),
    )
    kernel, target = scatter_sums(carry_prefixes(kernel)), _with_vectors(target)
    return _first_of(strategies, kernel, target) or _schedule_nest(kernel, target)


def _with_vectors(target: Target) -> Target:
    """The target with vectors as wide as its widest, or half so wide."""
    widest = target.vector_bits
    bits = choose("vector_bits", widest, lambda: (widest, max(NARROWEST, widest // 2)))
    return target if bits == widest else replace(target, vector_bits=bits)


def _schedule_nest(kernel: Kernel, target: Target) -> Kernel:
    strategies = (schedule_contraction, schedule_window, schedule_row_window)
    return _first_of(strategies, kernel, target) or schedule_loops(kernel, target)


def _first_of(strategies: Iterable[Strategy], kernel: Kernel, target: Target) -> Kernel | None:
    """By the first strategy that the kernel is for, and whose every step is legal on it."""
    for strategy in strategies:
        try:
            found = strategy(kernel, target)
        except ScheduleError:
            continue
        if found is not None:
            return found
    return None
