"""The transformations as passes, so that `stepwell opt` can apply a schedule step by step.

    stepwell opt k.loops --passes 'split{loop=i,by=16},vectorize{loop=i_1}'

Each takes the kernel's name where a program has several kernels with a loop of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from stepwell.ir.loop.analysis import index_names
from stepwell.ir.loop.core import Kernel, Program
from stepwell.lowering.transforms.cut import cut
from stepwell.lowering.transforms.distribute import distribute
from stepwell.lowering.transforms.fission import fission
from stepwell.lowering.transforms.fuse_loops import fuse_loops
from stepwell.lowering.transforms.hoist import hoist
from stepwell.lowering.transforms.interchange import interchange
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.localize import localize
from stepwell.lowering.transforms.nan_apart import nan_apart
from stepwell.lowering.transforms.navigate import ScheduleError, replace_loop
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


def _apply(ir: Loops, name: str, loop: str, change: Callable[[Kernel], Kernel]) -> Loops:
    """Change the kernel of this name; without one, the kernels that have the loop."""
    if isinstance(ir, Kernel):
        return change(ir)
    chosen = [
        kernel
        for kernel in ir.kernels
        if (not name or kernel.name == name) and loop in index_names(kernel.body)
    ]
    if not chosen:
        where = f"kernel {name}" if name else "any kernel"
        raise ScheduleError(f"there is no loop over {loop} in {where}")
    kernels = tuple(change(kernel) if kernel in chosen else kernel for kernel in ir.kernels)
    return replace(ir, kernels=kernels)


@dataclass(frozen=True)
class SplitLoop:
    """`for i in 0..N` → `for i_outer … { for i_1 in 0..by … }`; tail: guard, bound or peel."""

    loop: str
    by: int
    tail: str = "guard"
    kernel: str = ""
    name: ClassVar[str] = "split"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if self.tail not in ("guard", "bound", "peel") or self.by < 1:
            raise ScheduleError("split takes by=1 or more and tail=guard, bound or peel")
        tail = cast(Tail, self.tail)
        return _apply(
            ir, self.kernel, self.loop, lambda k: split(k, self.loop, self.by, tail).kernel
        )


@dataclass(frozen=True)
class CutLoop:
    """`for i in 0..N { S }` → `for i in 0..at { S }; for i_1 in 0..N - at { S }`."""

    loop: str
    at: int
    kernel: str = ""
    name: ClassVar[str] = "cut"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, lambda k: cut(k, self.loop, self.at)[0])


@dataclass(frozen=True)
class InterchangeLoops:
    """`for i { for j { S } }` → `for j { for i { S } }`."""

    loop: str
    kernel: str = ""
    name: ClassVar[str] = "interchange"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, lambda k: interchange(k, self.loop))


@dataclass(frozen=True)
class SplitReduction:
    """A reduction in parts of `by` iterations, distributed over the loops from `outer` on."""

    loop: str
    by: int
    outer: str = ""
    kernel: str = ""
    name: ClassVar[str] = "split_reduction"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(
            ir, self.kernel, self.loop, lambda k: split_reduction(k, self.loop, self.by, self.outer)
        )


@dataclass(frozen=True)
class FuseLoops:
    """`for i in 0..M { for j in 0..N { S } }` → `for ij in 0..M*N { S }`."""

    loop: str
    kernel: str = ""
    name: ClassVar[str] = "fuse_loops"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, lambda k: fuse_loops(k, self.loop)[0])


@dataclass(frozen=True)
class UnrollAndJam:
    """`for i in 0..4 { …; for k { S } }` → `…; for k { for i in 0..4 unrolled { S } }`."""

    loop: str
    kernel: str = ""
    name: ClassVar[str] = "unroll_and_jam"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, lambda k: jam(k, self.loop, "unrolled"))


@dataclass(frozen=True)
class Vectorize:
    """`for i in 0..16 { S }` → `for i in 0..16 vector { S }`, pushed past the loops inside."""

    loop: str
    kernel: str = ""
    name: ClassVar[str] = "vectorize"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, lambda k: jam(k, self.loop, "vector"))


@dataclass(frozen=True)
class Unroll:
    """`for i in 0..4 { S }` → `for i in 0..4 unrolled { S }`."""

    loop: str
    kernel: str = ""
    name: ClassVar[str] = "unroll"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, self._unrolled)

    def _unrolled(self, kernel: Kernel) -> Kernel:
        body = replace_loop(kernel.body, self.loop, lambda loop: (replace(loop, kind="unrolled"),))
        return replace(kernel, body=body)


@dataclass(frozen=True)
class VectorizeReduction:
    """`for k { m[] = m[] + x[k] }` → lanes of partial results, combined at the end."""

    loop: str
    lanes: int = 8
    unroll: int = 4
    kernel: str = ""
    name: ClassVar[str] = "vectorize_reduction"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if self.lanes < 1 or self.lanes & (self.lanes - 1) or self.unroll < 1:
            raise ScheduleError("vectorize_reduction takes a power of two of lanes, unroll >= 1")
        return _apply(
            ir,
            self.kernel,
            self.loop,
            lambda k: vectorize_reduction(k, self.loop, self.lanes, self.unroll),
        )


@dataclass(frozen=True)
class NanApart:
    """`m[l] = max(m[l], x)` → the larger number, and NaN in a register of its own."""

    name: ClassVar[str] = "nan_apart"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if isinstance(ir, Kernel):
            return nan_apart(ir)
        return replace(ir, kernels=tuple(map(nan_apart, ir.kernels)))


@dataclass(frozen=True)
class Hoist:
    """`for i { let s = …; S }` → `let s = …; for i { S }`, where s does not depend on i."""

    loop: str
    kernel: str = ""
    name: ClassVar[str] = "hoist"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, lambda k: hoist(k, self.loop))


@dataclass(frozen=True)
class Squares:
    """A copy to `buffer` whose lanes are strided → squares, each transposed in registers."""

    buffer: str
    name: ClassVar[str] = "squares"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if isinstance(ir, Kernel):
            return squares(ir, self.buffer)
        return replace(ir, kernels=tuple(squares(kernel, self.buffer) for kernel in ir.kernels))


@dataclass(frozen=True)
class Stream:
    """`y[i, l] = e` → `y[i, l] = e stream`, in kernels that move more than `room` bytes."""

    room: int = 0
    name: ClassVar[str] = "stream"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if isinstance(ir, Kernel):
            return stream(ir, self.room)
        return replace(ir, kernels=tuple(stream(kernel, self.room) for kernel in ir.kernels))


@dataclass(frozen=True)
class PrefetchRows:
    """`for i { for j { S(x[i, j]) } … }` → `for i { for j { prefetch x[i + 1, j]; S } … }`."""

    loop: str
    distance: int = 1
    line: int = 64
    kernel: str = ""
    name: ClassVar[str] = "prefetch"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if self.distance < 1 or self.line < 8:
            raise ScheduleError("prefetch takes distance=1 or more, a line of 8 bytes or more")
        return _apply(
            ir, self.kernel, self.loop, lambda k: prefetch(k, self.loop, self.distance, self.line)
        )


@dataclass(frozen=True)
class PrefetchPanels:
    """`for k { S(p[j, k, …]) }` → `for k { prefetch p[j, k + 96, …]; S(p[j, k, …]) }`."""

    loop: str
    buffer: str
    ahead: int = 4096
    line: int = 64
    kernel: str = ""
    name: ClassVar[str] = "prefetch_panels"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if self.ahead < 1 or self.line < 8:
            raise ScheduleError("prefetch_panels takes ahead=1 or more, a line of 8 bytes or more")
        return _apply(
            ir, self.kernel, self.loop,
            lambda k: prefetch_panels(k, self.loop, self.buffer, self.ahead, self.line),
        )  # fmt: skip


@dataclass(frozen=True)
class SimplifyIndices:
    """Subscripts and conditions simplified under the ranges of the loops around them."""

    name: ClassVar[str] = "simplify_indices"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        if isinstance(ir, Kernel):
            return simplify_kernel(ir)
        return replace(ir, kernels=tuple(map(simplify_kernel, ir.kernels)))


@dataclass(frozen=True)
class Localize:
    """`for k { acc += S }` → `part = acc; for k { part += S }; acc = part`."""

    loop: str
    buffer: str
    kernel: str = ""
    name: ClassVar[str] = "localize"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, lambda k: localize(k, self.loop, self.buffer)[0])


@dataclass(frozen=True)
class Distribute:
    """`for j { S; for k { T } }` → `for j { S }; for k { for j { T } }`, of at most `room` j."""

    loop: str
    past: str
    room: int
    kernel: str = ""
    name: ClassVar[str] = "distribute"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(
            ir, self.kernel, self.loop, lambda k: distribute(k, self.loop, self.past, self.room)
        )


@dataclass(frozen=True)
class Promote:
    """`for i { for j { s[j] = s[j] + x } }` → `for j { … for i { total[] = total[] + x } … }`."""

    loop: str
    kernel: str = ""
    name: ClassVar[str] = "promote"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(ir, self.kernel, self.loop, lambda k: promote(k, self.loop))


@dataclass(frozen=True)
class Fission:
    """`for j { S; T }` → `for j { S }; for j { T }`, where S is all that stores to `stored`."""

    loop: str
    stored: str
    room: int
    kernel: str = ""
    name: ClassVar[str] = "fission"
    kind: ClassVar[str] = "loop"

    def run(self, ir: Loops) -> Loops:
        return _apply(
            ir, self.kernel, self.loop, lambda k: fission(k, self.loop, self.stored, self.room)[0]
        )


TRANSFORMS = (
    SplitLoop,
    CutLoop,
    SplitReduction,
    InterchangeLoops,
    FuseLoops,
    UnrollAndJam,
    Vectorize,
    Unroll,
    VectorizeReduction,
    NanApart,
    Hoist,
    Squares,
    Stream,
    PrefetchRows,
    PrefetchPanels,
    SimplifyIndices,
    Localize,
    Distribute,
    Fission,
    Promote,
)
