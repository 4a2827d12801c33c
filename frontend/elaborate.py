"""From a program to graphs: `check` elaborates everything, `elaborate` one model.

elaborate(program, "mlp")   →   graph @mlp[N](%image: f32[N, 784]) { … }
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepwell.frontend import builtins, expressions, notation, subscripts  # noqa: F401
from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given
from stepwell.frontend.calls import bind_statics, finish_body
from stepwell.frontend.elaboration import Elaboration, Frame, Naming, Poisoned, place
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.limits import deep_recursion
from stepwell.frontend.modules import CheckedProgram, Linker, LoadedModule, Loader, find_module
from stepwell.frontend.numbers import as_dim
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.signatures import CLASSES, dtype_of, free_names, is_static
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.values import Origin, Pack, Tensor, is_number, kind_of
from stepwell.ir import size
from stepwell.ir.diagnostics import Diagnostic, Label, UserError
from stepwell.ir.dtypes import BOOL, F32, I64, DType
from stepwell.ir.graph.core import Graph
from stepwell.ir.size import Dim
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType


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
            faults += _check_function(program, module, function, {})
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
    """The mistakes of one declaration by itself; packs are tried with two, one and no axes."""
    packed = any(
        isinstance(dim, s.Pack) for formal in function.formals for dim in formal.type.dims or ()
    )
    found: list[Diagnostic] = []
    for rank in (2, 1, 0) if packed and function.kind != "model" else (0,):
        faults = _Entry(program, module, function, statics, rank).faults()
        if not faults:
            return []
        found = found or faults
        if any(fault.code == "SW0502" for fault in faults):
            program.endless.append(function)
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
    entry = _Entry(program, program.root, functions[model], statics or {}, None)
    faults = entry.faults()
    if faults:
        raise UserError(_unique(faults), program.sources)
    return entry.graph()


class _Entry:
    """One declaration, elaborated with inputs made from its signature."""

    def __init__(
        self,
        program: CheckedProgram,
        module: LoadedModule,
        function: s.Function,
        statics: Mapping[str, Any],
        pack_rank: int | None,
    ) -> None:
        self.e = Elaboration(program, function.name)
        self.frame = Frame(function, module, Naming())
        self.function, self.statics, self.pack_rank = function, statics, pack_rank
        self.value: Any = None

    def faults(self) -> list[Diagnostic]:
        """Elaborate; the mistakes that were found."""
        e = self.e
        e.frames.append(self.frame)
        e.builder.span = self.function.span
        with deep_recursion():
            try:
                self._bind()
                self.value = finish_body(e, self.frame)
                self._inputs_determine_sizes()
                self._results = self._named_results()
            except UserError as error:
                e.record(error)
            except Poisoned:
                pass
            except RecursionError:
                span = self.function.head
                e.faults.append(
                    Diagnostic("SW0503", "this is nested too deeply to evaluate", (Label(span),))
                )
        return e.faults

    def graph(self) -> Graph:
        """The finished graph."""
        return self.e.builder.finish(self._results)

    def _bind(self) -> None:
        e, function = self.e, self.function
        known = {f.name: f for f in function.formals if is_static(f.type)}
        for name in self.statics:
            if name not in known:
                e.fail(
                    "SW0308",
                    f"`{function.name}` has no static argument `{name}`",
                    function.head,
                    help=did_you_mean(name, known),
                )
        given = {n: Given(v, known[n].span) for n, v in self.statics.items()}
        missing = [n for n, f in known.items() if f.default is None and n not in given]
        if missing:
            e.fail(
                "SW0307",
                f"the static argument `{missing[0]}` needs a value",
                known[missing[0]].span,
                help=f"give it a default, or a value: {missing[0]}=…",
            )
        self._unique_names()
        bind_statics(e, self.frame, given)
        for formal in function.formals:
            if not is_static(formal.type):
                self._input(formal)

    def _unique_names(self) -> None:
        seen: set[str] = set()
        for formal in self.function.formals:
            if formal.name in seen:
                self.e.fail(
                    "SW0303", f"the argument `{formal.name}` is declared twice", formal.span
                )
            seen.add(formal.name)

    def _input(self, formal: s.Formal) -> None:
        e = self.e
        if self.function.kind == "model" and formal.type.dims and formal.type.name in CLASSES:
            e.fail(
                "SW0220",
                f"a model's inputs have one element type, not `{formal.type.name}`",
                formal.type.span,
                help="write `f32[…]`",
            )
        dtype = dtype_of(e, self.frame, formal.type)
        type = TensorType(dtype, self._shape(formal))
        value = e.builder.input(formal.name, type)
        whose = "the model's input" if self.function.kind == "model" else "the argument"
        origin = Origin(formal.span, f"from {whose} `{formal.name}` at {place(formal.span)}")
        self.frame.scopes[0][formal.name] = Tensor(value, origin)

    def _shape(self, formal: s.Formal) -> tuple[Dim, ...]:
        shape: list[Dim] = []
        for dim in formal.type.dims or ():
            if isinstance(dim, s.Pack):
                shape += self._pack(dim)
                continue
            for name in sorted(free_names(dim)):
                if self.frame.lookup(name) is None:
                    self._symbol(name)
            shape.append(as_dim(self.e, evaluate(self.e, dim), dim.span, "a dimension"))
            if isinstance(shape[-1], int) and shape[-1] < 0:
                self.e.fail("SW0206", f"a dimension cannot be {shape[-1]}", dim.span)
        return tuple(shape)

    def _symbol(self, name: str) -> None:
        self.frame.scopes[0][name] = size.symbol(name)
        self.e.builder.sizes.append(name)

    def _pack(self, pack: s.Pack) -> tuple[Dim, ...]:
        if self.function.kind == "model":
            self.e.fail(
                "SW0220",
                "a model's inputs have a fixed number of axes",
                pack.span,
                help="name each axis: `f32[N, D]`",
            )
        bound = self.frame.scopes[0].get(pack.name)
        if isinstance(bound, Pack):
            return bound.dims
        names = [f"{pack.name}{i}" for i in range(self.pack_rank or 0)]
        for name in names:
            self._symbol(name)
        dims = tuple(size.symbol(name) for name in names)
        self.frame.scopes[0][pack.name] = Pack(dims)
        return dims

    def _inputs_determine_sizes(self) -> None:
        """Every size must be solvable from some input's shape."""
        if self.function.kind != "model":
            return
        known: set[str] = set()
        dims = [dim for value in self.e.builder.inputs for dim in value.type.shape]
        for _ in dims:
            for dim in dims:
                unknown = size.symbols(dim) - known
                values = dict.fromkeys(known, 1)
                if len(unknown) == 1 and size.solve(size.substitute(dim, values), 1) is not None:
                    known |= unknown
        for name in self.e.builder.sizes:
            if name not in known:
                self.e.fail(
                    "SW0209",
                    f"the size `{name}` cannot be told from the inputs",
                    self.function.head,
                    help=f"use `{name}` by itself as a dimension of an input",
                )

    def _named_results(self) -> list[tuple[str, Any]]:
        values = self.value if isinstance(self.value, (tuple, list)) else (self.value,)
        names = [r.name for r in self.function.results] or [None] * len(values)
        default = ["out"] if len(values) == 1 else [f"out{i}" for i in range(len(values))]
        results = []
        for i, value in enumerate(values):
            span = self.function.body.span
            if is_number(value) and self.function.kind != "model":
                continue
            if is_number(value):
                value = number_tensor(self.e, value, dtype_of_number(value), (), span)
            if not isinstance(value, Tensor):
                if self.function.kind != "model":
                    continue
                self.e.fail(
                    "SW0218",
                    f"a model's result is a tensor, not {kind_of(value)}",
                    self.function.head,
                )
            results.append((names[i] or default[i], value.value))
        return results


def dtype_of_number(value: Any) -> DType:
    """The dtype of a number that nothing else decides: f32, i64 or bool."""
    if isinstance(value, bool):
        return BOOL
    return I64 if isinstance(value, (int, size.Size)) else F32
