"""What the functions that C calls are made of: checks, places of buffers, calls of kernels.

In: a program and its kernels' functions. Out: `EntryPoints`, which `entry.py` and
`prepare_entry.py` emit their functions with.

    _require(e, is_given(e, x), 1)   →   br i1 %given, label %fine, label %refused … ret i32 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from stepwell.codegen import c_names, interface
from stepwell.codegen.clock import stamp
from stepwell.codegen.conditions import conjunction_of
from stepwell.codegen.expressions import dim_value
from stepwell.codegen.state import Emission, materialise
from stepwell.codegen.together import Member, call_together
from stepwell.codegen.values import I8, I32, I64, POINTER, Linear, LLVMValue, constant
from stepwell.ir.loop.core import (
    ALIGNMENT,
    Call,
    Check,
    Program,
    ProgramBuffer,
    is_parallel,
    statements,
)
from stepwell.ir.size import Dim
from stepwell.ir.target import Target


@dataclass
class EntryPoints:
    """Of one program, in one module."""

    module: Any
    program: Program
    target: Target
    kernels: Mapping[str, Any]

    @property
    def name(self) -> str:
        return c_names.symbol(self.program.name)

    def _function(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        kind = ir.FunctionType(result, list(arguments))
        function = ir.Function(self.module, kind, f"{self.name}_{name}")
        function.attributes.add("nounwind")
        return function

    def _returning(self, name: str, type: Any, value: LLVMValue) -> None:
        function = self._function(name, type, [])
        ir.IRBuilder(function.append_basic_block()).ret(value)

    def _text(self, name: str, text: str) -> Any:
        data = bytearray(text.encode() + b"\0")
        type = ir.ArrayType(I8, len(data))
        return self._private(f".{name}", type, ir.Constant(type, data), 1)

    def _private(self, name: str, type: Any, initializer: Any, align: int) -> Any:
        found = ir.GlobalVariable(self.module, type, f"{self.name}{name}")
        found.initializer = initializer
        found.global_constant = True
        found.linkage = "internal"
        found.align = align
        return found

    def data(self) -> dict[str, LLVMValue]:
        """The program's constants."""
        items = self.program.with_role("constant")
        return {item.buffer.name: self._data(item) for item in items}

    def _data(self, item: ProgramBuffer) -> Any:
        """A constant's numbers, as bytes in the object."""
        assert item.data is not None, f"constant {item.buffer.name} has no data"
        data = bytearray(item.data.astype(item.buffer.dtype.numpy, order="C").tobytes()) or b"\0"
        type = ir.ArrayType(I8, len(data))
        initializer = ir.Constant(type, bytearray(data))
        return self._private(f".constant.{item.buffer.name}", type, initializer, ALIGNMENT)

    def _emission(self, function: Any, sizes: Sequence[str]) -> Emission:
        """A state in which dims over the program's sizes can be evaluated."""
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        e = Emission(builder, function, builder, self.target, {})
        for name, argument in zip(sizes, function.args, strict=False):
            argument.name = name
            e.variables[name] = Linear(argument)
            e.nonnegative.add(name)
        return e

    def _require(self, e: Emission, holds: LLVMValue, result: LLVMValue) -> None:
        failed, fine = e.block("refused"), e.block("fine")
        e.builder.cbranch(holds, fine, failed)
        e.enter(failed)
        e.builder.ret(result)
        e.enter(fine)

    def _needed(
        self, e: Emission, pointers: Sequence[tuple[LLVMValue, Dim]], hold: Any
    ) -> LLVMValue:
        """Whether `hold(pointer)` for each pointer to something; one to nothing may be anything."""
        conditions = []
        for pointer, size in pointers:
            if size == 0:
                continue
            holds = hold(pointer)
            if not isinstance(size, int):
                bytes = materialise(e, dim_value(e, size))
                empty = e.builder.icmp_signed("<=", bytes, constant(I64, 0))
                holds = e.builder.or_(holds, empty)
            conditions.append(holds)
        return conjunction_of(e, conditions)

    @property
    def _fingerprint(self) -> LLVMValue:
        return constant(I64, interface.fingerprint(self.program))

    def _in_weights(self, e: Emission, weights: LLVMValue) -> dict[str, LLVMValue]:
        offsets, _ = interface.weight_layout(self.program)
        return {name: _moved(e, weights, offset) for name, offset in offsets.items()}

    def _in_state(self, e: Emission, state: LLVMValue) -> dict[str, LLVMValue]:
        offsets, _ = interface.state_layout(self.program)
        return {name: _moved(e, state, offset) for name, offset in offsets.items()}

    def _in_workspace(self, e: Emission, workspace: LLVMValue, role: str) -> dict[str, LLVMValue]:
        """The buffers of a role that have an offset."""
        return {
            item.buffer.name: _moved(e, workspace, item.offset)
            for item in self.program.with_role(role)
            if item.offset is not None
        }

    def _steps(
        self,
        e: Emission,
        steps: Sequence[Sequence[Call]],
        places: Mapping[str, LLVMValue],
        workspace: LLVMValue,
        times: LLVMValue | None = None,
    ) -> None:
        if times is not None:
            stamp(e.builder, self.module, times, 0)
        for number, calls in enumerate(steps, start=1):
            members = [self._member(e, call, places, workspace) for call in calls]
            if len(members) > 1:
                status = call_together(e, members)
            else:
                status = e.builder.call(members[0].function, members[0].arguments)
            if any(member.can_fail for member in members):
                fine = e.builder.icmp_signed("==", status, constant(I32, interface.OK))
                self._require(e, fine, status)
            if times is not None:
                stamp(e.builder, self.module, times, number)

    def _member(
        self, e: Emission, call: Call, places: Mapping[str, LLVMValue], workspace: LLVMValue
    ) -> Member:
        """A call's function, and what it is given."""
        arguments = [places[name] for name in call.arguments]
        arguments += [materialise(e, dim_value(e, size)) for size in call.sizes]
        arguments.append(_moved(e, workspace, call.scratch or 0))
        kernel = self.program.kernel(call.kernel)
        if is_parallel(kernel):
            arguments.append(e.pool)
        can_fail = any(isinstance(s, Check) for s in statements(kernel.body))
        return Member(self.kernels[call.kernel], arguments, can_fail)

    def _error_message(self) -> None:
        function = self._function("error_message", POINTER, [I32])
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        unknown = function.append_basic_block("unknown")
        switch = builder.switch(function.args[0], unknown)
        for status in interface.statuses(self.program):
            block = function.append_basic_block(f"status{status.code}")
            message = self._text(f".message{status.code}", status.message)
            ir.IRBuilder(block).ret(message)
            switch.add_case(constant(I32, status.code), block)
        ir.IRBuilder(unknown).ret(self._text(".message", "unknown status"))


def _moved(e: Emission, pointer: LLVMValue, bytes: Dim) -> LLVMValue:
    if bytes == 0:
        return pointer
    return e.builder.gep(pointer, [materialise(e, dim_value(e, bytes))], source_etype=I8)
