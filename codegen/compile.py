"""LLVM IR to optimised IR, assembly and objects.

In: a module's text and a target. Out: text, or an `Object`. Every module is parsed and verified
before LLVM's code generator sees it, so that a fault of ours is an exception and never an abort.

    compiled(text, target)   →   Object(b"\\x7fELF…", defines=("digits_run", …), needs={"memcpy"})

LLVM's loop and SLP vectorisers and its unroller stay off: schedules decide these in the loop IR.
Several threads may compile at once: each module has a context of its own.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from stepwell.codegen.undefined import undefined_symbols
from stepwell.ir.diagnostics import InternalError
from stepwell.ir.target import Target, host

LEVEL = 2


@dataclass(frozen=True)
class Object:
    """An object file, the functions that it defines for others, the symbols that it needs."""

    data: bytes
    defines: tuple[str, ...]
    needs: frozenset[str]


@cache
def _initialize() -> None:
    """This machine's code generator; the others' take 10 MB, and are loaded where one is needed."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()


@cache
def _initialize_others() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def target_machine(target: Target) -> Any:
    """LLVM's code generator for the target: position-independent, for objects and the JIT."""
    _initialize()
    if target.architecture != host().architecture:
        _initialize_others()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=LEVEL, reloc="pic", codemodel="small"
    )


def parsed(text: str, linked: str = "") -> Any:
    """The module, verified, with another one linked in. InternalError where LLVM refuses."""
    _initialize()
    context = llvm.create_context()
    try:
        module = llvm.parse_assembly(text, context)
        if linked:
            module.link_in(llvm.parse_assembly(linked, context))
        module.verify()
    except RuntimeError as error:
        raise InternalError(f"LLVM refuses the generated code: {error}") from error
    return module


def optimised(text: str, target: Target, machine: Any, linked: str = "") -> Any:
    """The module after LLVM's passes."""
    module = parsed(text, linked)
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=LEVEL)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_interleaving = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    _unlocked("LLVMPY_RunNewModulePassManager")(builder.getModulePassManager(), module, builder)
    return module


def _unlocked(name: str) -> Any:
    """A function of llvmlite's without its lock, which lets one thread at a time into the library;
    LLVM asks for none between modules of different contexts."""
    function = getattr(ffi.lib, name)
    return getattr(function, "_cfn", function)


def optimised_text(text: str, target: Target) -> str:
    """LLVM IR after LLVM's passes."""
    return str(optimised(text, target, target_machine(target)))


def assembly(text: str, target: Target) -> str:
    """The target's assembly."""
    machine = target_machine(target)
    return str(machine.emit_assembly(optimised(text, target, machine)))


def compiled(text: str, target: Target, linked: str = "") -> Object:
    """The object of the module, with another one linked in."""
    machine = target_machine(target)
    module = optimised(text, target, machine, linked)
    data = _emitted(machine, module)
    return Object(data, _defined(module), frozenset(undefined_symbols(data)))


def _emitted(machine: Any, module: Any) -> bytes:
    """What `machine.emit_object(module)` gives, without llvmlite's lock."""
    with ffi.OutputString() as fault:
        buffer = _unlocked("LLVMPY_TargetMachineEmitToMemory")(machine, module, 1, fault)
        if not buffer:
            raise InternalError(f"LLVM makes no object: {fault}")
    start, size = ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer)
    try:
        return ctypes.string_at(start, size)
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def _defined(module: Any) -> tuple[str, ...]:
    """Names of the functions that a module defines for other objects."""
    return tuple(
        str(function.name)
        for function in module.functions
        if not function.is_declaration and str(function.linkage.name) in ("external", "weak_any")
    )
