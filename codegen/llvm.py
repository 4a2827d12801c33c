"""A loop program to the text of an LLVM module.

In: a `Program` with memory planned, and a target. Out: LLVM IR, before any optimisation: the
functions that C calls, then the kernels.

    llvm_text(program, host())   →   define hidden i32 @add.kernel.add(ptr noalias readonly %x, …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from stepwell.codegen import c_names, interface
from stepwell.codegen.aliasing import argument_facts
from stepwell.codegen.debug import DebugInfo
from stepwell.codegen.description import description
from stepwell.codegen.entry import EntryEmitter
from stepwell.codegen.kernel import declare_kernel, emit_kernel
from stepwell.ir.collection import collection_paused
from stepwell.ir.loop.core import ALIGNMENT, Program
from stepwell.ir.target import Target

PRODUCER = "stepwell"


@dataclass(frozen=True)
class Part:
    """Which part of a program a module holds: the bodies of some kernels, and the entry or not.

    Without `run` the entry is NAME_prepare alone; `profile` adds NAME_profile to it, which notes
    the time of each call.
    """

    kernels: tuple[str, ...]
    entry: bool = True
    run: bool = True
    profile: bool = False


@dataclass(frozen=True)
class Embedding:
    """Weights that go into the object: a file that the assembler includes, or the bytes."""

    size: int
    path: str = ""
    data: bytes = b""


def whole(program: Program, profile: bool = False) -> Part:
    """The part that is all of the program."""
    return Part(tuple(kernel.name for kernel in program.kernels), profile=profile)


def preparing(program: Program) -> Part:
    """The part that prepares weights."""
    names = tuple(kernel.name for kernel in interface.preparation_kernels(program))
    return Part(names, run=False)


def kernel_symbol(program: Program, kernel: str) -> str:
    """The symbol of a kernel's function."""
    return f"{c_names.symbol(program.name)}.kernel.{kernel}"


def llvm_text(
    program: Program,
    target: Target,
    part: Part | None = None,
    embedding: Embedding | None = None,
) -> str:
    """The module's text."""
    with collection_paused():
        return _module_text(program, target, part or whole(program), embedding)


def _module_text(program: Program, target: Target, part: Part, embedding: Embedding | None) -> str:
    module = ir.Module(name=program.name)
    module.triple = target.triple
    debug = DebugInfo(module, PRODUCER)
    called = part.entry and part.run
    kernels = [k for k in program.kernels if called or k.name in part.kernels]
    facts, codes = argument_facts(program, kernels), interface.codes(program)
    functions = {}
    bodies: list[str] = []
    for kernel in kernels:
        symbol = kernel_symbol(program, kernel.name)
        function = declare_kernel(module, kernel, symbol, facts[kernel.name])
        function.linkage = "" if kernel.name in part.kernels else "external"
        functions[kernel.name] = function
        if kernel.name in part.kernels:
            emit_kernel(function, kernel, facts[kernel.name], codes, target, debug)
            bodies.append(_taken(module, function))
    if part.entry:
        weights = _embedded(module, program, embedding)
        text = description(program, target)
        EntryEmitter(
            module, program, target, functions, text, weights, part.run, part.profile
        ).emit()
    text = "\n".join([str(module), *bodies])
    prefix = f'i32 @"{c_names.symbol(program.name)}.kernel.'
    for word in ("define", "declare"):
        text = text.replace(f"{word} {prefix}", f"{word} hidden {prefix}")
    if embedding is not None and embedding.path:
        text += _inclusion(_weights_symbol(program), embedding.path)
    return text


def _taken(module: Any, function: Any) -> str:
    """The text of a kernel's function; its records, many times as large, are let go."""
    text = str(function)
    del module.globals[function.name]
    for block in function.blocks:
        block.instructions.clear()
    function.blocks.clear()
    return text


def models_text(names: Sequence[str]) -> str:
    """The function `stepwell_models`, which lists the models of an object, to add to a module.

    It is weak, so that two such objects can be linked into one program.
    """
    text = "".join(f"{name}\n" for name in names)
    data = text.replace("\n", "\\0a") + "\\00"
    return (
        f'\n@stepwell_models.names = internal constant [{len(text) + 1} x i8] c"{data}"\n'
        "define weak ptr @stepwell_models() nounwind {\n"
        "  ret ptr @stepwell_models.names\n"
        "}\n"
    )


def _weights_symbol(program: Program) -> str:
    return f"{c_names.symbol(program.name)}.embedded"


def _embedded(module: Any, program: Program, embedding: Embedding | None) -> Any:
    """The global that holds the weights, or None."""
    if embedding is None:
        return None
    type = ir.ArrayType(ir.IntType(8), embedding.size)
    weights = ir.GlobalVariable(module, type, _weights_symbol(program))
    weights.global_constant = True
    weights.align = ALIGNMENT
    if embedding.path:
        weights.linkage = "external"
    else:
        weights.initializer = ir.Constant(type, bytearray(embedding.data))
        weights.linkage = "internal"
    return weights


def _inclusion(symbol: str, path: str) -> str:
    """Module-level assembly (ELF) that defines `symbol` as the contents of a file."""
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        '.section .rodata.stepwell.weights,"a",@progbits',
        f".balign {ALIGNMENT}",
        f".globl {symbol}",
        f".hidden {symbol}",
        f"{symbol}:",
        f'.incbin "{quoted}"',
        ".text",
    ]
    escaped = (line.replace("\\", "\\5C").replace('"', "\\22") for line in lines)
    return "\n" + "".join(f'module asm "{line}"\n' for line in escaped)
