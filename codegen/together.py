"""Calls that are together: one job of the pool, of which they are the tasks.

In: the kernels' functions and arguments. Out: a function that runs what is left of them, a call,

    together { call f(x, y)  call g(x, z) }
      →
    define internal void @NAME_run.together(ptr %frame, i64 %part)
      take: %i = atomicrmw add ptr %next, i64 1    switch %i: 0 → f, 1 → g, else return
    %frame = alloca { i64, i64, ptr, ptr, ptr, … }    next, failure, what the calls are given
    call void %run(ptr %context, ptr @NAME_run.together, ptr %frame, i64 min(threads, 2))

Each thread takes the next call when it is done with one. With one thread the function is called at
once. Of calls that fail the first in order tells: the least `number << 32 | status` is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from stepwell.codegen.parallel import NO_FAILURE, in_frame, run_tasks
from stepwell.codegen.state import Emission, scalar
from stepwell.codegen.values import I32, I64, POINTER, Linear, LLVMValue, constant
from stepwell.ir.loop.core import THREADS

_KNOWN = (ir.Constant, ir.GlobalValue)  # the same in every function
_NEXT, _FAILURE, _GIVEN = 0, 1, 2  # fields of the frame


@dataclass(frozen=True)
class Member:
    """A kernel's function, what it is given, and whether it can fail."""

    function: Any
    arguments: list[LLVMValue]
    can_fail: bool


@dataclass(frozen=True)
class _Frame:
    """What the function needs, in the memory of the one that calls it."""

    values: list[LLVMValue]

    @property
    def type(self) -> Any:
        return ir.LiteralStructType([I64, I64, *(value.type for value in self.values)])

    def field(self, builder: Any, place: LLVMValue, number: int) -> LLVMValue:
        places = [constant(I32, 0), constant(I32, number)]
        return builder.gep(place, places, source_etype=self.type)


def call_together(e: Emission, members: Sequence[Member]) -> LLVMValue:
    """Runs the members at once; 0, or the status of the first that failed."""
    found = (a for m in members for a in m.arguments if not isinstance(a, _KNOWN))
    frame = _Frame(list(dict.fromkeys(found)))
    place = in_frame(e.entry, frame.type)
    starts = [constant(I64, 0), constant(I64, NO_FAILURE), *frame.values]
    for number, value in enumerate(starts):
        e.builder.store(value, frame.field(e.builder, place, number))
    task = _task(e.function, members, frame)
    threads = e.variables[THREADS]
    assert isinstance(threads, Linear), "a number of threads"
    team, count = scalar(e, threads), constant(I64, len(members))
    few = e.builder.icmp_signed("<", team, count)
    parts = e.builder.select(few, team, count)
    run_tasks(e, task, place, parts, "together")
    failure = e.builder.load(frame.field(e.builder, place, _FAILURE), typ=I64)
    none = e.builder.icmp_signed("==", failure, constant(I64, NO_FAILURE))
    return e.builder.select(none, constant(I32, 0), e.builder.trunc(failure, I32))


def _task(caller: Any, members: Sequence[Member], frame: _Frame) -> Any:
    """`void task(frame, part)`: members while there is one that nobody has taken."""
    module = caller.module
    name = module.get_unique_name(f"{caller.name}.together")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    place, _ = function.args
    entry, take, done = (function.append_basic_block(n) for n in ("entry", "take", "done"))
    ir.IRBuilder(entry).branch(take)
    ir.IRBuilder(done).ret_void()
    builder = ir.IRBuilder(take)
    following = frame.field(builder, place, _NEXT)
    number = builder.atomic_rmw("add", following, constant(I64, 1), "monotonic")
    switch = builder.switch(number, done)
    for i, member in enumerate(members):
        block = function.append_basic_block(f"member{i}")
        switch.add_case(constant(I64, i), block)
        inner = ir.IRBuilder(block)
        _run(inner, member, frame, place, i)
        inner.branch(take)
    return function


def _run(builder: Any, member: Member, frame: _Frame, place: LLVMValue, number: int) -> None:
    """Calls a member; its failure is noted."""
    arguments = []
    for value in member.arguments:
        if not isinstance(value, _KNOWN):
            field = frame.field(builder, place, _GIVEN + frame.values.index(value))
            value = builder.load(field, typ=value.type)
        arguments.append(value)
    status = builder.call(member.function, arguments)
    if not member.can_fail:
        return
    with builder.if_then(builder.icmp_signed("!=", status, constant(I32, 0))):
        failure = builder.or_(constant(I64, number << 32), builder.zext(status, I64))
        builder.atomic_rmw("umin", frame.field(builder, place, _FAILURE), failure, "monotonic")
