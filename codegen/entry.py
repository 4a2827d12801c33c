"""The functions a program offers to C: NAME_run and what describes it.

In: a `Program` and its kernels' functions. Out: functions and data in the module,

    i32 @NAME_run(i64 %N, ptr %image, ptr %out, ptr %weights, ptr %state, ptr %workspace,
                  ptr %pool)
    i64 @NAME_workspace_size(i64 %N, ptr %pool)
    i64 @NAME_weights_size()        ptr @NAME_weights()
    i32 @NAME_prepare(ptr %parameters, ptr %weights, ptr %workspace)
    i64 @NAME_prepare_workspace_size()
    ptr @NAME_error_message(i32 %status)    ptr @NAME_description()

The state is an argument only where the program has some, and NAME_state_size is there only then.
NAME_run checks pointers, sizes and constraints, then calls the kernels in order. On request there
is NAME_profile beside it: one more pointer, to which it writes the time before and after each step.
The rest is about weights: see `prepare_entry.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from stepwell.codegen import interface
from stepwell.codegen.conditions import (
    at_least_zero,
    conjunction_of,
    holds,
    is_aligned,
    is_given,
    magnitude,
)
from stepwell.codegen.entry_points import EntryPoints
from stepwell.codegen.expressions import dim_value
from stepwell.codegen.parallel import POOL, in_frame
from stepwell.codegen.prepare_entry import PreparationEmitter
from stepwell.codegen.runtime import RESOLVE
from stepwell.codegen.state import Emission, materialise
from stepwell.codegen.values import I32, I64, POINTER, Linear, LLVMValue, constant
from stepwell.ir.loop.core import THREADS
from stepwell.ir.size import Dim, provably_le, symbols

_LARGEST = float(2**62)


@dataclass
class EntryEmitter(EntryPoints):
    """Emits the entry points of one program into a module."""

    description: str
    embedded: Any = None  # a global with the weights, or None
    run: bool = True  # else NAME_prepare alone, and what it needs
    profile: bool = False  # whether there is NAME_profile

    def emit(self) -> None:
        """All the functions."""
        self._constants = self.data()
        PreparationEmitter(
            self.module, self.program, self.target, self.kernels, self._constants
        ).emit()
        self._error_message()
        if not self.run:
            return
        self._run("run")
        if self.profile:
            self._run("profile")
        self._workspace_size()
        if self._is_stateful:
            _, size = interface.state_layout(self.program)
            self._returning("state_size", I64, constant(I64, size))
        pointer = ir.Constant(POINTER, None) if self.embedded is None else self.embedded
        self._returning("weights", POINTER, pointer)
        self._returning("description", POINTER, self._text("description", self.description))

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

    @property
    def _is_stateful(self) -> bool:
        return bool(self.program.with_role("state"))

    def _run(self, kind: str) -> None:
        inputs = self.program.with_role("input")
        outputs = self.program.with_role("output")
        sizes = len(self.program.sizes)
        pointers = len(inputs) + len(outputs) + 3 + self._is_stateful + (kind == "profile")
        function = self._function(kind, I32, [I64] * sizes + [POINTER] * pointers)
        e = self._emission(function, self.program.sizes)
        arguments = list(function.args[sizes:])
        times = arguments.pop() if kind == "profile" else None
        names = [item.buffer.name for item in (*inputs, *outputs)]
        own_names = ["weights", *(["state"] if self._is_stateful else []), "workspace", "pool"]
        for name, argument in zip([*names, *own_names], arguments, strict=True):
            argument.name = name
        buffers, arguments = arguments[: len(names)], arguments[len(names) :]
        weights, *state, workspace, pool = arguments
        if self.program.uses_pool:
            e.pool = self._resolve(e, pool)
        self._require(e, self._sizes_fine(e), constant(I32, interface.NEGATIVE_SIZE))
        self._require(e, self._in_range(e), constant(I32, interface.SIZE_OVERFLOW))
        for constraint in self.program.constraints:
            code = interface.codes(self.program)[constraint.message]
            self._require(e, holds(e, constraint), constant(I32, code))
        weights = self._weights(e, weights)
        own = [(weights, interface.weight_layout(self.program)[1]), (workspace, self._workspace)]
        own += [(block, interface.state_layout(self.program)[1]) for block in state]
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
        for block in state:
            places |= self._in_state(e, block)
        self._steps(e, self.program.steps, places, workspace, times)
        e.builder.ret(constant(I32, interface.OK))

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
