"""The loop IR's algebra: a program calls kernels; a kernel is a loop nest over buffers.

    program   ::= Program(name, sizes, buffers, constraints, calls, kernels, workspace,
                          preparations, preparation_workspace)
    call      ::= Call(kernel, sizes, arguments, scratch, beside)
    kernel    ::= Kernel(name, sizes, parameters, body, …)
    block     ::= statement*
    statement ::= For(index, extent, kind, body)     index = 0, 1, … extent-1
                | If(condition, then, otherwise)     inside a vector loop: a mask
                | Let(name, value)                   a scalar, for the rest of its block
                | Alloc(buffer)                      a local buffer, for the rest of its block
                | Store(buffer, indices, value, stream)
                | Check(condition, message)          else the program returns an error status
                | Prefetch(buffer, indices)          a hint: this element will be read soon
    kind      ::= serial | parallel | unrolled | vector
    space     ::= memory | scratch | register
    expr      ::= see stepwell.ir.scalar (all but Reduce)

Buffers are dense and row-major; `Load` and `Store` take one subscript per dimension. Names are
unique in a kernel: no shadowing, and no two loops share an index name.

*Vector and unrolled loops* have a constant extent. In a vector loop each statement is done for all
lanes before the next: a `Let` there holds one number per lane, and an `If` on a lane-dependent
condition masks. Vector loops do not nest, and hold no serial loop. A subscript that is the lane
index plus something is a contiguous access.

*Streamed stores* are stores that go past the caches: for results that would not stay in them.

*Prefetches* bring the line of memory that holds an element into the first cache. They
mean nothing: the element need not exist, so that a loop may ask for what comes after its end.

*Parallel loops* are done by the threads of a pool. How many there are is known at run time: to a
program it is the size THREADS, which is always there; a kernel gets it, or a number of tasks made
of it, as one of its own sizes.

*Calls together*, a call and those `beside` it, may run in any order and at once: none writes what
another reads or writes. To run them in order is always right. They have no parallel loops.

*Register buffers* become SSA values, never memory. Every subscript is a constant once unrolled
loops are unrolled, except that the last one may be a vector loop's index alone: then the last
dimension is that loop's extent, in every access. `Horizontal` reduces all elements of one.

    for i in 0..N {                        row sums, 16 lanes at a time
      alloc acc: f32[16] register
      for l in 0..16 vector { acc[l] = 0.0 }
      for k in 0..K // 16 {
        for l_1 in 0..16 vector { acc[l_1] = acc[l_1] + x[i, 16*k + l_1] }
      }
      out[i] = hsum(acc)
    }
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Constraint
from stepwell.ir.scalar import Expr
from stepwell.ir.size import Dim, ceildiv, product
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

LoopKind = Literal["serial", "parallel", "unrolled", "vector"]
Space = Literal["memory", "scratch", "register"]
Role = Literal["in", "const", "out", "inout"]
ProgramRole = Literal["input", "parameter", "state", "output", "constant", "prepared", "temporary"]

KNOWN = ("parameter", "constant", "prepared")  # the roles of what is known before any run
GIVEN = ("input", "parameter", "state")  # the roles of what the caller gives


@dataclass(frozen=True)
class Buffer:
    """A dense row-major array."""

    name: str
    dtype: DType
    shape: tuple[Dim, ...]
    space: Space = "memory"

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.shape)

    @property
    def bytes(self) -> Dim:
        return product(self.shape) * self.dtype.bytes


@dataclass(frozen=True)
class For:
    index: str
    extent: Dim  # over the kernel's sizes and the indices of loops around it
    kind: LoopKind
    body: Block
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class If:
    condition: Expr
    then: Block
    otherwise: Block = ()
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Let:
    name: str
    value: Expr
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Alloc:
    buffer: Buffer
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Store:
    buffer: str
    indices: tuple[Expr, ...]
    value: Expr
    span: Span | None = field(default=None, compare=False)
    stream: bool = False


@dataclass(frozen=True)
class Check:
    condition: Expr
    message: str
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Prefetch:
    buffer: str
    indices: tuple[Expr, ...]
    span: Span | None = field(default=None, compare=False)


Statement = For | If | Let | Alloc | Store | Check | Prefetch
Block = tuple[Statement, ...]


@dataclass(frozen=True)
class KernelParameter:
    """`const` is `in` whose elements are known before any run: a program's parameter, constant or
    prepared buffer in every call."""

    buffer: Buffer
    role: Role

    @property
    def is_written(self) -> bool:
        return self.role in ("out", "inout")


@dataclass(frozen=True)
class Kernel:
    """One loop nest. `family` names the strategy that schedules it; `ops` what was fused."""

    name: str
    sizes: tuple[str, ...]
    parameters: tuple[KernelParameter, ...]
    body: Block
    family: str = "pointwise"
    ops: tuple[str, ...] = ()
    flops: Dim = 0
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Call:
    """One kernel applied: a value per size, a buffer name per parameter, in order.

    `scratch` is where in the workspace the kernel's scratch buffers lie; None before planning.
    `beside`: together with the call before it.
    """

    kernel: str
    sizes: tuple[Dim, ...]
    arguments: tuple[str, ...]
    scratch: Dim | None = None
    span: Span | None = field(default=None, compare=False)
    beside: bool = False


@dataclass(frozen=True)
class ProgramBuffer:
    """A buffer of the program. `role`: input, parameter (a weight), state (the caller's, read and
    written in place), output, constant (with data), prepared (written by preparations only), or
    temporary (in the workspace).

    `trained` tells states that a model has as parameters from those carried along with them.
    `offset` is where a temporary lies in the workspace, and where a prepared buffer that no call
    reads lies in the preparations' workspace; None before planning.
    """

    buffer: Buffer
    role: ProgramRole
    data: np.ndarray[Any, np.dtype[Any]] | None = field(default=None, compare=False)
    offset: Dim | None = None
    initializer: str = ""
    trained: bool = False


@dataclass(frozen=True)
class Program:
    """A whole model: its calls run in order, its preparations once before the first run.

    The workspaces are in bytes; None before planning. The sizes of calls, offsets and the workspace
    may depend on THREADS, besides `sizes`.
    """

    name: str
    sizes: tuple[str, ...]
    buffers: tuple[ProgramBuffer, ...]
    constraints: tuple[Constraint, ...]
    calls: tuple[Call, ...]
    kernels: tuple[Kernel, ...]
    workspace: Dim | None = None
    preparations: tuple[Call, ...] = ()
    preparation_workspace: Dim | None = None

    def buffer(self, name: str) -> ProgramBuffer:
        """The buffer called `name`. KeyError where there is none."""
        return self._named[name]

    @cached_property
    def _named(self) -> dict[str, ProgramBuffer]:
        return {item.buffer.name: item for item in reversed(self.buffers)}

    @cached_property
    def messages(self) -> tuple[str, ...]:
        """Of constraints in order, then of the kernels' checks; each once."""
        checks = (s for kernel in self.kernels for s in statements(kernel.body))
        found = [constraint.message for constraint in self.constraints]
        found += [s.message for s in checks if isinstance(s, Check)]
        return tuple(dict.fromkeys(found))

    @property
    def steps(self) -> tuple[tuple[Call, ...], ...]:
        """The calls in order, those that are together in one step."""
        found: list[list[Call]] = []
        for call in self.calls:
            if call.beside and found:
                found[-1].append(call)
            else:
                found.append([call])
        return tuple(map(tuple, found))

    def with_role(self, role: str) -> tuple[ProgramBuffer, ...]:
        return tuple(item for item in self.buffers if item.role == role)

    def kernel(self, name: str) -> Kernel:
        """The kernel called `name`. KeyError where there is none."""
        for kernel in self.kernels:
            if kernel.name == name:
                return kernel
        raise KeyError(name)

    @property
    def uses_pool(self) -> bool:
        """Whether a run takes threads: for parallel loops, or for calls that are together."""
        return any(map(is_parallel, self.kernels)) or any(call.beside for call in self.calls)

    @property
    def held(self) -> tuple[ProgramBuffer, ...]:
        """The parameters and prepared buffers that a run reads: what its weights are made of."""
        read = {name for call in self.calls for name in call.arguments}
        return tuple(
            item
            for item in self.buffers
            if item.role in ("parameter", "prepared") and item.buffer.name in read
        )


THREADS = "pool.threads"  # a program's implicit size: how many threads run it, at least 1
ALIGNMENT = 64  # bytes: of the workspace, of every buffer in it, and of weights


def aligned(size: Dim) -> Dim:
    """Bytes rounded up to the alignment."""
    return ceildiv(size, ALIGNMENT) * ALIGNMENT


def statements(block: Block) -> Iterator[Statement]:
    """Every statement in a block, outside first, in order."""
    waiting = list(reversed(block))
    while waiting:
        statement = waiting.pop()
        yield statement
        match statement:
            case For(body=body):
                waiting.extend(reversed(body))
            case If(then=then, otherwise=otherwise):
                waiting.extend(reversed(otherwise))
                waiting.extend(reversed(then))


def is_parallel(kernel: Kernel) -> bool:
    """Whether the kernel needs a pool: it has a parallel loop."""
    return any(isinstance(s, For) and s.kind == "parallel" for s in statements(kernel.body))


def bytes_moved(kernel: Kernel) -> Dim:
    """The bytes of the kernel's parameters: what it reads and writes, if once each."""
    return sum((parameter.buffer.bytes for parameter in kernel.parameters), start=0)


def scratch_buffers(kernel: Kernel) -> tuple[tuple[Buffer, Dim], ...]:
    """The kernel's scratch buffers with their byte offsets from the scratch pointer, in order."""
    placed: list[tuple[Buffer, Dim]] = []
    offset: Dim = 0
    for statement in statements(kernel.body):
        if isinstance(statement, Alloc) and statement.buffer.space == "scratch":
            placed.append((statement.buffer, offset))
            offset = offset + aligned(statement.buffer.bytes)
    return tuple(placed)


def scratch_bytes(kernel: Kernel) -> Dim:
    """Bytes of scratch that a call of the kernel needs."""
    return sum((aligned(buffer.bytes) for buffer, _ in scratch_buffers(kernel)), start=0)
