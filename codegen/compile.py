"""LLVM IR to optimised IR, assembly and objects.

In: a module's text and a target. Out: text or bytes. Every module is parsed and verified before
LLVM's code generator sees it, so that a fault of ours is an exception and never an abort.

    object_bytes(text, target)   →   b"\\x7fELF…"

LLVM's loop and SLP vectorisers and its unroller stay off: schedules decide these in the loop IR.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm

from stepwell.codegen.undefined import foreign_symbols
from stepwell.ir.diagnostics import InternalError
from stepwell.ir.target import Target

LEVEL = 2


@cache
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()


def target_machine(target: Target) -> Any:
    """LLVM's code generator for the target: position-independent, for objects and the JIT."""
    _initialize()
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


def optimised(text: str, target: Target, linked: str = "") -> Any:
    """The module after LLVM's passes."""
    module = parsed(text, linked)
    machine = target_machine(target)
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=LEVEL)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_interleaving = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def optimised_text(text: str, target: Target) -> str:
    """LLVM IR after LLVM's passes."""
    return str(optimised(text, target))


def assembly(text: str, target: Target) -> str:
    """The target's assembly."""
    return str(target_machine(target).emit_assembly(optimised(text, target)))


def object_bytes(text: str, target: Target, linked: str = "") -> bytes:
    """An object file. InternalError where it would need another library than libc."""
    data = bytes(target_machine(target).emit_object(optimised(text, target, linked)))
    foreign = foreign_symbols(data)
    if foreign:
        raise InternalError(f"the code calls {', '.join(sorted(foreign))}, which libc lacks")
    return data


def defined_symbols(text: str) -> list[str]:
    """Names of the functions that a module defines for other objects, for an archive's index."""
    return [
        str(function.name)
        for function in parsed(text).functions
        if not function.is_declaration and str(function.linkage.name) in ("external", "weak_any")
    ]
