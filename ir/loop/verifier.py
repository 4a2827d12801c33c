"""The rules of the loop IR: what every pass may rely on, and must keep.

In: a program or a kernel. Out: nothing, or a `VerifyError` that shows the line at fault.

    call row[N](x)

    VerifyError: program `sums`: kernel `row` takes 2 arguments, given 1
      | call row[N](x)
      | ^^^^^^^^^^^^^^

Kernels' rules are in `kernel_rules`. A program's: names once; sizes known; each call fits its
kernel in number, dtype and elements; nothing is read before it is written; nothing that is written
has a second name in the call, and only states, temporaries, outputs and `inout` arguments are
written.
Calls together have nothing in common that one of them writes.
Preparations read parameters, constants and what was prepared, and write what is prepared; `const`
arguments are of these kinds, and no call writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from stepwell.ir.diagnostics import VerifyError
from stepwell.ir.loop.core import (
    KNOWN,
    THREADS,
    Call,
    Kernel,
    Program,
    ProgramBuffer,
    is_parallel,
    scratch_bytes,
)
from stepwell.ir.loop.kernel_rules import verify_kernel
from stepwell.ir.loop.printer import buffer_line, call_line
from stepwell.ir.loop.step_rules import verify_steps
from stepwell.ir.size import Dim, evaluate, is_opaque, product, substitute, symbols

TRIALS = (1, 0, 2, 3, 7, 8, 13, 16, 17, 31, 64, 100, 1000)  # sizes for which plans are tried
RELATIONS = ("==", "!=", "<=", "<", "%")

__all__ = ["verify_kernel", "verify_loops", "verify_program"]


def verify_loops(ir: Program | Kernel) -> None:
    """Raises VerifyError where a program or a kernel breaks a rule."""
    if isinstance(ir, Program):
        verify_program(ir)
    else:
        verify_kernel(ir)


def verify_program(program: Program) -> None:
    """Raises VerifyError for the first rule that the program, or a kernel of it, breaks."""
    _ProgramVerifier(program).run()
    for kernel in program.kernels:
        verify_kernel(kernel)


@dataclass(frozen=True)
class _ProgramVerifier:
    program: Program

    def fail(self, message: str, at: Call | ProgramBuffer | None = None) -> NoReturn:
        where = f"program `{self.program.name}`: {message}"
        match at:
            case Call():
                word = (
                    "prepare" if any(at is call for call in self.program.preparations) else "call"
                )
                raise VerifyError(where, call_line(at, word), at.span)
            case ProgramBuffer():
                raise VerifyError(where, buffer_line(at))
            case None:
                raise VerifyError(where)

    def run(self) -> None:
        program = self.program
        self.once((*program.sizes, THREADS), "size")
        self.once((item.buffer.name for item in program.buffers), "buffer")
        self.once((kernel.name for kernel in program.kernels), "kernel")
        if program.workspace is not None:
            self.planned([program.workspace], "the workspace")
        if not isinstance(program.preparation_workspace, int | None):
            self.fail("the workspace to prepare in is a number of bytes")
        for item in program.buffers:
            self.declaration(item)
        for constraint in program.constraints:
            self.known((constraint.left, constraint.right), f"`{constraint.message}`")
            if constraint.relation not in RELATIONS:
                self.fail(f"there is no relation `{constraint.relation}`")
        self.calls()

    def once(self, names: Iterable[str], what: str) -> None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self.fail(f"there are two {what}s called `{name}`")
            seen.add(name)

    def known(
        self,
        dims: Iterable[Dim],
        what: str,
        at: Call | ProgramBuffer | None = None,
        implicit: frozenset[str] = frozenset(),
    ) -> None:
        for dim in dims:
            unknown = sorted(symbols(dim) - {*self.program.sizes, *implicit})
            if unknown:
                self.fail(f"{what} depends on `{unknown[0]}`, which is no size", at)

    def planned(
        self, dims: Iterable[Dim], what: str, at: Call | ProgramBuffer | None = None
    ) -> None:
        """What may depend on how many threads there are, too."""
        self.known(dims, what, at, frozenset((THREADS,)))

    def declaration(self, item: ProgramBuffer) -> None:
        buffer = item.buffer
        self.known(buffer.shape, "the shape", item)
        if buffer.space != "memory":
            self.fail("a program's buffer is in memory", item)
        if (item.data is not None) != (item.role == "constant"):
            self.fail("a constant has data, and nothing else has", item)
        if item.data is not None:
            same = item.data.shape == buffer.shape and item.data.dtype == buffer.dtype.numpy
            if not same:
                given = f"{item.data.dtype}{list(item.data.shape)}"
                self.fail(f"the data is {given}", item)
        fixed = all(isinstance(dim, int) for dim in buffer.shape)
        if item.role in ("prepared", "state") and not fixed:
            what = "what is prepared" if item.role == "prepared" else "a state"
            self.fail(f"{what} has a shape of numbers", item)
        if item.trained and item.role != "state":
            self.fail("a state may be trained, and nothing else", item)
        self.place(item)

    @cached_property
    def held(self) -> frozenset[str]:
        return frozenset(item.buffer.name for item in self.program.held)

    def place(self, item: ProgramBuffer) -> None:
        """Temporaries lie in the workspace; prepared buffers that no call reads in the other."""
        program = self.program
        preparing = item.role == "prepared" and item.buffer.name not in self.held
        workspace = program.preparation_workspace if preparing else program.workspace
        if item.offset is not None:
            self.planned([item.offset], "the offset", item)
            if item.role != "temporary" and not preparing:
                self.fail("only temporaries lie in the workspace", item)
            if workspace is None:
                self.fail("there is an offset, but no workspace", item)
            self.inside(workspace, item.offset, item.buffer.bytes, "the buffer", item)
        elif workspace is not None and (preparing or item.role == "temporary"):
            self.fail("there is a workspace, but no offset", item)

    def inside(
        self, workspace: Dim, offset: Dim, size: Dim, what: str, at: Call | ProgramBuffer
    ) -> None:
        """Whether a part of a workspace lies in it: tried on many sizes, for a proof would need
        reasoning about max and rounding that dims do not have."""
        for sizes in self._trials():
            try:
                start, length, room = (evaluate(dim, sizes) for dim in (offset, size, workspace))
            except ZeroDivisionError:  # sizes that the entry refuses
                continue
            if length > 0 and not 0 <= start <= room - length:
                where = f" at {', '.join(f'{k} = {v}' for k, v in sizes.items())}" if sizes else ""
                self.fail(f"{what} ends at byte {start + length} of {room} bytes{where}", at)

    def _trials(self) -> list[dict[str, int]]:
        names = (*self.program.sizes, THREADS)
        alike = [dict.fromkeys(names, value) for value in TRIALS]
        mixed = [
            {name: TRIALS[(i * (k + 1) + k) % len(TRIALS)] for k, name in enumerate(names)}
            for i in range(len(TRIALS))
        ]
        return alike + mixed

    # ------------------------------------------------------------------ calls

    def calls(self) -> None:
        program = self.program
        roles = {item.buffer.name: item.role for item in program.buffers}
        defined = {name for name, role in roles.items() if role in ("parameter", "constant")}
        for call in program.preparations:
            self.call(call, defined, program.preparation_workspace)
            self.preparation(call)
        self.all_prepared(defined)
        defined |= {name for name, role in roles.items() if role in ("input", "state")}
        for call in program.calls:
            self.call(call, defined, program.workspace)
        self.never_written()
        verify_steps(program, self._trials(), self.fail)
        for item in self.program.with_role("output"):
            if item.buffer.name not in defined:
                self.fail("this output is never written", item)

    def preparation(self, call: Call) -> None:
        """It writes prepared buffers, and takes the same time for all inputs: none at all."""
        if call.beside:
            self.fail("preparations run one after another", call)
        if not all(isinstance(size, int) for size in call.sizes):
            self.fail("a preparation's sizes are numbers", call)
        kernel = self.program.kernel(call.kernel)
        if is_parallel(kernel):
            self.fail("a preparation runs in one thread: its kernel has no parallel loop", call)
        for parameter, name in zip(kernel.parameters, call.arguments, strict=True):
            role = self.buffer(name, call).role
            if parameter.is_written and role != "prepared":
                self.fail(f"`{name}` is {_a(role)}: a preparation does not write it", call)

    def all_prepared(self, defined: set[str]) -> None:
        for item in self.program.with_role("prepared"):
            if item.buffer.name not in defined:
                self.fail("this is never prepared", item)

    def never_written(self) -> None:
        """What is known before any run is not written by one."""
        program = self.program
        known = {name for call in program.preparations for name in call.arguments}
        for call in program.calls:
            parameters = program.kernel(call.kernel).parameters
            roles = zip(parameters, call.arguments, strict=True)
            known |= {name for parameter, name in roles if parameter.role == "const"}
        for call in program.calls:
            parameters = program.kernel(call.kernel).parameters
            for parameter, name in zip(parameters, call.arguments, strict=True):
                if parameter.is_written and name in known:
                    self.fail(f"`{name}` is known before any run: it is not written", call)

    def call(self, call: Call, defined: set[str], workspace: Dim | None) -> None:
        try:
            kernel = self.program.kernel(call.kernel)
        except KeyError:
            self.fail(f"there is no kernel `{call.kernel}`", call)
        self.counts(call, kernel)
        self.planned(call.sizes, "a size", call)
        sizes = dict(zip(kernel.sizes, call.sizes, strict=True))
        written: list[str] = []
        for parameter, name in zip(kernel.parameters, call.arguments, strict=True):
            item = self.buffer(name, call)
            shape = tuple(substitute(dim, sizes) for dim in parameter.buffer.shape)
            dtype = parameter.buffer.dtype
            # A kernel may see an array in another shape: what counts is how many elements it has
            # (where that is a quotient, a constraint has made sure of it).
            seen, there = product(shape), item.buffer.type.elements
            same = seen == there or is_opaque(seen) or is_opaque(there)
            if not same or dtype != item.buffer.dtype:
                wanted = f"{dtype}[{', '.join(map(str, shape))}]"
                theirs = f"`{parameter.buffer.name}` of `{kernel.name}` is {wanted}"
                self.fail(f"{theirs}, `{name}` is {item.buffer.type}", call)
            if parameter.role != "out" and name not in defined:
                self.fail(f"`{name}` is read before it is written", call)
            if parameter.role == "const" and item.role not in KNOWN:
                self.fail(f"`{name}` is {_a(item.role)}: not known before a run", call)
            if parameter.is_written:
                written.append(name)
                fixed = item.role == "constant" or (
                    parameter.role == "out" and item.role in ("input", "parameter")
                )
                if fixed:
                    self.fail(f"`{name}` is {_a(item.role)}: it is not written", call)
        for name in written:
            if call.arguments.count(name) > 1:
                self.fail(f"`{name}` is written, so it is one argument only", call)
        defined.update(written)
        self.scratch(call, kernel, workspace)

    def counts(self, call: Call, kernel: Kernel) -> None:
        for what, wanted, given in (
            ("size", kernel.sizes, call.sizes),
            ("argument", kernel.parameters, call.arguments),
        ):
            if len(wanted) != len(given):
                plural = "" if len(wanted) == 1 else "s"
                message = f"takes {len(wanted)} {what}{plural}, given {len(given)}"
                self.fail(f"kernel `{kernel.name}` {message}", call)

    def buffer(self, name: str, call: Call) -> ProgramBuffer:
        try:
            return self.program.buffer(name)
        except KeyError:
            self.fail(f"there is no buffer `{name}`", call)

    def scratch(self, call: Call, kernel: Kernel, workspace: Dim | None) -> None:
        if call.scratch is not None:
            self.planned([call.scratch], "the place of the scratch", call)
            if workspace is None:
                self.fail("there is a place for scratch, but no workspace", call)
            sizes = dict(zip(kernel.sizes, call.sizes, strict=True))
            needed = substitute(scratch_bytes(kernel), sizes)
            self.inside(workspace, call.scratch, needed, f"the scratch of `{kernel.name}`", call)
        elif workspace is not None and scratch_bytes(kernel) != 0:
            self.fail(f"`{kernel.name}` needs scratch, and has no place in the workspace", call)


def _a(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"
