"""NAME_prepare: from parameters, each by its pointer, to the weights that NAME_run reads.

In: a program with preparations, perhaps none. Out: functions in the module,

    i32 @NAME_prepare(ptr %parameters, ptr %weights, ptr %workspace)
    i64 @NAME_weights_size()        i64 @NAME_prepare_workspace_size()

NAME_prepare copies the parameters that a run reads as they are, calls the preparations, and signs
the weights with the program's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from stepwell.codegen import interface
from stepwell.codegen.conditions import conjunction_of, is_aligned, is_given
from stepwell.codegen.entry_points import EntryPoints
from stepwell.codegen.state import Emission
from stepwell.codegen.values import I1, I32, I64, POINTER, LLVMValue, constant
from stepwell.ir.size import Dim, evaluate


@dataclass
class PreparationEmitter(EntryPoints):
    """Emits NAME_prepare and the sizes of its memory; `constants` are the program's, by name."""

    constants: dict[str, LLVMValue]

    def emit(self) -> None:
        """The three functions."""
        self._prepare()
        _, size = interface.weight_layout(self.program)
        self._returning("weights_size", I64, constant(I64, size))
        size = evaluate(self.program.preparation_workspace or 0, {})
        self._returning("prepare_workspace_size", I64, constant(I64, size))

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
        for name, place in inside.items():
            if name in raw:
                self._copy(e, place, raw[name], self.program.buffer(name).buffer.bytes)
        places = inside | self._in_workspace(e, workspace, "prepared") | raw | self.constants
        steps = [(call,) for call in self.program.preparations]
        self._steps(e, steps, places, workspace)
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
