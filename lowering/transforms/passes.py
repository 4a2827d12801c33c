"""The transformations as passes, so that `stepwell opt` can apply a schedule step by step.

    stepwell opt k.loops --passes 'split{loop=i,by=16},vectorize{loop=i_1}'

Each is one method from kernel to kernel; what its options mean is told where the transformation is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from stepwell.ir.diagnostics import VerifyError
from stepwell.ir.loop.analysis import index_names
from stepwell.ir.loop.core import Block, For, If, Kernel, Program
from stepwell.ir.loop.verifier import verify_kernel
from stepwell.lowering.dependence import independent
from stepwell.lowering.transforms.block_reduction import block_reduction
from stepwell.lowering.transforms.cut import cut
from stepwell.lowering.transforms.distribute import distribute
from stepwell.lowering.transforms.fission import fission
from stepwell.lowering.transforms.fuse_loops import fuse_loops
from stepwell.lowering.transforms.hoist import hoist
from stepwell.lowering.transforms.interchange import interchange
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.localize import localize
from stepwell.lowering.transforms.nan_apart import nan_apart
from stepwell.lowering.transforms.navigate import ScheduleError, as_kind, find_loop, replace_loop
from stepwell.lowering.transforms.prefetch import prefetch
from stepwell.lowering.transforms.prefetch_panels import prefetch_panels
from stepwell.lowering.transforms.promote import promote
from stepwell.lowering.transforms.simplify import simplify_kernel
from stepwell.lowering.transforms.split import Tail, split
from stepwell.lowering.transforms.split_reduction import split_reduction
from stepwell.lowering.transforms.squares import squares
from stepwell.lowering.transforms.stream import stream
from stepwell.lowering.transforms.vectorize_reduction import vectorize_reduction

Loops = Program | Kernel


class OfKernels(ABC):
    """A transformation of every kernel of a program."""

    name: ClassVar[str]
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if isinstance(ir, Kernel):
            return self._changed(ir)
        kernels = tuple(self._changed(k) if self.concerns(k) else k for k in ir.kernels)
        return replace(ir, kernels=kernels)

    def _changed(self, kernel: Kernel) -> Kernel:
        """What strategies never ask for, a hand may: to split a vector loop, say."""
        changed = self.change(kernel)
        try:
            verify_kernel(changed)
        except VerifyError as error:
            raise ScheduleError(f"{self.name} would break a rule: {error}") from error
        return changed

    def concerns(self, kernel: Kernel) -> bool:
        """Whether this kernel is to be changed."""
        return True

    @abstractmethod
    def change(self, kernel: Kernel) -> Kernel:
        """The kernel, transformed. ScheduleError where that is not legal."""


@dataclass(frozen=True, kw_only=True)
class OfLoop(OfKernels):
    """A transformation of the loop over `loop`: in the kernel of this name; without one, in all
    kernels that have such a loop."""

    loop: str
    kernel: str = ""

    def run(self, ir: Loops) -> Loops:
        if isinstance(ir, Program) and not any(map(self.concerns, ir.kernels)):
            where = f"kernel {self.kernel}" if self.kernel else "any kernel"
            raise ScheduleError(f"there is no loop over {self.loop} in {where}")
        return super().run(ir)

    def concerns(self, kernel: Kernel) -> bool:
        named = not self.kernel or kernel.name == self.kernel
        return named and self.loop in index_names(kernel.body)


@dataclass(frozen=True, kw_only=True)
class OfIterations(OfLoop):
    """A transformation that does of one iteration what comes before the end of an earlier one."""

    def _changed(self, kernel: Kernel) -> Kernel:
        changed = super()._changed(kernel)
        bare = replace(kernel, body=replace_loop(kernel.body, self.loop, _without_guard))
        if all(independent(k, find_loop(k.body, self.loop)) is None for k in (kernel, bare)):
            raise ScheduleError(f"iterations of the loop over {self.loop} depend on each other")
        return changed


def _without_guard(loop: For) -> Block:
    """As if every iteration took place: where all of it is under one condition."""
    match loop.body:
        case (If(then=then, otherwise=()),):
            return (replace(loop, body=then),)
    return (loop,)


@dataclass(frozen=True, kw_only=True)
class SplitLoop(OfLoop):
    """`for i in 0..N` → `for i_outer … { for i_1 in 0..by … }`; tail: guard, bound or peel."""

    by: int
    tail: str = "guard"
    name = "split"

    def change(self, kernel: Kernel) -> Kernel:
        if self.tail not in ("guard", "bound", "peel") or self.by < 1:
            raise ScheduleError("split takes by=1 or more and tail=guard, bound or peel")
        return split(kernel, self.loop, self.by, cast(Tail, self.tail)).kernel


@dataclass(frozen=True, kw_only=True)
class CutLoop(OfLoop):
    """`for i in 0..N { S }` → `for i in 0..at { S }; for i_1 in 0..N - at { S }`."""

    at: int
    name = "cut"

    def change(self, kernel: Kernel) -> Kernel:
        return cut(kernel, self.loop, self.at)[0]


@dataclass(frozen=True, kw_only=True)
class InterchangeLoops(OfLoop):
    """`for i { for j { S } }` → `for j { for i { S } }`."""

    name = "interchange"

    def change(self, kernel: Kernel) -> Kernel:
        return interchange(kernel, self.loop)


@dataclass(frozen=True, kw_only=True)
class SplitReduction(OfLoop):
    """A reduction in parts of `by` iterations, distributed over the loops from `outer` on."""

    by: int
    outer: str = ""
    name = "split_reduction"

    def change(self, kernel: Kernel) -> Kernel:
        return split_reduction(kernel, self.loop, self.by, self.outer)


@dataclass(frozen=True, kw_only=True)
class BlockReduction(OfLoop):
    """A reduction in blocks of `by` iterations, one after the other, for all results of the nest
    from `outer` on."""

    by: int
    outer: str
    name = "block_reduction"

    def change(self, kernel: Kernel) -> Kernel:
        return block_reduction(kernel, self.loop, self.by, self.outer)


@dataclass(frozen=True, kw_only=True)
class FuseLoops(OfLoop):
    """`for i in 0..M { for j in 0..N { S } }` → `for ij in 0..M*N { S }`."""

    name = "fuse_loops"

    def change(self, kernel: Kernel) -> Kernel:
        return fuse_loops(kernel, self.loop)[0]


@dataclass(frozen=True, kw_only=True)
class UnrollAndJam(OfIterations):
    """`for i in 0..4 { …; for k { S } }` → `…; for k { for i in 0..4 unrolled { S } }`."""

    name = "unroll_and_jam"

    def change(self, kernel: Kernel) -> Kernel:
        return jam(kernel, self.loop, "unrolled")


@dataclass(frozen=True, kw_only=True)
class Vectorize(OfIterations):
    """`for i in 0..16 { S }` → `for i in 0..16 vector { S }`, pushed past the loops inside."""

    name = "vectorize"

    def change(self, kernel: Kernel) -> Kernel:
        return jam(kernel, self.loop, "vector")


@dataclass(frozen=True, kw_only=True)
class Unroll(OfLoop):
    """`for i in 0..4 { S }` → `for i in 0..4 unrolled { S }`."""

    name = "unroll"

    def change(self, kernel: Kernel) -> Kernel:
        return as_kind(kernel, self.loop, "unrolled")


@dataclass(frozen=True, kw_only=True)
class VectorizeReduction(OfLoop):
    """`for k { m[] = m[] + x[k] }` → lanes of partial results, combined at the end."""

    lanes: int = 8
    unroll: int = 4
    name = "vectorize_reduction"

    def change(self, kernel: Kernel) -> Kernel:
        if self.lanes < 1 or self.lanes & (self.lanes - 1) or self.unroll < 1:
            raise ScheduleError("vectorize_reduction takes a power of two of lanes, unroll >= 1")
        return vectorize_reduction(kernel, self.loop, self.lanes, self.unroll)


@dataclass(frozen=True, kw_only=True)
class NanApart(OfKernels):
    """`m[l] = max(m[l], x)` → the larger number, and NaN in a register of its own."""

    name = "nan_apart"

    def change(self, kernel: Kernel) -> Kernel:
        return nan_apart(kernel)


@dataclass(frozen=True, kw_only=True)
class Hoist(OfLoop):
    """`for i { let s = …; S }` → `let s = …; for i { S }`, where s does not depend on i."""

    name = "hoist"

    def change(self, kernel: Kernel) -> Kernel:
        return hoist(kernel, self.loop)


@dataclass(frozen=True, kw_only=True)
class Squares(OfKernels):
    """A copy to `buffer` whose lanes are strided → squares, each transposed in registers."""

    buffer: str
    name = "squares"

    def change(self, kernel: Kernel) -> Kernel:
        return squares(kernel, self.buffer)


@dataclass(frozen=True, kw_only=True)
class Stream(OfKernels):
    """`y[i, l] = e` → `y[i, l] = e stream`, in kernels that move more than `room` bytes."""

    room: int = 0
    name = "stream"

    def change(self, kernel: Kernel) -> Kernel:
        return stream(kernel, self.room)


@dataclass(frozen=True, kw_only=True)
class PrefetchRows(OfLoop):
    """`for i { for j { S(x[i, j]) } … }` → `for i { for j { prefetch x[i + 1, j]; S } … }`."""

    distance: int = 1
    line: int = 64
    name = "prefetch"

    def change(self, kernel: Kernel) -> Kernel:
        if self.distance < 1 or self.line < 8:
            raise ScheduleError("prefetch takes distance=1 or more, a line of 8 bytes or more")
        return prefetch(kernel, self.loop, self.distance, self.line)


@dataclass(frozen=True, kw_only=True)
class PrefetchPanels(OfLoop):
    """`for k { S(p[j, k, …]) }` → `for k { prefetch p[j, k + 96, …]; S(p[j, k, …]) }`."""

    buffer: str
    ahead: int = 4096
    line: int = 64
    name = "prefetch_panels"

    def change(self, kernel: Kernel) -> Kernel:
        if self.ahead < 1 or self.line < 8:
            raise ScheduleError("prefetch_panels takes ahead=1 or more, a line of 8 bytes or more")
        return prefetch_panels(kernel, self.loop, self.buffer, self.ahead, self.line)


@dataclass(frozen=True, kw_only=True)
class SimplifyIndices(OfKernels):
    """Subscripts and conditions simplified under the ranges of the loops around them."""

    name = "simplify_indices"

    def change(self, kernel: Kernel) -> Kernel:
        return simplify_kernel(kernel)


@dataclass(frozen=True, kw_only=True)
class Localize(OfLoop):
    """`for k { acc += S }` → `part = acc; for k { part += S }; acc = part`."""

    buffer: str
    name = "localize"

    def change(self, kernel: Kernel) -> Kernel:
        return localize(kernel, self.loop, self.buffer)[0]


@dataclass(frozen=True, kw_only=True)
class Distribute(OfIterations):
    """`for j { S; for k { T } }` → `for j { S }; for k { for j { T } }`, of at most `room` j."""

    past: str
    room: int
    name = "distribute"

    def change(self, kernel: Kernel) -> Kernel:
        return distribute(kernel, self.loop, self.past, self.room)


@dataclass(frozen=True, kw_only=True)
class Promote(OfLoop):
    """`for i { for j { s[j] = s[j] + x } }` → `for j { … for i { total[] = total[] + x } … }`."""

    name = "promote"

    def change(self, kernel: Kernel) -> Kernel:
        return promote(kernel, self.loop)


@dataclass(frozen=True, kw_only=True)
class Fission(OfIterations):
    """`for j { S; T }` → `for j { S }; for j { T }`, where S is all that stores to `stored`."""

    stored: str
    room: int
    name = "fission"

    def change(self, kernel: Kernel) -> Kernel:
        return fission(kernel, self.loop, self.stored, self.room)[0]


TRANSFORMS = (
    *(SplitLoop, CutLoop, SplitReduction, BlockReduction, InterchangeLoops, FuseLoops),
    *(
        UnrollAndJam,
        Vectorize,
        Unroll,
        VectorizeReduction,
        NanApart,
        Hoist,
        Squares,
        Stream,
        PrefetchRows,
    ),
    *(PrefetchPanels, SimplifyIndices, Localize, Distribute, Fission, Promote),
)
