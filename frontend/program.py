"""From a program to graphs: `check` elaborates everything, `elaborate` one model.

elaborate(program, "mlp")   →   graph @mlp[N](%image: f32[N, 784]) { … }
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.entries import Entry
from stepwell.frontend.library import Loader, find_module
from stepwell.frontend.modules import CheckedProgram, Linker, LoadedModule
from stepwell.frontend.signatures import is_static
from stepwell.frontend.suggest import did_you_mean
from stepwell.ir import size
from stepwell.ir.diagnostics import Diagnostic, Label, UserError
from stepwell.ir.graph.core import Graph
from stepwell.ir.span import Span


def check(source: str, file: str, loader: Loader = find_module) -> CheckedProgram:
    """Read a program and elaborate all that it declares. Raises UserError with every mistake."""
    linker = Linker(loader)
    program = CheckedProgram(linker.load(file, source), linker.modules)
    faults = list(linker.faults)
    for module in list(linker.modules.values()):
        if not module.is_library:
            faults += _check_module(program, module)
    if faults:
        raise UserError(_unique(faults), program.sources)
    return program


def _unique(faults: list[Diagnostic]) -> list[Diagnostic]:
    seen: dict[tuple[Any, ...], Diagnostic] = {}
    for fault in faults:
        seen.setdefault((fault.code, fault.message, fault.labels), fault)
    return list(seen.values())


def _check_module(program: CheckedProgram, module: LoadedModule) -> list[Diagnostic]:
    faults: list[Diagnostic] = []
    for function in module.tree.functions:
        needed = [f for f in function.formals if is_static(f.type) and f.default is None]
        if not needed:
            found = _check_function(program, module, function, {})
            if any(fault.code == "SW0502" for fault in found):
                program.endless.append(function)  # told once: callers do not run into it again
            faults += found
        elif all(f.type.name in _SAMPLES for f in needed):
            samples = {f.name: _SAMPLES[f.type.name](f.name) for f in needed}
            found = _check_function(program, module, function, samples)
            faults += [fault for fault in found if fault.code in _ALWAYS_WRONG]
    return faults


# Stand-ins for static arguments without a default: a wrong name is wrong for all values.
_SAMPLES: dict[str, Callable[[str], Any]] = {
    "int": size.symbol,
    "float": lambda name: 1.0,
    "bool": lambda name: True,
    "string": lambda name: name,
}
_ALWAYS_WRONG = {"SW0110", "SW0301", "SW0304", "SW0306", "SW0307", "SW0308", "SW0402", "SW0403"}


def _check_function(
    program: CheckedProgram,
    module: LoadedModule,
    function: s.Function,
    statics: Mapping[str, Any],
) -> list[Diagnostic]:
    """The mistakes of one declaration by itself; packs are tried with a few numbers of axes."""
    packed = any(
        isinstance(dim, s.Pack) for formal in function.formals for dim in formal.type.dims or ()
    )
    found: list[Diagnostic] = []
    for rank in (2, 1, 0, 3, 4) if packed and function.kind != "model" else (0,):
        faults = Entry(program, module, function, statics, rank).faults()
        if not faults:
            return []
        found = found or faults
        if any(fault.code == "SW0502" for fault in faults):
            break
    return found


def models(program: CheckedProgram) -> tuple[str, ...]:
    """The names of the models that a program's own file declares, in order."""
    return tuple(f.name for f in program.root.tree.functions if f.kind == "model")


def elaborate(
    program: CheckedProgram, model: str, statics: Mapping[str, Any] | None = None
) -> Graph:
    """The graph of one model. `statics` are its static arguments (int, float, bool, string)."""
    functions = {f.name: f for f in program.root.tree.functions if f.kind == "model"}
    if model not in functions:
        hint = did_you_mean(model, functions) or (
            f"models here: {', '.join(functions)}" if functions else "declare one: `model …`"
        )
        span = Span(program.root.file, 1, 1, 1, 2)
        raise UserError(
            [Diagnostic("SW0301", f"there is no model `{model}`", (Label(span),), (), hint)],
            program.sources,
        )
    entry = Entry(program, program.root, functions[model], statics or {}, None)
    faults = entry.faults()
    if faults:
        raise UserError(_unique(faults), program.sources)
    return entry.graph()
