"""A loop program to the text of an LLVM module.

In: a `Program` with memory planned, and a target. Out: LLVM IR, before any optimisation: the
kernels, then the functions that C calls.

    llvm_text(program, host())   →   define hidden i32 @add.kernel.add(ptr noalias readonly %x, …
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir
from stepwell.codegen import interface
from stepwell.codegen.debug import DebugInfo
from stepwell.codegen.description import description
from stepwell.codegen.entry import EntryEmitter, argument_facts
from stepwell.codegen.kernel import declare_kernel, emit_kernel
from stepwell.ir.loop.core import Program
from stepwell.ir.target import Target

PRODUCER = "stepwell"


@dataclass(frozen=True)
class Part:
    """Which part of a program a module holds: the bodies of some kernels, and the entry or not."""

    kernels: tuple[str, ...]
    entry: bool = True


def whole(program: Program) -> Part:
    """The part that is all of the program."""
    return Part(tuple(kernel.name for kernel in program.kernels))


def kernel_symbol(program: Program, kernel: str) -> str:
    """The symbol of a kernel's function."""
    return f"{interface.identifier(program.name)}.kernel.{kernel}"


def llvm_text(program: Program, target: Target, part: Part | None = None) -> str:
    """The module's text."""
    part = part or whole(program)
    module = ir.Module(name=program.name)
    module.triple = target.triple
    debug = DebugInfo(module, PRODUCER)
    facts, codes = argument_facts(program), interface.codes(program)
    functions = {}
    for kernel in program.kernels:
        if kernel.name not in part.kernels and not part.entry:
            continue
        symbol = kernel_symbol(program, kernel.name)
        function = declare_kernel(module, kernel, symbol, facts[kernel.name])
        function.linkage = "" if kernel.name in part.kernels else "external"
        functions[kernel.name] = function
        if kernel.name in part.kernels:
            emit_kernel(function, kernel, facts[kernel.name], codes, target, debug)
    if part.entry:
        text = description(program, target)
        EntryEmitter(module, program, target, functions, text).emit()
    hidden = "define hidden i32 "
    prefix = f'@"{interface.identifier(program.name)}.kernel.'
    return str(module).replace(f"define i32 {prefix}", f"{hidden}{prefix}")
