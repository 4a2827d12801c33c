"""The pass `share_kernels`: equal kernels become one; where they differ in some constants, too.

    call a(x, w1, y)    kernel a(…) { S }         call a(x, w1, y)    kernel a(…) { S }
    call b(y, w2, z)    kernel b(…) { S }    →    call a(y, w2, z)

    call a(x, y)   kernel a(…) { y[j] = x[3, j] }         call a[3](x, y)   kernel a[at](…) {
    call b(x, z)   kernel b(…) { z[j] = x[4, j] }    →    call a[4](x, z)     y[j] = x[at, j] }

Twelve equal layers compile once, and so do the steps of an unrolled recurrence. The constants are
those of fixed subscripts, which are numbers up to the indices of loops of one iteration, and those
added in the upper half of random numbers' counters: the place of a call in its program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import (
    canonical,
    expressions_of,
    fresh_name,
    map_expressions,
    map_statements,
    register_names,
    taken_names,
)
from stepwell.ir.loop.core import (
    Block,
    Call,
    For,
    Kernel,
    Let,
    Program,
    Statement,
    Store,
    statements,
)
from stepwell.ir.scalar import Expr, Load, Philox, Var, as_dim, from_dim
from stepwell.ir.size import Dim, symbol, symbols
from stepwell.lowering.transforms.navigate import rewrite


@dataclass(frozen=True)
class ShareKernels:
    """Keep the first of each set of kernels that differ in names and such constants only."""

    name = "share_kernels"
    kind = "loop"

    def run(self, program: Program) -> Program:
        groups: dict[Kernel, list[Kernel]] = {}
        for kernel in program.kernels:
            groups.setdefault(_skeleton(kernel), []).append(kernel)
        if len(groups) == len(program.kernels):
            return program
        kept: list[Kernel] = []
        shared: dict[str, _Shared] = {}
        for members in groups.values():
            kernel, sizes = _merged(members)
            kept.append(kernel)
            for member, own in zip(members, sizes, strict=True):
                shared[member.name] = _Shared(kernel.name, own)
        calls, preparations = (
            tuple(shared[call.kernel].call(call) for call in calls)
            for calls in (program.calls, program.preparations)
        )
        return replace(program, kernels=tuple(kept), calls=calls, preparations=preparations)


@dataclass(frozen=True)
class _Shared:
    """The kernel that stands for another one, and what its own sizes are then."""

    kernel: str
    sizes: tuple[int, ...]

    def call(self, call: Call) -> Call:
        return replace(call, kernel=self.kernel, sizes=(*call.sizes, *self.sizes))


def _skeleton(kernel: Kernel) -> Kernel:
    """What kernels that can be one have in common."""
    return canonical(_with_offsets(kernel, lambda number, offset: 0))


def _merged(members: list[Kernel]) -> tuple[Kernel, list[tuple[int, ...]]]:
    """One kernel for all, and the values of its additional sizes for each."""
    columns = list(zip(*(_offsets(kernel) for kernel in members), strict=True))
    varying = list(dict.fromkeys(column for column in columns if len(set(column)) > 1))
    first = members[0]
    taken = taken_names(first)
    names = {column: fresh_name(taken, "at") for column in varying}

    def offset(number: int, own: int) -> Dim:
        column = columns[number]
        return symbol(names[column]) if column in names else own

    kernel = _with_offsets(first, offset) if varying else first
    sizes = (*kernel.sizes, *names.values())
    own = [tuple(column[i] for column in varying) for i in range(len(members))]
    return replace(kernel, sizes=sizes), own


def _offsets(kernel: Kernel) -> list[int]:
    """The constants in which kernels may differ, in order."""
    found: list[int] = []

    def note(number: int, offset: int) -> Dim:
        found.append(offset)
        return offset

    _with_offsets(kernel, note)
    return found


def _with_offsets(kernel: Kernel, new: Callable[[int, int], Dim]) -> Kernel:
    """Each such constant replaced: `new` takes its number and what it is."""
    registers = register_names(kernel)
    once = {s.index for s in statements(kernel.body) if isinstance(s, For) and s.extent == 1}
    counters = _counter_names(kernel)
    count = 0

    def moved(expr: Expr) -> Expr:
        nonlocal count
        dim = as_dim(expr)
        if dim is None:
            return expr
        offset = _constant(dim)
        count += 1
        changed = new(count - 1, offset)
        return expr if changed == offset else from_dim(dim - offset + changed)

    def subscript(expr: Expr) -> Expr:
        dim = as_dim(expr)
        return expr if dim is None or symbols(dim) - once else moved(expr)

    def subscripts(indices: Iterable[Expr]) -> tuple[Expr, ...]:
        return tuple(map(subscript, indices))

    def in_expr(expr: Expr) -> Expr:
        match expr:
            case Load() if expr.buffer not in registers:
                return replace(expr, indices=subscripts(expr.indices))
            case Philox():
                return replace(expr, high=moved(expr.high))
        return expr

    def in_statement(statement: Statement) -> Statement:
        match statement:
            case Store() if statement.buffer not in registers:
                return replace(statement, indices=subscripts(statement.indices))
            case Let() if statement.name in counters:
                return replace(statement, value=moved(statement.value))
        return statement

    body: Block = map_expressions(kernel.body, lambda e: rewrite(e, in_expr))
    return replace(kernel, body=map_statements(body, in_statement))


def _counter_names(kernel: Kernel) -> frozenset[str]:
    """The values that are upper halves of random numbers' counters."""
    highs = [e.high for e in expressions_of(kernel.body) if isinstance(e, Philox)]
    return frozenset(high.name for high in highs if isinstance(high, Var))


def _constant(dim: Dim) -> int:
    return dim if isinstance(dim, int) else dict(dim.terms).get((), 0)
