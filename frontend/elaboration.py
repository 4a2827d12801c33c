"""The state of one elaboration: the graph being built, the calls entered, the mistakes found.

In: requests to append ops, from the evaluator. Out: ops in a `GraphBuilder`, each with the span of
the expression that it came from; constraints on sizes; diagnostics with carets under the operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from stepwell.frontend import syntax
from stepwell.frontend.limits import MAX_OPS
from stepwell.frontend.values import Origin, Tensor
from stepwell.ir.diagnostics import Diagnostic, Label, UserError
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import (
    Attribute,
    Constraint,
    Parameter,
    ParameterKind,
    TypeRuleError,
    Value,
)
from stepwell.ir.size import Dim, symbols
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

if TYPE_CHECKING:
    from stepwell.frontend.elements import FormulaState
    from stepwell.frontend.modules import CheckedProgram, LoadedModule
    from stepwell.frontend.pending import PendingParameter
    from stepwell.frontend.random_source import RandomSource
    from stepwell.frontend.train_blocks import TrainParts


ENTRIES = ("model", "train")  # kinds of declarations that are compiled
_WORDS = {"param": "parameter", "state": "state"}


class Poisoned(Exception):
    """A value depends on a mistake that has been reported already."""


POISON = object()


@dataclass
class Naming:
    """The names given to parameters within one layer or model.

    `turns` are the turns of the `repeat`s around; a name used again gets `_2`, `_3`, …
    """

    prefix: str = ""
    turns: tuple[int, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    def path(self, name: str) -> str:
        """The path of a name in this scope, turns of `repeat` included."""
        return self.prefix + ".".join([name, *map(str, self.turns)])

    def fresh(self, name: str) -> str:
        """The path of the next use of a name."""
        self.counts[name] = self.counts.get(name, 0) + 1
        count = self.counts[name]
        return self.path(name if count == 1 else f"{name}_{count}")


@dataclass
class Frame:
    """One function being evaluated: its names, innermost scope last."""

    function: syntax.Function
    module: LoadedModule
    naming: Naming
    scopes: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    call_span: Span | None = None
    let_name: str | None = None
    assignable: int = 0  # inside how many `repeat` and `if` the current statement stands
    pending: list[PendingParameter] = field(default_factory=list)
    shares: bool = False  # a model called again: its parameters exist already
    like: TensorType | None = None  # the type of states that are declared without one

    def lookup(self, name: str) -> Any:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def names(self) -> list[str]:
        return [name for scope in self.scopes for name in scope]


class Elaboration:
    """Builds one graph."""

    def __init__(self, program: CheckedProgram, name: str) -> None:
        self.program = program
        self.builder = GraphBuilder(name)
        self.frames: list[Frame] = []
        self.faults: list[Diagnostic] = []
        self.formula: FormulaState | None = None
        self.depth = 0
        self.steps = 0
        self.exact: dict[tuple[Dim, Dim], None] = {}  # (a, b): b divides a, checked on entry
        self.models: dict[Any, str] = {}  # models called, with the prefix of their parameters
        self.parameters: dict[str, Tensor] = {}
        self.root = self.builder  # where inputs are declared, whatever region is being built
        self.random: RandomSource | None = None  # preset where a program keeps it as state
        self.training = False  # what the name `training` is worth
        self.train: TrainParts | None = None  # the train block that is being read
        self.calls: list[dict[Any, Any]] = [{}]  # a train block's calls of models, per region
        self.emitted = 0

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    # ops

    def emit(
        self,
        name: str,
        operands: Sequence[Tensor] = (),
        *,
        span: Span,
        spans: Sequence[Span] = (),
        hint: str | None = None,
        what: str | None = None,
        **attributes: Attribute,
    ) -> Tensor:
        """Append an op. `spans` are the operands' places, `what` the name for people."""
        self.emitted += 1
        if self.emitted > MAX_OPS:
            self.fail("SW0502", f"this model has more than {MAX_OPS} operations", span)
        try:
            value = self.builder.op(
                name, [t.value for t in operands], hint=hint or None, span=span, **attributes
            )
        except TypeRuleError as error:
            self.fail_labels(
                error.code,
                f"{what or name}: {error.message}",
                self._operand_labels(error, operands, spans, span),
                help=error.help,
            )
        return Tensor(value, computed(span))

    def _operand_labels(
        self,
        error: TypeRuleError,
        operands: Sequence[Tensor],
        spans: Sequence[Span],
        span: Span,
    ) -> list[Label]:
        shown = [i for i in error.operands if i < len(spans)] or list(range(len(spans)))
        labels = [Label(spans[i], operands[i].describe()) for i in shown if i < len(operands)]
        return labels or [Label(span)]

    def rename(self, tensor: Tensor, name: str) -> Tensor:
        """Give the newest op's result the name of the `let` that it is bound to."""
        ops = self.builder.ops
        if not ops or ops[-1].results != (tensor.value,):
            return tensor
        value = Value(self.builder.unique(name), tensor.type)
        ops[-1] = replace(ops[-1], results=(value,))
        for held in [h for h, new in self.builder.updates.items() if new == tensor.value]:
            self.builder.update(held, value)
        return Tensor(value, tensor.origin)

    def parameter(
        self,
        path: str,
        type: TensorType,
        initializer: str,
        span: Span,
        name: str,
        kind: ParameterKind = "param",
    ) -> Tensor:
        """A new parameter or state, or the existing one where a model is called again."""
        known = self.parameters.get(path)
        if known is not None:
            if self.frame.shares and known.type == type:
                return known
            self.fail(
                "SW0404",
                f"the {_WORDS[kind]} `{path}` is declared twice",
                span,
                f"{type} here, {known.type} before",
                help='give the layer call a name of its own: `name: "…"`',
            )
        if self.frames[0].function.kind in ENTRIES and (free := _symbols(type)):
            self.fail(
                "SW0409",
                f"the {_WORDS[kind]} `{path}` has the unknown size `{free[0]}`",
                span,
                str(type),
                help=f"write a number for `{free[0]}` in the signature of the "
                f"{self.frames[0].function.kind}",
            )
        value = Value(path, type)
        self.builder.unique(path)
        self.builder.parameters.append(Parameter(value, initializer, span, kind))
        tensor = Tensor(value, Origin(span, f"from `{kind} {name}` at {place(span)}"))
        self.parameters[path] = tensor
        return tensor

    def constrain(self, left: Dim, relation: str, right: Dim, message: str, span: Span) -> None:
        """A rule that is checked on entry."""
        known = {(c.left, c.relation, c.right) for c in self.builder.constraints}
        if (left, relation, right) not in known:
            self.builder.constraints.append(Constraint(left, relation, right, message, span))
        if relation == "%":
            self.exact[(left, right)] = None

    # mistakes

    def fail(
        self,
        code: str,
        message: str,
        span: Span,
        text: str = "",
        *,
        help: str | None = None,
        notes: Sequence[str] = (),
        also: Sequence[Label] = (),
    ) -> NoReturn:
        """Stop this statement with a diagnostic."""
        self.fail_labels(code, message, [Label(span, text), *also], help=help, notes=notes)

    def fail_labels(
        self,
        code: str,
        message: str,
        labels: Sequence[Label],
        *,
        help: str | None = None,
        notes: Sequence[str] = (),
    ) -> NoReturn:
        raise UserError([Diagnostic(code, message, tuple(labels), tuple(notes), help)])

    def record(self, error: UserError) -> None:
        """Keep a mistake and go on: it is told with the others; of a limit, the first one."""
        for fault in error.diagnostics:
            limit = fault.code == "SW0502"
            told = limit and any(fault.message == other.message for other in self.faults)
            if not told and fault not in self.faults:
                self.faults.append(fault)


def _symbols(type: TensorType) -> list[str]:
    return sorted({name for dim in type.shape for name in symbols(dim)})


def place(span: Span) -> str:
    """`mlp.well:3`, with the file's last part only."""
    return f"{span.file.rsplit('/', 1)[-1]}:{span.line}"


def computed(span: Span) -> Origin:
    """The origin of an unnamed intermediate result."""
    return Origin(span, f"computed at {place(span)}", computed=True)


def seen_from_outside(error: UserError, name: str, call: Span) -> UserError:
    """A mistake inside a library function, told at the user's call of it."""
    told = []
    for fault in error.diagnostics:
        if fault.span.file == call.file:
            told.append(fault)
            continue
        labels = (Label(call, f"in this call of `{name}`"), *fault.labels)
        told.append(Diagnostic(fault.code, fault.message, labels, fault.notes, fault.help))
    return UserError(told, error.sources)
