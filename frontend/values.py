"""What an expression can be worth while a program is elaborated.

A tensor of the graph, a scalar inside a formula, a number known at compile time, or something that
can be called. Plain Python values stand for themselves: int, float, bool, str, `Size`, `DType`; a
`list` is a list literal, a `tuple` several results.

    x @ w          → Tensor(%0 : f32[N, 10], computed at mlp.well:4)
    D / heads      → Quotient(D, heads): exact where a size is needed, a fraction in arithmetic
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stepwell.frontend import syntax
from stepwell.ir import scalar
from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import Value
from stepwell.ir.size import Dim, Size
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

if TYPE_CHECKING:
    from stepwell.frontend.elements import FormulaState
    from stepwell.frontend.modules import LoadedModule


@dataclass(frozen=True)
class Origin:
    """Where a tensor came from, as a phrase: from `param w1` at mlp.well:3."""

    span: Span
    phrase: str
    computed: bool = False  # a bare "computed at", to be replaced by the first `let`


@dataclass(frozen=True)
class Tensor:
    """A value of the graph under construction."""

    value: Value
    origin: Origin

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def dtype(self) -> DType:
        return self.value.type.dtype

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.value.type.shape

    def describe(self) -> str:
        """Type and origin, for a caret."""
        return f"{self.type}, {self.origin.phrase}"


@dataclass(frozen=True)
class Scalar:
    """One element inside index notation."""

    expr: scalar.Expr
    state: FormulaState

    @property
    def dtype(self) -> DType:
        return self.expr.dtype


@dataclass(frozen=True)
class Deferred:
    """A number computed from symbolic sizes, whose dtype is that of what it meets.

    `op` is a scalar operation; a `div` of two dims is also an exact size where one is needed.
    """

    op: str
    operands: tuple[Any, ...]  # int, float, Size, Deferred

    @cached_property
    def nodes(self) -> int:
        """How many operations, written out as a tree."""
        return 1 + sum(x.nodes for x in self.operands if isinstance(x, Deferred))

    def __str__(self) -> str:
        signs = {
            "add": "+",
            "sub": "-",
            "mul": "*",
            "div": "/",
            "pow": "**",
            "eq": "==",
            "ne": "!=",
            "lt": "<",
            "le": "<=",
            "gt": ">",
            "ge": ">=",
            "and": "and",
            "or": "or",
        }
        if self.op in signs:
            left, right = (
                f"({x})" if isinstance(x, (Deferred, Size)) and " " in str(x) else str(x)
                for x in self.operands
            )
            return f"{left} {signs[self.op]} {right}"
        return f"{self.op}({', '.join(map(str, self.operands))})"


@dataclass(frozen=True)
class Pack:
    """The dimensions that a `..S` stands for."""

    dims: tuple[Dim, ...]


@dataclass(frozen=True)
class Declared:
    """A fn, layer, model or optimizer of a module."""

    function: syntax.Function
    module: LoadedModule

    @property
    def kind(self) -> str:
        return self.function.kind

    @property
    def name(self) -> str:
        return self.function.name


@dataclass(frozen=True)
class Builtin:
    """A function that the compiler knows; `run` takes a `Given` and the bound arguments."""

    name: str
    run: Callable[..., Any]


@dataclass(eq=False)
class Held:
    """A state, or the parameter in an optimizer: what it was before the run, what it is by now."""

    tensor: Tensor
    current: Tensor


@dataclass(frozen=True)
class Transformed:
    """A function made from another: `kind` is grad, value_and_grad or checkpoint."""

    kind: str
    function: Declared | Builtin | Transformed
    wrt: tuple[syntax.Expr, ...]
    span: Span


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with its arguments: numbers, and tensors of one element (a schedule's rate)."""

    callee: Declared
    arguments: dict[str, Any]
    span: Span


@dataclass(frozen=True)
class Namespace:
    """A module under the name that `use` gave it."""

    name: str
    module: LoadedModule


Number = int | float | bool | Size | Deferred


def is_number(value: object) -> bool:
    """Whether a value is a number known at compile time (symbolic sizes included)."""
    return isinstance(value, (int, float, Size, Deferred))


def is_dim(value: object) -> bool:
    """Whether a value is a size: an int or a `Size`, but not a bool."""
    return isinstance(value, (int, Size)) and not isinstance(value, bool)


def kind_of(value: object) -> str:
    """What a value is, in words: for messages."""
    match value:
        case bool():
            return "a bool"
        case int():
            return f"the number {value}"
        case float():
            return f"the number {value}"
        case Size() | Deferred():
            return f"the size `{value}`"
        case str():
            return "a string"
        case Tensor():
            return f"a tensor {value.type}"
        case Scalar():
            return f"an element of type {value.dtype}"
        case DType():
            return f"the dtype `{value}`"
        case list():
            return "a list"
        case tuple():
            return f"{len(value)} values"
        case Declared(kind="optimizer"):
            return "an optimizer"
        case Declared():
            return f"a {value.kind}"
        case Builtin() | Transformed():
            return "a function"
        case Optimizer():
            return "an optimizer"
        case Namespace():
            return f"the module `{value.name}`"
        case Pack():
            return "a shape pack"
    return "nothing"
