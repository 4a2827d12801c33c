"""The functions a program offers to C: NAME_run and what describes it.

In: a `Program` and its kernels' functions. Out: functions and data in the module,

    i32 @NAME_run(i64 %N, ptr %image, ptr %out, ptr %weights, ptr %workspace, ptr %pool)
    i64 @NAME_workspace_size(i64 %N, ptr %pool)
    i64 @NAME_weights_size()        ptr @NAME_weights()
    i32 @NAME_prepare(ptr %parameters, ptr %weights, ptr %workspace)
    i64 @NAME_prepare_workspace_size()
    ptr @NAME_error_message(i32 %status)    ptr @NAME_description()

NAME_run checks pointers, sizes and constraints, then calls the kernels in order; NAME_prepare
copies the parameters that a run reads into the weights, and calls the preparations. On request
there is NAME_profile beside NAME_run: one more pointer, to which it writes the time before and
after each call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from stepwell.codegen import c_names, interface
from stepwell.codegen.clock import stamp
from stepwell.codegen.conditions import (
    at_least_zero,
    conjunction_of,
    holds,
    is_aligned,
    is_given,
    magnitude,
)
from stepwell.codegen.expressions import dim_value
from stepwell.codegen.kernel import ArgumentFacts
from stepwell.codegen.parallel import POOL, in_frame
from stepwell.codegen.runtime import RESOLVE
from stepwell.codegen.state import Emission, materialise
from stepwell.codegen.values import I1, I8, I32, I64, POINTER, Linear, LLVMValue, constant
from stepwell.ir.loop.core import (
    ALIGNMENT,
    THREADS,
    Call,
    Check,
    Kernel,
    Program,
    ProgramBuffer,
    is_parallel,
    statements,
)
from stepwell.ir.size import Dim, evaluate, provably_le, symbols
from stepwell.ir.target import Target

_LARGEST = float(2**62)


def argument_facts(program: Program) -> dict[str, tuple[ArgumentFacts, ...]]:
    """For each kernel, what holds of each argument in every call."""
    facts: dict[str, tuple[ArgumentFacts, ...]] = {}
    raw = frozenset(name for call in program.preparations for name in call.arguments)
    for kernel in program.kernels:
        calls = [
            [program.buffer(name) for name in call.arguments]
            for call in (*program.preparations, *program.calls)
            if call.kernel == kernel.name
        ]
        facts[kernel.name] = tuple(
            _facts_of(kernel, position, calls, raw) for position in range(len(kernel.parameters))
        )
    return facts


def _facts_of(
    kernel: Kernel, position: int, calls: Sequence[Sequence[ProgramBuffer]], raw: frozenset[str]
) -> ArgumentFacts:
    parameter = kernel.parameters[position]
    noalias = True
    for arguments in calls:
        for other, argument in enumerate(arguments):
            written = parameter.is_written or kernel.parameters[other].is_written
            if other != position and written and _share(arguments[position], argument):
                noalias = False
    ours = [arguments[position] for arguments in calls]
    # Parameters are aligned in the weights, but may be anywhere while these are prepared.
    loose = [b for b in ours if b.role == "parameter" and b.buffer.name in raw]
    loose += [b for b in ours if b.role in ("input", "output")]
    aligned = bool(ours) and not loose
    return ArgumentFacts(noalias, ALIGNMENT if aligned else parameter.buffer.dtype.bytes)


def _share(x: ProgramBuffer, y: ProgramBuffer) -> bool:
    """Whether two buffers may lie in the same memory during one call."""
    if x.buffer.name == y.buffer.name:
        return True
    return x.role == y.role and x.offset is not None and x.offset == y.offset


@dataclass
class EntryEmitter:
    """Emits the entry points of one program into a module."""

    module: Any
    program: Program
    target: Target
    kernels: Mapping[str, Any]
    description: str
    embedded: Any = None  # a global with the weights, or None
    profile: bool = False  # whether there is NAME_profile

    def emit_preparation(self) -> None:
        """NAME_prepare alone, and what it needs."""
        names = {name for call in self.program.preparations for name in call.arguments}
        self._constants = self._all_data(names)
        self._prepare()
        self._weight_sizes()
        self._error_message()

    def emit(self) -> None:
        """All the functions."""
        self._constants = self._all_data()
        self._run("run")
        if self.profile:
            self._run("profile")
        self._prepare()
        self._workspace_size()
        self._weight_sizes()
        pointer = ir.Constant(POINTER, None) if self.embedded is None else self.embedded
        self._returning("weights", POINTER, pointer)
        self._returning("description", POINTER, self._text("description", self.description))
        self._error_message()

    def _weight_sizes(self) -> None:
        _, size = interface.weight_layout(self.program)
        self._returning("weights_size", I64, constant(I64, size))
        size = evaluate(self.program.preparation_workspace or 0, {})
        self._returning("prepare_workspace_size", I64, constant(I64, size))

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

    def _all_data(self, names: Collection[str] | None = None) -> dict[str, LLVMValue]:
        """The program's constants, or those with these names."""
        items = self.program.with_role("constant")
        return {
            item.buffer.name: self._data(item)
            for item in items
            if names is None or item.buffer.name in names
        }

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

    def _workspace_size(self) -> None:
        """Bytes of workspace, or -1 where the sizes are refused."""
        sizes = [I64] * len(self.program.sizes)
        function = self._function("workspace_size", I64, [*sizes, POINTER])
        e = self._emission(function, self.program.sizes)
        if THREADS in symbols(self._workspace):
            self._resolve(e, function.args[-1])
        self._require(e, self._sizes_fine(e), constant(I64, -1))
        self._require(e, self._in_range(e), constant(I64, -1))
        e.builder.ret(materialise(e, dim_value(e, self._workspace)))

    @property
    def _workspace(self) -> Dim:
        assert self.program.workspace is not None, "memory is planned before code generation"
        return self.program.workspace

    def _run(self, kind: str) -> None:
        inputs = self.program.with_role("input")
        outputs = self.program.with_role("output")
        sizes = len(self.program.sizes)
        pointers = len(inputs) + len(outputs) + 3 + (kind == "profile")
        function = self._function(kind, I32, [I64] * sizes + [POINTER] * pointers)
        e = self._emission(function, self.program.sizes)
        arguments = list(function.args[sizes:])
        times = arguments.pop() if kind == "profile" else None
        *buffers, weights, workspace, pool = arguments
        names = [item.buffer.name for item in (*inputs, *outputs)]
        given = [*names, "weights", "workspace", "pool"]
        for name, argument in zip(given, arguments, strict=True):
            argument.name = name
        if any(map(is_parallel, self.program.kernels)):
            e.pool = self._resolve(e, pool)
        self._require(e, self._sizes_fine(e), constant(I32, interface.NEGATIVE_SIZE))
        self._require(e, self._in_range(e), constant(I32, interface.SIZE_OVERFLOW))
        for constraint in self.program.constraints:
            code = interface.codes(self.program)[constraint.message]
            self._require(e, holds(e, constraint), constant(I32, code))
        weights = self._weights(e, weights)
        own = [(weights, interface.weight_layout(self.program)[1]), (workspace, self._workspace)]
        items = [item.buffer.bytes for item in (*inputs, *outputs)]
        given = self._needed(
            e, [*zip(buffers, items, strict=True), *own], lambda pointer: is_given(e, pointer)
        )
        self._require(e, given, constant(I32, interface.NULL_POINTER))
        aligned = self._needed(e, own, lambda pointer: is_aligned(e, pointer))
        self._require(e, aligned, constant(I32, interface.MISALIGNED))
        places = dict(zip(names, buffers, strict=True)) | self._constants
        if self.program.held:
            ours = e.builder.icmp_signed("==", e.builder.load(weights, typ=I64), self._fingerprint)
            self._require(e, ours, constant(I32, interface.FOREIGN_WEIGHTS))
        places |= self._in_weights(e, weights) | self._in_workspace(e, workspace, "temporary")
        self._calls(e, self.program.calls, places, workspace, times)
        e.builder.ret(constant(I32, interface.OK))

    @property
    def _fingerprint(self) -> LLVMValue:
        return constant(I64, interface.fingerprint(self.program))

    def _prepare(self) -> None:
        """Parameters, by pointers in their order, to weights."""
        function = self._function("prepare", I32, [POINTER] * 3)
        e = self._emission(function, ())
        parameters, weights, workspace = function.args
        for argument, name in zip(
            function.args, ("parameters", "weights", "workspace"), strict=True
        ):
            argument.name = name
        room = self.program.preparation_workspace or 0
        own = [(weights, interface.weight_layout(self.program)[1]), (workspace, room)]
        raw = self._raw(e, parameters)
        given = self._needed(e, own, lambda pointer: is_given(e, pointer))
        self._require(e, given, constant(I32, interface.NULL_POINTER))
        aligned = self._needed(e, own, lambda pointer: is_aligned(e, pointer))
        self._require(e, aligned, constant(I32, interface.MISALIGNED))
        inside = self._in_weights(e, weights)
        for name in inside.keys() & raw.keys():
            self._copy(e, inside[name], raw[name], self.program.buffer(name).buffer.bytes)
        places = inside | self._in_workspace(e, workspace, "prepared") | raw | self._constants
        self._calls(e, self.program.preparations, places, workspace)
        if self.program.held:
            e.builder.store(self._fingerprint, weights)
        e.builder.ret(constant(I32, interface.OK))

    def _raw(self, e: Emission, parameters: LLVMValue) -> dict[str, LLVMValue]:
        """The pointer to each parameter; null to one without elements."""
        items = self.program.with_role("parameter")
        raw: dict[str, LLVMValue] = dict.fromkeys(
            (item.buffer.name for item in items), ir.Constant(POINTER, None)
        )
        needed = [(i, item.buffer.name) for i, item in enumerate(items) if item.buffer.bytes != 0]
        if not needed:
            return raw
        self._require(e, is_given(e, parameters), constant(I32, interface.NULL_POINTER))
        for number, name in needed:
            place = e.builder.gep(parameters, [constant(I64, number)], source_etype=POINTER)
            raw[name] = e.builder.load(place, typ=POINTER)
        given = conjunction_of(e, [is_given(e, raw[name]) for _, name in needed])
        self._require(e, given, constant(I32, interface.NULL_POINTER))
        return raw

    def _copy(self, e: Emission, to: LLVMValue, source: LLVMValue, bytes: Dim) -> None:
        copy = self.module.declare_intrinsic("llvm.memcpy", [POINTER, POINTER, I64])
        size = constant(I64, evaluate(bytes, {}))
        e.builder.call(copy, [to, source, size, constant(I1, False)])

    def _resolve(self, e: Emission, given: LLVMValue) -> LLVMValue:
        """The pool that runs the parallel loops, and how many threads it has."""
        pool = in_frame(e.builder, POOL)
        e.builder.call(self._resolver, [pool, given])
        place = e.builder.gep(pool, [constant(I32, 0), constant(I32, 2)], source_etype=POOL)
        e.variables[THREADS] = Linear(e.builder.load(place, typ=I64))
        e.nonnegative.add(THREADS)
        return pool

    @property
    def _resolver(self) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])
        return self.module.globals.get(RESOLVE) or ir.Function(self.module, kind, RESOLVE)

    def _weights(self, e: Emission, weights: LLVMValue) -> LLVMValue:
        """The caller's weights, or the embedded ones where that is null."""
        if self.embedded is None:
            return weights
        absent = e.builder.icmp_unsigned("==", weights, ir.Constant(POINTER, None))
        return e.builder.select(absent, self.embedded, weights)

    def _require(self, e: Emission, holds: LLVMValue, result: LLVMValue) -> None:
        failed, fine = e.block("refused"), e.block("fine")
        e.builder.cbranch(holds, fine, failed)
        e.enter(failed)
        e.builder.ret(result)
        e.enter(fine)

    def _sizes_fine(self, e: Emission) -> LLVMValue:
        """No size is negative, and no shape of an input or output is."""
        dims: list[Dim] = []
        for item in (*self.program.with_role("input"), *self.program.with_role("output")):
            dims += [dim for dim in item.buffer.shape if not provably_le(0, dim)]
        values = [e.variables[name] for name in self.program.sizes]
        values += [dim_value(e, dim) for dim in dict.fromkeys(dims)]
        return conjunction_of(e, [at_least_zero(e, value) for value in values])

    def _in_range(self, e: Emission) -> LLVMValue:
        """No buffer, and no offset, can pass 2^62 bytes: bounded in floating point."""
        sizes: list[Dim] = [item.buffer.bytes for item in self.program.buffers]
        sizes.append(self._workspace)
        symbolic = [dim for dim in dict.fromkeys(sizes) if not isinstance(dim, int)]
        limit = constant(ir.DoubleType(), _LARGEST)
        return conjunction_of(
            e, [e.builder.fcmp_ordered("<=", magnitude(e, dim), limit) for dim in symbolic]
        )

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

    def _in_weights(self, e: Emission, weights: LLVMValue) -> dict[str, LLVMValue]:
        offsets, _ = interface.weight_layout(self.program)
        return {name: _moved(e, weights, offset) for name, offset in offsets.items()}

    def _in_workspace(self, e: Emission, workspace: LLVMValue, role: str) -> dict[str, LLVMValue]:
        """The buffers of a role that have an offset."""
        return {
            item.buffer.name: _moved(e, workspace, item.offset)
            for item in self.program.with_role(role)
            if item.offset is not None
        }

    def _calls(
        self,
        e: Emission,
        calls: Sequence[Call],
        places: Mapping[str, LLVMValue],
        workspace: LLVMValue,
        times: LLVMValue | None = None,
    ) -> None:
        if times is not None:
            stamp(e.builder, self.module, times, 0)
        for number, call in enumerate(calls, start=1):
            arguments = [places[name] for name in call.arguments]
            arguments += [materialise(e, dim_value(e, size)) for size in call.sizes]
            arguments.append(_moved(e, workspace, call.scratch or 0))
            if is_parallel(self.program.kernel(call.kernel)):
                arguments.append(e.pool)
            status = e.builder.call(self.kernels[call.kernel], arguments)
            if self._can_fail(call.kernel):
                fine = e.builder.icmp_signed("==", status, constant(I32, interface.OK))
                self._require(e, fine, status)
            if times is not None:
                stamp(e.builder, self.module, times, number)

    def _can_fail(self, kernel: str) -> bool:
        return any(isinstance(s, Check) for s in statements(self.program.kernel(kernel).body))

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
