"""A kernel of the loop IR to an LLVM function.

In: a `Kernel`, what is known of its arguments. Out: a function in the module,

    define hidden i32 @NAME.kernel(ptr noalias %x, …, i64 %N, …, ptr noalias %scratch, ptr %pool)

that returns 0, or the status of the check that failed; the pool is there where a loop is parallel.
Serial loops become blocks, register arrays and nothing else are carried around them by phis;
unrolled loops are emitted once per index; vector loops become explicit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from stepwell.codegen.debug import DebugInfo
from stepwell.codegen.expressions import (
    dim_value,
)
from stepwell.codegen.memory import order_streams
from stepwell.codegen.state import (
    Emission,
    MemoryBuffer,
    materialise,
)
from stepwell.codegen.statements import Statements
from stepwell.codegen.values import (
    I8,
    I32,
    I64,
    POINTER,
    Linear,
    constant,
)
from stepwell.ir.loop.core import (
    ALIGNMENT,
    Check,
    For,
    If,
    Kernel,
    Let,
    Store,
    is_parallel,
    scratch_buffers,
    statements,
)
from stepwell.ir.scalar import Expr, Load, Var, walk
from stepwell.ir.target import Target


@dataclass(frozen=True)
class ArgumentFacts:
    """What all calls of a kernel have in common about one argument."""

    noalias: bool
    alignment: int


def declare_kernel(module: Any, kernel: Kernel, symbol: str, facts: Sequence[ArgumentFacts]) -> Any:
    """The kernel's function, without a body."""
    arguments = [POINTER] * len(kernel.parameters) + [I64] * len(kernel.sizes) + [POINTER]
    arguments += [POINTER] * is_parallel(kernel)
    function = ir.Function(module, ir.FunctionType(I32, arguments), symbol)
    function.attributes.add("nounwind")
    function.attributes.add("noinline")
    for parameter, argument, fact in zip(kernel.parameters, function.args, facts, strict=False):
        argument.name = parameter.buffer.name
        argument.attributes.align = fact.alignment
        if fact.noalias:
            argument.add_attribute("noalias")
        size = parameter.buffer.bytes
        if isinstance(size, int) and size > 0:
            argument.attributes.dereferenceable = size
            argument.add_attribute("nonnull")
    for name, argument in zip(kernel.sizes, function.args[len(kernel.parameters) :], strict=False):
        argument.name = name
    scratch = _scratch(function, kernel)
    scratch.name = "scratch"
    scratch.add_attribute("noalias")
    return function


def _scratch(function: Any, kernel: Kernel) -> Any:
    return function.args[len(kernel.parameters) + len(kernel.sizes)]


def emit_kernel(
    function: Any,
    kernel: Kernel,
    facts: Sequence[ArgumentFacts],
    codes: dict[str, int],
    target: Target,
    debug: DebugInfo,
) -> None:
    """The function's body."""
    entry = ir.IRBuilder(function.append_basic_block("entry"))
    start = function.append_basic_block("start")
    subprogram = debug.subprogram(kernel.name, kernel.span)
    if subprogram is not None:
        function.set_metadata("dbg", subprogram)
        entry.debug_metadata = debug.location(kernel.span, subprogram)
    builder = ir.IRBuilder(start)
    builder.debug_metadata = entry.debug_metadata
    e = Emission(builder, function, entry, target, codes, sizes=frozenset(kernel.sizes))
    for parameter, argument, fact in zip(kernel.parameters, function.args, facts, strict=False):
        buffer = parameter.buffer
        e.memory[buffer.name] = MemoryBuffer(buffer, argument, fact.alignment, fact.noalias)
    for name, argument in zip(kernel.sizes, function.args[len(kernel.parameters) :], strict=False):
        e.variables[name] = Linear(argument)
        e.nonnegative.add(name)
    e.pool = function.args[-1] if is_parallel(kernel) else None
    _place_scratch(e, kernel)
    emitter = Statements(e, _vector_arrays(kernel), debug, subprogram)
    emitter.block(kernel.body)
    order_streams(e, kernel.body)
    e.builder.ret(constant(I32, 0))
    entry.branch(start)


def _place_scratch(e: Emission, kernel: Kernel) -> None:
    """The kernel's scratch buffers, at their offsets from the last argument."""
    for buffer, offset in scratch_buffers(kernel):
        with e.in_entry():
            place = materialise(e, dim_value(e, offset))
        pointer = e.entry.gep(_scratch(e.function, kernel), [place], source_etype=I8)
        e.memory[buffer.name] = MemoryBuffer(buffer, pointer, ALIGNMENT)


def _vector_arrays(kernel: Kernel) -> dict[str, int]:
    """Register arrays whose last subscript is some vector loop's index, with its extent."""
    extents: dict[str, int] = {}
    arrays: dict[str, int] = {}

    def see(name: str, indices: Sequence[Expr]) -> None:
        if indices and isinstance(indices[-1], Var) and indices[-1].name in extents:
            arrays[name] = extents[indices[-1].name]

    for statement in statements(kernel.body):
        match statement:
            case For(index=index, kind="vector", extent=int(extent)) if extent > 1:
                extents[index] = extent
            case Store(buffer=buffer, indices=indices, value=value):
                see(buffer, indices)
                _see_loads(value, see)
            case Let(value=value) | If(condition=value) | Check(condition=value):
                _see_loads(value, see)
    return arrays


def _see_loads(value: Expr, see: Any) -> None:
    for expr in walk(value):
        if isinstance(expr, Load):
            see(expr.buffer, expr.indices)
