"""The rules of a kernel: what every pass may rely on, and must keep.

In: a kernel. Out: nothing, or a `VerifyError` that shows the line at fault.

    alloc acc: f32[N] register

    VerifyError: `acc`: a register buffer's shape is made of numbers
      | alloc acc: f32[N] register
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^

The rules are those of `stepwell.ir.loop.core`: names once, everything in scope, one dtype on both
sides, one subscript per dimension, vector loops that are vectors, registers that can be registers,
parallel loops whose iterations write apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import NoReturn

from stepwell.ir.diagnostics import VerifyError
from stepwell.ir.dtypes import BOOL, I64, DType
from stepwell.ir.loop.analysis import own_expressions
from stepwell.ir.loop.code_size import code_size
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    Let,
    Prefetch,
    Statement,
    Store,
)
from stepwell.ir.loop.expression_rules import Fault, check_expression
from stepwell.ir.loop.printer import signature_line, statement_line
from stepwell.ir.scalar import Expr, Horizontal, Load, Var, as_dim, variables, walk
from stepwell.ir.size import Dim, evaluate, symbols

MOST_CODE = 1 << 16  # instructions of a loop, unrolled
MOST_TRIED = 4096  # places of a register subscript


def verify_kernel(kernel: Kernel) -> None:
    """Raises VerifyError for the first rule that the kernel breaks."""
    verifier = _KernelVerifier(kernel)
    verifier.signature()
    verifier.block(kernel.body, verifier.scope())


@dataclass(frozen=True)
class _Scope:
    """What a statement sees."""

    variables: Mapping[str, DType]
    buffers: Mapping[str, Buffer]
    loops: tuple[For, ...] = ()
    private: frozenset[str] = frozenset()  # depends on the innermost parallel loop's index
    chosen: bool = False  # under a condition that depends on it
    outside: frozenset[str] = frozenset()  # buffers allocated outside the innermost parallel loop

    def loop(self, kind: str) -> For | None:
        """The innermost loop of a kind around."""
        return next((loop for loop in reversed(self.loops) if loop.kind == kind), None)

    def depends(self, expr: Expr) -> bool:
        """Whether the value may differ between iterations of the innermost parallel loop."""
        names = variables(expr) & self.private
        return bool(names) or any(isinstance(e, Load) for e in walk(expr))


@dataclass
class _KernelVerifier:
    kernel: Kernel
    names: set[str] = field(default_factory=set)
    buffer_names: set[str] = field(default_factory=set)
    read_only: frozenset[str] = frozenset()
    by_lane: dict[str, bool] = field(default_factory=dict)  # register → accessed lane by lane

    def fail(self, message: str, at: Statement | None = None) -> NoReturn:
        where = f"kernel `{self.kernel.name}`: {message}"
        if at is None:
            raise VerifyError(where, signature_line(self.kernel), self.kernel.span)
        raise VerifyError(where, statement_line(at), at.span)

    def take(self, name: str, taken: set[str], at: Statement | None = None) -> None:
        if name in taken:
            self.fail(f"the name `{name}` is used twice", at)
        taken.add(name)

    # ------------------------------------------------------------------ the signature

    def signature(self) -> None:
        sizes = frozenset(self.kernel.sizes)
        for name in self.kernel.sizes:
            self.take(name, self.names)
        for parameter in self.kernel.parameters:
            buffer = parameter.buffer
            self.take(buffer.name, self.buffer_names)
            self.only(buffer.shape, sizes, f"the shape of `{buffer.name}`")
            if buffer.space != "memory":
                self.fail(f"`{buffer.name}` is a parameter, so it is in memory")
        self.only([self.kernel.flops], sizes, "flops")
        names = (p.buffer.name for p in self.kernel.parameters if not p.is_written)
        self.read_only = frozenset(names)

    def only(
        self, dims: Iterable[Dim], known: frozenset[str], what: str, at: Statement | None = None
    ) -> None:
        """Dims are over known names."""
        for dim in dims:
            unknown = sorted(symbols(dim) - known)
            if unknown:
                self.fail(f"{what} depends on `{unknown[0]}`, which is not known there", at)

    def scope(self) -> _Scope:
        buffers = {p.buffer.name: p.buffer for p in self.kernel.parameters}
        return _Scope(dict.fromkeys(self.kernel.sizes, I64), buffers)

    # ------------------------------------------------------------------ statements

    def block(self, block: Block, scope: _Scope) -> None:
        for statement in block:
            for expr in own_expressions(statement):
                self.expression(expr, scope, statement)
            match statement:
                case For():
                    self.loop(statement, scope)
                case If(condition=condition, then=then, otherwise=otherwise):
                    self.boolean(condition, statement)
                    inner = replace(scope, chosen=scope.chosen or scope.depends(condition))
                    self.block(then, inner)
                    self.block(otherwise, inner)
                case Check(condition=condition):
                    self.boolean(condition, statement)
                case Let():
                    scope = self.let(statement, scope)
                case Alloc():
                    scope = self.alloc(statement, scope)
                case Store():
                    self.store(statement, scope)
                case Prefetch():
                    self.prefetch(statement, scope)

    def expression(self, expr: Expr, scope: _Scope, at: Statement) -> None:
        try:
            check_expression(expr, scope.variables, scope.buffers)
        except Fault as fault:
            self.fail(str(fault), at)
        for part in walk(expr):
            if isinstance(part, Load):
                self.register_access(part.buffer, part.indices, scope, at)
            elif isinstance(part, Horizontal):
                self.constant_subscripts(part.buffer, part.indices, scope, at)
                self.horizontal(part, scope, at)

    def bounded(self, loop: For) -> None:
        """What LLVM takes for a body grows faster than the body."""
        size = code_size((loop,))
        if size > MOST_CODE:
            self.fail(f"unrolled, this is {size} instructions, more than {MOST_CODE}", loop)

    def boolean(self, condition: Expr, at: Statement) -> None:
        if condition.dtype != BOOL:
            self.fail(f"a condition is bool, this is {condition.dtype}", at)

    def loop(self, loop: For, scope: _Scope) -> None:
        self.take(loop.index, self.names, loop)
        known = {*self.kernel.sizes, *(outer.index for outer in scope.loops)}
        self.only([loop.extent], frozenset(known), "the extent", loop)
        if loop.kind in ("vector", "unrolled") and not isinstance(loop.extent, int):
            self.fail(f"the extent of a loop that is {loop.kind} is a number", loop)
        vector = scope.loop("vector")
        if vector is not None and loop.kind != "unrolled":
            inner = "vector loops do not nest" if loop.kind == "vector" else None
            self.fail(inner or f"a vector loop holds no {loop.kind} loop", loop)
        if loop.kind == "vector" and not _is_power_of_two(loop.extent):
            self.fail("the extent of a vector loop is a power of two", loop)
        if loop.kind == "unrolled" and not scope.loop("unrolled"):
            self.bounded(loop)
        private = scope.private
        if symbols(loop.extent) & private:
            private = private | {loop.index}
        inside = replace(
            scope,
            variables={**scope.variables, loop.index: I64},
            loops=(*scope.loops, loop),
            private=private,
        )
        if loop.kind == "parallel":
            outside = frozenset(scope.buffers)
            private = frozenset({loop.index})
            inside = replace(inside, private=private, chosen=False, outside=outside)
        self.block(loop.body, inside)

    def let(self, let: Let, scope: _Scope) -> _Scope:
        self.take(let.name, self.names, let)
        private = scope.private
        if scope.depends(let.value):
            private = private | {let.name}
        variables = {**scope.variables, let.name: let.value.dtype}
        return replace(scope, variables=variables, private=private)

    def alloc(self, alloc: Alloc, scope: _Scope) -> _Scope:
        buffer = alloc.buffer
        self.take(buffer.name, self.buffer_names, alloc)
        if buffer.space == "memory":
            self.fail(f"`{buffer.name}`: a local buffer is in scratch or in registers", alloc)
        sizes = frozenset(self.kernel.sizes)
        self.only(buffer.shape, sizes, f"the shape of `{buffer.name}`", alloc)
        if buffer.space == "register":
            if not all(isinstance(dim, int) for dim in buffer.shape):
                self.fail(f"`{buffer.name}`: a register buffer's shape is made of numbers", alloc)
        elif scope.loop("parallel") is not None:
            self.fail(f"`{buffer.name}`: scratch in a parallel loop would be shared", alloc)
        return replace(scope, buffers={**scope.buffers, buffer.name: buffer})

    def store(self, store: Store, scope: _Scope) -> None:
        name = store.buffer
        if name not in scope.buffers:
            self.fail(f"there is no buffer `{name}` here", store)
        buffer = scope.buffers[name]
        if name in self.read_only:
            self.fail(f"`{name}` is an input of the kernel: it is not written", store)
        if len(store.indices) != len(buffer.shape):
            given = len(store.indices)
            self.fail(f"`{name}` has {len(buffer.shape)} dimensions, {given} subscripts", store)
        for index in store.indices:
            if index.dtype != I64:
                self.fail(f"a subscript is i64, this is {index.dtype}", store)
        if store.value.dtype != buffer.dtype:
            self.fail(f"`{name}` holds {buffer.dtype}, the value is {store.value.dtype}", store)
        self.register_access(name, store.indices, scope, store)
        if store.stream and buffer.space != "memory":
            self.fail(f"`{name}` is not a parameter: a store to it is not streamed", store)
        if name in scope.outside and buffer.space == "register":
            self.fail(f"`{name}` is in the registers of another thread", store)
        apart = scope.chosen or any(scope.depends(index) for index in store.indices)
        if name in scope.outside and not apart:
            self.fail(f"every iteration of the parallel loop writes this of `{name}`", store)

    def prefetch(self, hint: Prefetch, scope: _Scope) -> None:
        name, indices = hint.buffer, hint.indices
        if name not in scope.buffers or scope.buffers[name].space == "register":
            self.fail(f"`{name}` is not in memory: it is not prefetched", hint)
        if scope.loop("vector") is not None:
            self.fail("a vector loop holds no prefetch", hint)
        rank = len(scope.buffers[name].shape)
        if len(indices) != rank:
            self.fail(f"`{name}` has {rank} dimensions, {len(indices)} subscripts", hint)
        if any(as_dim(index) is None for index in indices):
            self.fail("a prefetch's subscripts are made of indices and sizes", hint)

    # ------------------------------------------------------------------ registers

    def register_access(
        self, name: str, indices: tuple[Expr, ...], scope: _Scope, at: Statement
    ) -> None:
        buffer = scope.buffers[name]
        if buffer.space != "register" or not indices:
            return
        *first, last = indices
        vector = scope.loop("vector")
        if vector is not None and last == Var(vector.index):
            self.lane_access(name, vector, scope, at)
        else:
            first.append(last)
            self.set_lanes(name, False, at)
        self.constant_subscripts(name, first, scope, at)

    def constant_subscripts(
        self, name: str, indices: Sequence[Expr], scope: _Scope, at: Statement
    ) -> None:
        buffer = scope.buffers[name]
        unrolled = {loop.index for loop in scope.loops if loop.kind == "unrolled"}
        extents = {loop.index: loop.extent for loop in scope.loops}
        for index, size in zip(indices, buffer.shape, strict=False):
            dim = as_dim(index)
            if dim is None or symbols(dim) - unrolled:
                message = "a subscript of a register is constant once unrolled loops are unrolled"
                self.fail(f"`{name}`: {message}", at)
            if not _stays_within(dim, size, extents):
                self.fail(f"`{name}`: the subscript {dim} can leave its axis of {size}", at)

    def horizontal(self, expr: Horizontal, scope: _Scope, at: Statement) -> None:
        """What a horizontal operation combines: a power of two of elements."""
        combined = scope.buffers[expr.buffer].shape[len(expr.indices) :]
        count = prod(dim if isinstance(dim, int) else 0 for dim in combined)
        if not combined or not _is_power_of_two(count):
            self.fail(f"`{expr.buffer}` has {count} lanes: not a power of two", at)

    def lane_access(self, name: str, vector: For, scope: _Scope, at: Statement) -> None:
        """All lanes at once, by a vector loop's index."""
        buffer = scope.buffers[name]
        if buffer.space != "register":
            self.fail(f"`{name}` is not in registers", at)
        if buffer.shape[-1] != vector.extent:
            extent = f"the last dimension of `{name}` is {buffer.shape[-1]}"
            self.fail(f"{extent}, the vector loop's extent {vector.extent}", at)
        self.set_lanes(name, True, at)

    def set_lanes(self, name: str, by_lane: bool, at: Statement) -> None:
        if self.by_lane.setdefault(name, by_lane) != by_lane:
            self.fail(f"`{name}` is accessed as a vector in one place, not in another", at)


def _stays_within(dim: Dim, size: Dim, extents: Mapping[str, Dim]) -> bool:
    """Whether a dim in unrolled loops' indices is in 0..size whatever they are."""
    low = high = dim if isinstance(dim, int) else 0
    for monomial, factor in () if isinstance(dim, int) else dim.terms:
        largest = 1
        for atom in monomial:
            extent = extents.get(atom.name)
            if not isinstance(extent, int):  # a quotient or the like
                return _never_outside(dim, size, extents)
            largest *= max(extent - 1, 0)
        low += min(factor * largest, 0) if monomial else factor
        high += max(factor * largest, 0) if monomial else factor
    return low >= 0 and (not isinstance(size, int) or high < size)


def _never_outside(dim: Dim, size: Dim, extents: Mapping[str, Dim]) -> bool:
    """The same by trying every combination of the indices."""
    names = sorted(symbols(dim))
    known = [extents[name] for name in names]
    counts = [extent for extent in known if isinstance(extent, int)]
    if len(counts) != len(known) or prod(counts) > MOST_TRIED:
        return False
    places = (dict(zip(names, place, strict=True)) for place in product(*map(range, counts)))
    found = [evaluate(dim, place) for place in places]
    return all(at >= 0 and (not isinstance(size, int) or at < size) for at in found)


def _is_power_of_two(extent: Dim) -> bool:
    return isinstance(extent, int) and extent > 0 and extent & (extent - 1) == 0
