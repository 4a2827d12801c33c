"""The pass `prepare`: what a kernel packs of constant operands is packed once, before any run.

In: scheduled kernels. A strategy packs a `const` operand whole, at the top of the kernel, into
scratch. Out: the same program, in which those nests are kernels of their own, called by
preparations, and what they leave is a prepared buffer.

    call f(x, fc.w, y)                            prepare f_panels(fc.w, fc.w.panels)
                                                  call f(x, fc.w.panels, y)
    kernel f(x: … in, w: … const, y: … out) {
      alloc panels: f32[4, 256, 32] scratch  →    kernel f_panels(w: … const, panels: … out) {
      for j … { panels[…] = w[…] }                  for j … { panels[…] = w[…] }
      for i … { y[…] = … panels[…] … }            }
    }                                             kernel f(x: … in, panels: … const, y: … out) {
                                                    for i … { y[…] = … panels[…] … }
                                                  }

Equal preparations of the same arguments are one, whichever kernel they are from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import canonical, fresh_name, reads
from stepwell.ir.loop.core import (
    Alloc,
    Buffer,
    Call,
    Kernel,
    KernelParameter,
    Program,
    ProgramBuffer,
    Role,
)
from stepwell.lowering.constant_nests import Packing, packings


@dataclass(frozen=True)
class Prepare:
    """Pack constant operands once: nests over them alone become preparations.

    Before: `call f(x, w, y)`. After: `prepare f_panels(w, w.panels)`, `call f(x, w.panels, y)`.
    """

    name = "prepare"
    kind = "loop"

    def run(self, program: Program) -> Program:
        outlined = {kernel.name: _outline(kernel) for kernel in program.kernels}
        if not any(item.packings for item in outlined.values()):
            return program
        return _Preparing(program, outlined).run()


@dataclass(frozen=True)
class _Outlined:
    """A kernel without its packing nests, and these as kernels; what is packed are the last
    parameters of both."""

    kernel: Kernel
    packings: tuple[Kernel, ...] = ()


def _outline(kernel: Kernel) -> _Outlined:
    found = packings(kernel)
    if not found:
        return _Outlined(kernel)
    moved = {id(statement) for packing in found for statement in packing.body}
    body = tuple(statement for statement in kernel.body if id(statement) not in moved)
    used = reads(body)
    kept = [p for p in kernel.parameters if p.role != "const" or p.buffer.name in used]
    packed = [_parameter(b, "const") for packing in found for b in packing.results]
    read, written = ([p for p in kept if p.is_written == flag] for flag in (False, True))
    return _Outlined(
        replace(kernel, parameters=(*read, *packed, *written), body=body),
        tuple(_packing_kernel(kernel, packing) for packing in found),
    )


def _parameter(buffer: Buffer, role: Role) -> KernelParameter:
    return KernelParameter(replace(buffer, space="memory"), role)


def _packing_kernel(kernel: Kernel, packing: Packing) -> Kernel:
    """The nests alone: constant operands in, what the rest of the kernel reads out."""
    used = reads(packing.body)
    results = [buffer.name for buffer in packing.results]
    body = tuple(s for s in packing.body if not (isinstance(s, Alloc) and s.buffer.name in results))
    inputs = [p for p in kernel.parameters if p.role == "const" and p.buffer.name in used]
    outputs = [_parameter(buffer, "out") for buffer in packing.results]
    name = f"{kernel.name}_{results[0]}"
    return Kernel(name, (), (*inputs, *outputs), body, "pack", ("pack",), 0, kernel.span)


class _Preparing:
    """Calls of the kernels as they were, rewritten to calls of what they became."""

    def __init__(self, program: Program, outlined: dict[str, _Outlined]) -> None:
        self.program, self.outlined = program, outlined
        self.kernels = [item.kernel for item in outlined.values()]
        self.buffers = list(program.buffers)
        self.preparations: list[Call] = []
        self.names = {item.buffer.name for item in program.buffers}
        self.kernel_names = {kernel.name for kernel in self.kernels}
        self.forms: dict[Kernel, str] = {}  # packing kernel, names aside → its name
        self.made: dict[tuple[str, tuple[str, ...]], list[str]] = {}  # preparation → its results

    def run(self) -> Program:
        for call in self.program.preparations:
            self.preparations.append(self._call(call))
        calls = tuple(self._call(call) for call in self.program.calls)
        return replace(
            self.program,
            buffers=tuple(self.buffers),
            calls=calls,
            kernels=tuple(self.kernels),
            preparations=tuple(self.preparations),
        )

    def _call(self, call: Call) -> Call:
        item = self.outlined[call.kernel]
        if not item.packings:
            return call
        parameters = self.program.kernel(call.kernel).parameters
        given = dict(zip((p.buffer.name for p in parameters), call.arguments, strict=True))
        for packing in item.packings:
            inputs = [given[p.buffer.name] for p in packing.parameters if not p.is_written]
            results = [p.buffer for p in packing.parameters if p.is_written]
            prepared = self._prepared(packing, inputs, results, call)
            given |= dict(zip((b.name for b in results), prepared, strict=True))
        arguments = tuple(given[p.buffer.name] for p in item.kernel.parameters)
        return replace(call, arguments=arguments)

    def _prepared(
        self, packing: Kernel, inputs: Sequence[str], results: Sequence[Buffer], call: Call
    ) -> list[str]:
        """The names of what a packing kernel makes of these arguments; made at first need."""
        kernel = self._shared(packing)
        key = (kernel, tuple(inputs))
        if key not in self.made:
            stem = f"{inputs[0]}." if inputs else ""
            names = [fresh_name(self.names, stem + buffer.name) for buffer in results]
            for name, buffer in zip(names, results, strict=True):
                self.buffers.append(ProgramBuffer(replace(buffer, name=name), "prepared"))
            self.preparations.append(Call(kernel, (), (*inputs, *names), None, call.span))
            self.made[key] = names
        return self.made[key]

    def _shared(self, packing: Kernel) -> str:
        """The name of the kernel; of an equal one where there is one."""
        form = canonical(packing)
        if form not in self.forms:
            self.forms[form] = fresh_name(self.kernel_names, packing.name)
            self.kernels.append(replace(packing, name=self.forms[form]))
        return self.forms[form]
