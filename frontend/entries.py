"""One declaration elaborated by itself, with inputs made from its signature.

    model mlp(image: f32[N, 784])   →   graph @mlp[N](%image: f32[N, 784]) { … }

Every new name in a model's signature is a size that each run chooses. A fn or layer is elaborated
the same way to find its mistakes, its packs standing for a given number of axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.frontend import builtins, expressions, notation, subscripts  # noqa: F401
from stepwell.frontend import syntax as s
from stepwell.frontend.arguments import Given
from stepwell.frontend.bodies import finish_body
from stepwell.frontend.calls import call_value  # noqa: F401
from stepwell.frontend.custom_gradients import with_own_gradient
from stepwell.frontend.elaboration import ENTRIES, Elaboration, Frame, Naming, Poisoned, place
from stepwell.frontend.evaluation import evaluate
from stepwell.frontend.formals import bind_statics
from stepwell.frontend.modules import CheckedProgram, LoadedModule
from stepwell.frontend.numbers import as_dim
from stepwell.frontend.operators import number_tensor
from stepwell.frontend.random_source import SEED
from stepwell.frontend.signatures import CLASSES, dtype_of, free_names, is_static
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.values import Origin, Pack, Tensor, is_number, kind_of
from stepwell.ir import size
from stepwell.ir.diagnostics import Diagnostic, Label, UserError
from stepwell.ir.dtypes import BOOL, F32, I64, DType
from stepwell.ir.graph.core import Graph, Value
from stepwell.ir.recursion import deep_recursion
from stepwell.ir.size import Dim
from stepwell.ir.types import TensorType

_ENTRY = {"model": "model's", "train": "train block's"}


class Entry:
    """One declaration, elaborated with inputs made from its signature."""

    def __init__(
        self,
        program: CheckedProgram,
        module: LoadedModule,
        function: s.Function,
        statics: Mapping[str, Any],
        pack_rank: int | None,
        training: bool = False,
    ) -> None:
        self.e = Elaboration(program, function.name)
        self.e.training = training
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
                self._results = self.evaluate()
                self._seed_is_no_parameter()
                self._results_are_no_parameters()
                self._inputs_determine_sizes()
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

    def evaluate(self) -> list[tuple[str, Value]]:
        """Elaborate the body; the results of the graph."""
        own = self.function.gradient is not None
        self.value = (with_own_gradient if own else finish_body)(self.e, self.frame)
        return self._named_results()

    def _seed_is_no_parameter(self) -> None:
        parameter = self.e.parameters.get(SEED)
        if parameter is not None and self.e.random is not None:
            self.e.fail(
                "SW0415",
                "the parameter `seed` is in the way of the seed of random numbers",
                parameter.origin.span,
                help="give the parameter another name",
            )

    def _results_are_no_parameters(self) -> None:
        """Callers know results by name as they know what is held between runs."""
        declared = {result.name for result in self.function.results}
        for name, _ in self._results:
            held = self.e.parameters.get(name)
            if held is not None and (name in declared or self.function.kind == "train"):
                self.e.fail(
                    "SW0303",
                    f"a result of `{self.function.name}` has this name, too: `{name}`",
                    held.origin.span,
                    help="give one of them another name",
                )

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
        if all(value.name != SEED for value in e.builder.inputs):
            e.builder.unique(SEED)  # kept free for random numbers

    def _unique_names(self) -> None:
        arguments = [(formal.name, formal.span) for formal in self.function.formals]
        results = [(r.name or f"out{i}", r.span) for i, r in enumerate(self.function.results)]
        for kind, names in (("argument", arguments), ("result", results)):
            seen: set[str] = set()
            for name, span in names:
                if name in seen:
                    self.e.fail("SW0303", f"the {kind} `{name}` is declared twice", span)
                seen.add(name)

    def _input(self, formal: s.Formal) -> None:
        e = self.e
        kind = self.function.kind
        if kind in ENTRIES and formal.type.dims and formal.type.name in CLASSES:
            e.fail(
                "SW0220",
                f"a {kind}'s inputs have one element type, not `{formal.type.name}`",
                formal.type.span,
                help="write `f32[…]`",
            )
        dtype = dtype_of(e, self.frame, formal.type)
        type = TensorType(dtype, self._shape(formal))
        value = e.builder.input(formal.name, type)
        whose = f"the {_ENTRY[kind]} input" if kind in ENTRIES else "the argument"
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
        if self.function.kind in ENTRIES:
            self.e.fail(
                "SW0220",
                f"a {self.function.kind}'s inputs have a fixed number of axes",
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
        if self.function.kind not in ENTRIES:
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
            if is_number(value) and self.function.kind not in ENTRIES:
                continue
            if is_number(value):
                value = number_tensor(self.e, value, dtype_of_number(value), (), span)
            if not isinstance(value, Tensor):
                if self.function.kind not in ENTRIES:
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
