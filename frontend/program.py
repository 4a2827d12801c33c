"""From a program to graphs: `check` elaborates everything, `elaborate` one model.

elaborate(program, "mlp")   →   graph @mlp[N](%image: f32[N, 784]) { … }
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepwell.frontend import syntax as s
from stepwell.frontend.elaboration import ENTRIES
from stepwell.frontend.entries import Entry
from stepwell.frontend.library import Loader, find_module
from stepwell.frontend.modules import CheckedProgram, Linker, LoadedModule
from stepwell.frontend.optimizer_entry import OptimizerEntry
from stepwell.frontend.signatures import is_static
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.training import MODES, Mode, TrainEntry
from stepwell.frontend.traverse import walk
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
        raise UserError(unique(faults), program.sources)
    return program


def unique(faults: list[Diagnostic]) -> list[Diagnostic]:
    """Each mistake once."""
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
_ALWAYS_WRONG = {
    "SW0110",
    "SW0301",
    "SW0304",
    "SW0306",
    "SW0307",
    "SW0308",
    "SW0402",
    "SW0403",
    "SW0706",
}


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
    for rank in (2, 1, 0, 3, 4) if packed and function.kind not in ENTRIES else (0,):
        faults = _faults(program, module, function, statics, rank)
        if not faults:
            return []
        found = found or faults
        if any(fault.code == "SW0502" for fault in faults):
            break
    return found


def _faults(
    program: CheckedProgram,
    module: LoadedModule,
    function: s.Function,
    statics: Mapping[str, Any],
    rank: int,
) -> list[Diagnostic]:
    """The mistakes of a declaration in each of the ways in which it can be elaborated."""
    entries: list[Entry]
    if function.kind == "train":
        entries = [TrainEntry(program, module, function, statics, mode) for mode in MODES]
    elif function.kind == "optimizer":
        entries = [OptimizerEntry(program, module, function, statics, rank) for rank in (2, 1)]
    else:
        asks = any(isinstance(n, s.Name) and n.name == "training" for n in walk(function))
        ways = (False, True) if asks else (False,)
        entries = [Entry(program, module, function, statics, rank, way) for way in ways]
    return next((faults for entry in entries if (faults := entry.faults())), [])


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
        raise UserError(unique(faults), program.sources)
    return entry.graph()


def trains(program: CheckedProgram) -> tuple[str, ...]:
    """The names of the train blocks that a program's own file declares, in order."""
    return tuple(program.root.trains)


def elaborate_train(
    program: CheckedProgram,
    name: str,
    mode: Mode = "step",
    statics: Mapping[str, Any] | None = None,
) -> Graph:
    """The graph of one train block: of one step, or of the evaluation of its loss and metrics."""
    blocks = program.root.trains
    if name not in blocks:
        hint = did_you_mean(name, blocks) or (
            f"train blocks here: {', '.join(blocks)}" if blocks else "declare one: `train …`"
        )
        span = Span(program.root.file, 1, 1, 1, 2)
        fault = Diagnostic("SW0301", f"there is no train block `{name}`", (Label(span),), (), hint)
        raise UserError([fault], program.sources)
    entry = TrainEntry(program, program.root, blocks[name], statics or {}, mode)
    if faults := entry.faults():
        raise UserError(unique(faults), program.sources)
    return entry.graph()
