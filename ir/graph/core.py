"""The graph IR's records: values, operators, ops and graphs.

    graph ::= Graph(name, sizes, inputs, parameters, constraints, ops, results, updates)
    op    ::= Op(definition, operands, attributes, results, regions, span, backward)

A graph is a list of ops in SSA form: each value is defined once, before its uses. Everything is
immutable; a pass builds a new graph. Operators are an open set: an `OpDef` record each.

    graph @mlp[N](%image: f32[N, 784]) {
      param %fc.weight: f32[784, 10] = glorot_uniform
      %0 = contract(%image, %fc.weight) {spec = "ik,kj->ij"} : f32[N, 10]   @mlp:4:5-20
      return out = %0
    }
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.scalar import Formula
from stepwell.ir.size import Dim
from stepwell.ir.span import Span
from stepwell.ir.types import TensorType

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Value:
    """An SSA value: a name unique in its graph, and a type."""

    name: str
    type: TensorType

    def __str__(self) -> str:
        return f"%{self.name}"

    def __hash__(self) -> int:
        return hash(self.name)  # kept by the string; a type's is computed each time


Attribute = Any  # int, float, bool, str, DType, Size, Formula, Array, and tuples of these
Attributes = Mapping[str, Attribute]


class TypeRuleError(Exception):
    """A type rule's refusal. `operands` are the positions at fault; `code` is in the catalogue."""

    def __init__(
        self, message: str, operands: tuple[int, ...] = (), help: str | None = None,
        code: str = "SW0204",
    ) -> None:  # fmt: skip
        self.message, self.operands, self.help, self.code = message, operands, help, code
        super().__init__(message)


@dataclass(frozen=True)
class NotDifferentiable:
    """Why an operator has no gradient."""

    why: str


@dataclass(frozen=True)
class NoBody:
    """Why an operator has no formula (it holds sub-graphs, for one)."""

    why: str


@dataclass(frozen=True)
class AttributeDef:
    """One attribute: its kind is "int", "float", "bool", "string", "dtype", "dim", "dims", "ints",
    "formula", "array" or "number"."""

    name: str
    kind: str
    doc: str


@dataclass(frozen=True)
class Example:
    """Operand types and attributes for which an operator must work: the tests' matrix."""

    operands: tuple[TensorType, ...]
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class OpDef:
    """An operator, defined once. No field may be left out, but `regions` where it holds none.

    formula     what it computes, as documentation
    operands    their names, the names of loads in the body; a last name "*x" stands for x0, x1, …
    infer       (operand types, attributes) → result types; raises TypeRuleError
    reference   (arrays, attributes with dims as ints, result types with static shapes) → arrays
    gradient    (builder, op, cotangents) → a cotangent or None per operand, or NotDifferentiable
    body        (operand types, attributes, result types) → one Formula per result, or NoBody
    examples    element type → the cases of the tests' matrix (empty where it does not apply)
    regions     (operand types, attributes, regions) → result types: `infer` of one with sub-graphs
    """

    name: str
    formula: str
    operands: tuple[str, ...]
    attributes: tuple[AttributeDef, ...]
    infer: Callable[[Sequence[TensorType], Attributes], tuple[TensorType, ...]]
    reference: Callable[[Sequence[Array], Attributes, Sequence[TensorType]], tuple[Array, ...]]
    gradient: Callable[[Any, Op, Sequence[Value]], Sequence[Value | None]] | NotDifferentiable
    body: (
        Callable[
            [Sequence[TensorType], Attributes, Sequence[TensorType]], tuple[Formula, ...]
        ]
        | NoBody
    )  # fmt: skip
    examples: Callable[[DType], Sequence[Example]]
    regions: (
        Callable[[Sequence[TensorType], Attributes, Sequence[Graph]], Sequence[TensorType]] | None
    ) = None

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    @property
    def variadic(self) -> bool:
        return bool(self.operands) and self.operands[-1].startswith("*")

    def operand_names(self, count: int) -> tuple[str, ...]:
        """The names of `count` operands: `*x` becomes x0, x1, …"""
        if not self.variadic:
            return self.operands
        fixed, rest = self.operands[:-1], self.operands[-1][1:]
        return (*fixed, *(f"{rest}{i}" for i in range(count - len(fixed))))


@dataclass(frozen=True)
class Op:
    """One application of an operator; `backward` where differentiation made it, to pull a
    cotangent back: it runs after what it differentiates."""

    definition: OpDef
    operands: tuple[Value, ...]
    attributes: Attributes
    results: tuple[Value, ...]
    regions: tuple[Graph, ...] = ()
    span: Span | None = field(default=None, compare=False)
    backward: bool = False

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    def formulas(self) -> tuple[Formula, ...]:
        """The body, instantiated for this op; empty where the operator has none."""
        return self._formulas

    @cached_property
    def _formulas(self) -> tuple[Formula, ...]:
        if isinstance(self.definition.body, NoBody):
            return ()
        types = [value.type for value in self.operands]
        return self.definition.body(types, self.attributes, [v.type for v in self.results])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Op)
            and self.definition is other.definition
            and self.operands == other.operands
            and self.results == other.results
            and self.regions == other.regions
            and self.backward == other.backward
            and same_attributes(self.attributes, other.attributes)
        )

    def __hash__(self) -> int:
        return hash(self.results)


ParameterKind = Literal["param", "state"]


@dataclass(frozen=True)
class Parameter:
    """A tensor that is held between runs: the value, and how it starts without weights (`zeros`).
    A `param` is trained; a `state` (running statistics, an optimiser's moments) only carried on."""

    value: Value
    initializer: str
    span: Span | None = field(default=None, compare=False)
    kind: ParameterKind = "param"

    @property
    def path(self) -> str:
        return self.value.name


@dataclass(frozen=True)
class Constraint:
    """What must hold of the sizes on entry: left `relation` right, one of == != <= < % (% means
    that right divides left). Checked at run time, because it could not be proved."""

    left: Dim
    relation: str
    right: Dim
    message: str
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Graph:
    """A computation. Size symbols are in `sizes`, in order of first use in the signature.

    Every op reads the parameters as they were; when a run ends, each parameter in `updates` takes
    its new value.
    """

    name: str
    sizes: tuple[str, ...]
    inputs: tuple[Value, ...]
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...]
    ops: tuple[Op, ...]
    results: tuple[tuple[str, Value], ...]  # (name of the output, value)
    span: Span | None = field(default=None, compare=False)
    updates: tuple[tuple[Value, Value], ...] = ()  # (parameter's value, its new value)

    def producers(self) -> dict[Value, Op]:
        """Each computed value's op."""
        return {value: op for op in self.ops for value in op.results}

    def uses(self) -> dict[Value, list[Op]]:
        """Each value's using ops, once per operand position; graph results are not counted."""
        found: dict[Value, list[Op]] = {}
        for op in self.ops:
            for value in op.operands:
                found.setdefault(value, []).append(op)
        return found

    def outcomes(self) -> Iterator[Value]:
        """What a run is for: the values of its results, then the new values of parameters."""
        yield from (value for _, value in self.results)
        yield from (value for _, value in self.updates)

    def values(self) -> Iterator[Value]:
        """Inputs, parameters, then every op's results in order."""
        yield from self.inputs
        yield from (parameter.value for parameter in self.parameters)
        for op in self.ops:
            yield from op.results


def free_name(name: str, taken: Container[str]) -> str:
    """`name`, or `name_2`, `name_3`, … where it is taken."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def same_attributes(left: Attributes, right: Attributes) -> bool:
    """Equality of attributes; floats compare by bits (NaN equals NaN, 0.0 differs from -0.0)."""
    return left.keys() == right.keys() and all(
        attribute_key(left[k]) == attribute_key(right[k]) for k in left
    )


def attribute_key(value: Attribute) -> Any:
    """A hashable key: equal exactly where the attribute values mean the same."""
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, (tuple, list)):
        return tuple(attribute_key(v) for v in value)
    if isinstance(value, float):
        return ("float", repr(value))
    return (type(value).__name__, value)
