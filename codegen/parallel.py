"""A parallel loop: its body becomes a function, which a pool of threads calls for each iteration.

In: the loop, the state of emission. Out: two functions, and a call,

    for t in 0..T parallel { S }
      →
    define internal i32 @K.t(ptr noalias %x, …, i64 %N, …, i64 %t)    S, given what it uses
    define internal void @K.t.task(ptr %shared, i64 %t)               unpacks, calls, notes failure
    %shared = alloca { i64, ptr, …, i64, … }
    call void %run(ptr %context, ptr @K.t.task, ptr %shared, i64 T)

A single iteration is called at once. Where checks fail, the status is that of the first iteration
in which one does, whoever came first: the least `t << 32 | status` is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from stepwell.codegen.memory import order_streams
from stepwell.codegen.registers import RegisterArray
from stepwell.codegen.state import Emission, MemoryBuffer, scalar
from stepwell.codegen.values import I32, I64, POINTER, Linear, LLVMValue, Value, constant
from stepwell.ir.loop.analysis import reads, variables_of, writes
from stepwell.ir.loop.core import Check, For, statements
from stepwell.ir.size import symbols

if TYPE_CHECKING:
    from stepwell.codegen.statements import Statements

POOL = ir.LiteralStructType([POINTER, POINTER, I64])  # run, context, threads
NO_FAILURE = -1
_CONTINUED = "noinline"  # so that what is known of the pointers stays known


@dataclass(frozen=True)
class _Captured:
    """What a loop's body uses of what is around it."""

    memory: dict[str, MemoryBuffer]
    variables: dict[str, Value]
    registers: dict[str, RegisterArray]

    @classmethod
    def of(cls, e: Emission, loop: For) -> _Captured:
        used = reads(loop.body) | writes(loop.body)
        memory = {name: buffer for name, buffer in e.memory.items() if name in used}
        names = variables_of(loop.body) - {loop.index}
        for buffer in memory.values():
            names |= {name for dim in buffer.buffer.shape for name in symbols(dim)}
        variables = {name: value for name, value in e.variables.items() if name in names}
        registers = {name: array for name, array in e.registers.items() if name in used}
        return cls(memory, variables, registers)

    def values(self, e: Emission) -> list[LLVMValue]:
        """In order; numbers that are known when compiling are not among them."""
        found = [buffer.pointer for buffer in self.memory.values()]
        for value in self.variables.values():
            if not isinstance(value, Linear):
                found.append(value)
            elif not value.is_constant:
                found.append(scalar(e, value))
        for array in self.registers.values():
            found += array.values
        return found

    def given(self, arguments: Iterator[LLVMValue]) -> _Captured:
        """The same in a function that has the values as arguments."""
        memory = {
            name: replace(buffer, pointer=_pointer(next(arguments), buffer))
            for name, buffer in self.memory.items()
        }
        variables = {
            name: value if isinstance(value, Linear) and value.is_constant
            else Linear(next(arguments)) if isinstance(value, Linear)
            else next(arguments)
            for name, value in self.variables.items()
        }  # fmt: skip
        registers = {
            name: replace(array, values=[next(arguments) for _ in array.values])
            for name, array in self.registers.items()
        }
        return _Captured(memory, variables, registers)


def _pointer(argument: Any, buffer: MemoryBuffer) -> Any:
    argument.name = buffer.buffer.name
    argument.attributes.align = buffer.alignment
    if buffer.noalias:
        argument.add_attribute("noalias")
    return argument


def emit_parallel(outer: Statements, loop: For, extent: Linear) -> None:
    """The loop as a job of the pool; returns from the kernel where a check failed."""
    e = outer.e
    captured = _Captured.of(e, loop)
    values = captured.values(e)
    can_fail = any(isinstance(s, Check) for s in statements(loop.body))
    types = [value.type for value in values]
    task = _unpacking(_body(outer, loop, captured, types), types, can_fail)
    shared = in_frame(e.entry, _shared(types))
    e.builder.store(constant(I64, NO_FAILURE), _field(e.builder, shared, types, 0))
    for number, value in enumerate(values, start=1):
        e.builder.store(value, _field(e.builder, shared, types, number))
    count = scalar(e, extent)
    run_tasks(e, task, shared, count, loop.index)
    if can_fail:
        _leave_if_failed(e, _field(e.builder, shared, types, 0))


def run_tasks(e: Emission, task: Any, argument: LLVMValue, count: LLVMValue, name: str) -> None:
    """The tasks by the pool; one alone is called at once. `name` is that of the blocks."""
    alone, many, done = (e.block(f"{name}.{part}") for part in ("alone", "many", "done"))
    e.builder.cbranch(e.builder.icmp_signed("==", count, constant(I64, 1)), alone, many)
    e.enter(alone)
    e.builder.call(task, [argument, constant(I64, 0)])
    e.builder.branch(done)
    e.enter(many)
    _call_pool(e, task, argument, count)
    e.builder.branch(done)
    e.enter(done)


def in_frame(builder: Any, type: Any) -> LLVMValue:
    """Memory in the function's frame."""
    place = builder.alloca(type)
    place.type = POINTER
    return place


def _shared(types: list[Any]) -> Any:
    return ir.LiteralStructType([I64, *types])


def _field(builder: Any, shared: LLVMValue, types: list[Any], number: int) -> LLVMValue:
    places = [constant(I32, 0), constant(I32, number)]
    return builder.gep(shared, places, source_etype=_shared(types))


def _body(outer: Statements, loop: For, captured: _Captured, types: list[Any]) -> Any:
    """The function of one iteration; 0, or the status of the check that failed."""
    around = outer.e
    name = f"{around.function.name}.{loop.index}"
    kind = ir.FunctionType(I32, [*types, I64])
    function = ir.Function(around.builder.module, kind, name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    function.attributes.add(_CONTINUED)
    *arguments, index = function.args
    index.name = loop.index
    entry = ir.IRBuilder(function.append_basic_block("entry"))
    builder = ir.IRBuilder(function.append_basic_block("start"))
    subprogram = outer.debug.subprogram(name, loop.span)
    if subprogram is not None:
        function.set_metadata("dbg", subprogram)
        entry.debug_metadata = outer.debug.location(loop.span, subprogram)
        builder.debug_metadata = entry.debug_metadata
    inside = captured.given(iter(arguments))
    inner = Emission(
        builder, function, entry, around.target, around.codes,
        memory=inside.memory, registers=inside.registers,
        variables={**inside.variables, loop.index: Linear(index)},
        sizes=around.sizes & inside.variables.keys(),
        nonnegative={loop.index, *(around.nonnegative & inside.variables.keys())},
    )  # fmt: skip
    replace(outer, e=inner, subprogram=subprogram).block(loop.body)
    order_streams(inner, loop.body)
    inner.builder.ret(constant(I32, 0))
    entry.branch(builder.function.blocks[1])
    return function


def _unpacking(body: Any, types: list[Any], can_fail: bool) -> Any:
    """What the pool calls: `void task(shared, t)`."""
    kind = ir.FunctionType(ir.VoidType(), [POINTER, I64])
    function = ir.Function(body.module, kind, f"{body.name}.task")
    function.linkage = "internal"
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    shared, index = function.args
    values = [
        builder.load(_field(builder, shared, types, number), typ=type)
        for number, type in enumerate(types, start=1)
    ]
    status = builder.call(body, [*values, index])
    if can_fail:
        with builder.if_then(builder.icmp_signed("!=", status, constant(I32, 0))):
            high = builder.shl(index, constant(I64, 32))
            failure = builder.or_(high, builder.zext(status, I64))
            place = _field(builder, shared, types, 0)
            builder.atomic_rmw("umin", place, failure, "monotonic")
    builder.ret_void()
    return function


def _call_pool(e: Emission, task: Any, shared: LLVMValue, count: LLVMValue) -> None:
    """Hands so many tasks to the pool, and waits until they are done."""
    places = [
        e.builder.gep(e.pool, [constant(I32, 0), constant(I32, i)], source_etype=POOL)
        for i in range(2)
    ]
    kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, POINTER, I64])
    run = e.builder.load(places[0], typ=kind.as_pointer())
    context = e.builder.load(places[1], typ=POINTER)
    e.builder.call(run, [context, task.bitcast(POINTER), shared, count])


def _leave_if_failed(e: Emission, place: LLVMValue) -> None:
    failure = e.builder.load(place, typ=I64)
    failed, fine = e.block("failed"), e.block("checked")
    none = e.builder.icmp_signed("==", failure, constant(I64, NO_FAILURE))
    e.builder.cbranch(none, fine, failed)
    e.enter(failed)
    e.builder.ret(e.builder.trunc(failure, I32))
    e.enter(fine)
