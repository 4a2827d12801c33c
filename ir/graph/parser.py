"""Text to graph IR: what `print_graph` wrote, or a person.

In: text. Out: a graph that is verified op by op, so that every mistake is a `UserError` with the
place in the text. Types are written out and checked against the operators' rules.

    %h = contract(%x, %w) {spec = "ik,kj->ij"} : f32[N, 10]
    →  Op(contract, (x, w), {"spec": "ik,kj->ij"}, (Value("h", f32[N, 10]),))
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from lark.tree import Meta
from lark.visitors import v_args

from stepwell.ir.diagnostics import VerifyError
from stepwell.ir.dtypes import I64, DType
from stepwell.ir.graph.core import (
    Attribute,
    AttributeDef,
    Constraint,
    Graph,
    Op,
    OpDef,
    Parameter,
    ParameterKind,
    Value,
)
from stepwell.ir.graph.registry import REGISTRY
from stepwell.ir.graph.verify import op_fault, verify_graph
from stepwell.ir.parse import Parser
from stepwell.ir.resolve import Resolver, Scope, did_you_mean
from stepwell.ir.scalar import Const
from stepwell.ir.syntax import (
    AttributeNode,
    Data,
    ExpressionBuilder,
    ExprNode,
    FormulaNode,
    ListNode,
    Name,
    Number,
    Place,
    Prefix,
    SpanNode,
    String,
    TypeNode,
    ValueNode,
    name_of,
    place,
    unquote,
)


@dataclass(frozen=True)
class ValueName:
    text: str
    at: Place


@dataclass(frozen=True)
class Declaration:
    value: ValueName
    type: TypeNode


@dataclass(frozen=True)
class RequireNode:
    left: ExprNode
    relation: str
    right: ExprNode
    message: str
    span: SpanNode | None
    at: Place


@dataclass(frozen=True)
class ParameterNode:
    kind: ParameterKind
    declaration: Declaration
    initializer: str
    span: SpanNode | None


@dataclass(frozen=True)
class UpdateNode:
    value: ValueName
    new: ValueName


@dataclass(frozen=True)
class OpNode:
    results: tuple[ValueName, ...]
    operator: Name
    operands: tuple[ValueName, ...]
    attributes: tuple[AttributeNode, ...]
    types: tuple[TypeNode, ...]
    span: SpanNode | None
    regions: tuple[GraphNode, ...]
    at: Place
    backward: bool


@dataclass(frozen=True)
class GraphNode:
    name: str
    sizes: tuple[Name, ...]
    inputs: tuple[Declaration, ...]
    span: SpanNode | None
    items: tuple[RequireNode | ParameterNode | OpNode | UpdateNode, ...]
    outputs: tuple[tuple[Name, ValueName], ...]
    at: Place


def _bare(token: str) -> str:
    """`%x` → `x`, out of backquotes."""
    return str(token)[1:].strip("`")


@v_args(meta=True)
class _GraphBuilder(ExpressionBuilder):
    def file(self, meta: Meta, children: list[Any]) -> tuple[dict[str, str], GraphNode]:
        return children[0] or {}, children[1]

    def graph(self, meta: Meta, children: list[Any]) -> GraphNode:
        name, sizes, inputs, span, *items, outputs = children
        return GraphNode(
            _bare(name), sizes or (), inputs or (), span, tuple(items), outputs, place(meta)
        )

    def names(self, meta: Meta, children: list[Any]) -> tuple[Name, ...]:
        return tuple(name_of(token) for token in children)

    def declaration(self, meta: Meta, children: list[Any]) -> Declaration:
        return Declaration(self._value(children[0]), children[1])

    def require(self, meta: Meta, children: list[Any]) -> RequireNode:
        left, relation, right, message, span = children
        relation = "%" if str(relation) == "divisible" else str(relation)
        return RequireNode(left, relation, right, unquote(message), span, place(meta))

    def parameter(self, meta: Meta, children: list[Any]) -> ParameterNode:
        return self._held("param", children)

    def state(self, meta: Meta, children: list[Any]) -> ParameterNode:
        return self._held("state", children)

    def update(self, meta: Meta, children: list[Any]) -> UpdateNode:
        return UpdateNode(self._value(children[0]), self._value(children[1]))

    def op(self, meta: Meta, children: list[Any]) -> OpNode:
        mark, results, operator, operands, attributes, types, span, *regions = children
        return OpNode(
            results,
            name_of(operator),
            operands or (),
            attributes or (),
            types,
            span,
            tuple(regions),
            place(meta),
            mark is not None,
        )

    def operands(self, meta: Meta, children: list[Any]) -> tuple[ValueName, ...]:
        return tuple(self._value(token) for token in children)

    def inputs(self, meta: Meta, children: list[Any]) -> tuple[Declaration, ...]:
        return tuple(children)

    types = outputs = inputs

    def output(self, meta: Meta, children: list[Any]) -> tuple[Name, ValueName]:
        return name_of(children[0]), self._value(children[1])

    def returns(self, meta: Meta, children: list[Any]) -> tuple[Any, ...]:
        return children[0] or ()

    @staticmethod
    def _held(kind: ParameterKind, children: list[Any]) -> ParameterNode:
        declaration, start, span = children
        text = unquote(start) if start.type == "STRING" else name_of(start).text
        return ParameterNode(kind, declaration, text, span)

    @staticmethod
    def _value(token: Any) -> ValueName:
        return ValueName(_bare(token), place(token))


@cache
def _parser() -> Parser:
    return Parser("graph.lark", _GraphBuilder(visit_tokens=False), ("file",))


def parse_graph(text: str, file: str = "<graph>") -> Graph:
    """The graph that the text describes, verified. Raises UserError."""
    sources, node = _parser().parse(text, "file", file)
    reader = _Reader(file, text, sources)
    graph = reader.graph(node)
    try:
        verify_graph(graph)
    except VerifyError as error:
        reader.fail(node.at, "SW0910", error.message)
    return graph


class _Reader(Resolver):
    """Nodes to records, with the graph's names in scope."""

    def graph(self, node: GraphNode) -> Graph:
        sizes = tuple(name.text for name in node.sizes)
        scope = Scope(dict.fromkeys(sizes, I64))
        defined: dict[str, Value] = {}
        inputs = tuple(self._declare(item, scope, defined) for item in node.inputs)
        constraints: list[Constraint] = []
        parameters: list[Parameter] = []
        ops: list[Op] = []
        updates: list[tuple[Value, Value]] = []
        for item in node.items:
            match item:
                case RequireNode():
                    constraints.append(self._constraint(item, scope))
                case ParameterNode():
                    value = self._declare(item.declaration, scope, defined)
                    at = self.span(item.span)
                    parameters.append(Parameter(value, item.initializer, at, item.kind))
                case OpNode():
                    ops.append(self._op(item, scope, defined))
                case UpdateNode():
                    updates.append((self._use(item.value, defined), self._use(item.new, defined)))
        results = tuple((name.text, self._use(value, defined)) for name, value in node.outputs)
        span = self.span(node.span)
        fixed = (tuple(parameters), tuple(constraints), tuple(ops), results, span, tuple(updates))
        return Graph(node.name, sizes, inputs, *fixed)

    def _declare(self, node: Declaration, scope: Scope, defined: dict[str, Value]) -> Value:
        if node.value.text in defined:
            self.fail(node.value.at, "SW0907", f"%{node.value.text} is defined twice")
        value = Value(node.value.text, self.type(node.type, scope))
        defined[value.name] = value
        return value

    def _use(self, node: ValueName, defined: Mapping[str, Value]) -> Value:
        if node.text not in defined:
            hint = did_you_mean(node.text, defined)
            self.fail(node.at, "SW0903", f"%{node.text} is not defined before its use", hint)
        return defined[node.text]

    def _constraint(self, node: RequireNode, scope: Scope) -> Constraint:
        if node.relation in (">", ">="):
            message = f"`{node.relation}` is not a relation between sizes: turn it round"
            self.fail(node.at, "SW0908", message)
        left, right = self.dim(node.left, scope), self.dim(node.right, scope)
        return Constraint(left, node.relation, right, node.message, self.span(node.span))

    def _op(self, node: OpNode, scope: Scope, defined: dict[str, Value]) -> Op:
        definition = self._operator(node.operator)
        for name in node.results:
            if name.text in defined:
                self.fail(name.at, "SW0907", f"%{name.text} is defined twice")
        operands = tuple(self._use(value, defined) for value in node.operands)
        if len(node.types) != len(node.results):
            counts = f"{len(node.results)} results and {len(node.types)} types"
            self.fail(node.at, "SW0908", f"{definition.name} is written with {counts}")
        results = tuple(
            Value(name.text, self.type(type, scope))
            for name, type in zip(node.results, node.types, strict=True)
        )
        attributes = self._attributes(node, definition, operands, scope)
        regions = tuple(self.graph(region) for region in node.regions)
        span = self.span(node.span)
        op = Op(definition, operands, attributes, results, regions, span, node.backward)
        problem = op_fault(op, defined, set(scope.names))
        if problem:
            self.fail(node.at, "SW0910", problem)
        return op

    def _operator(self, node: Name) -> OpDef:
        if node.text not in REGISTRY:
            hint = did_you_mean(node.text, REGISTRY)
            self.fail(node.at, "SW0909", f"there is no operator `{node.text}`", hint)
        return REGISTRY[node.text]

    # Attributes: the operator says of what kind each is

    def _attributes(
        self, node: OpNode, definition: OpDef, operands: Sequence[Value], scope: Scope
    ) -> dict[str, Attribute]:
        kinds = {item.name: item for item in definition.attributes}
        names = definition.operand_names(len(operands))
        inner = scope
        for name, value in zip(names, operands, strict=False):
            inner = inner.with_buffer(name, value.type.dtype)
        found: dict[str, Attribute] = {}
        array: AttributeNode | None = None
        for item in node.attributes:
            name = item.name.text
            if name not in kinds:
                hint = did_you_mean(name, kinds)
                message = f"{definition.name} has no attribute `{name}`"
                self.fail(item.at, "SW0908", message, hint)
            if name in found:
                self.fail(item.at, "SW0907", f"the attribute `{name}` is given twice")
            found[name] = self._attribute(item.value, kinds[name], inner)
            if isinstance(found[name], (ListNode, Data)):
                array = item
        if array is not None:
            found[array.name.text] = self._array(array, found)
        return found

    def _attribute(self, node: ValueNode, definition: AttributeDef, scope: Scope) -> Attribute:
        match definition.kind, node:
            case "string", String(text=text):
                return text
            case "dtype", Name():
                return self.dtype(node)
            case "formula", FormulaNode():
                return self.formula(node, scope)
            case "bool", Name(text="true" | "false" as text):
                return text == "true"
            case (("dims" | "ints"), ListNode(items=items)):
                return tuple(self._size(item, definition, scope) for item in items)
            case (("dim" | "int"), _):
                return self._size(node, definition, scope)
            case (("number" | "float"), (Number() | Prefix() | Name())):
                return self._number(node)
            case "number", (ListNode() | Data()):
                return node  # an array: its dtype and shape are attributes, too
        self.fail(node.at, "SW0908", f"`{definition.name}` is {definition.doc}")

    def _size(self, node: ValueNode, definition: AttributeDef, scope: Scope) -> Attribute:
        if isinstance(node, (FormulaNode, String, ListNode, Data)):
            self.fail(node.at, "SW0908", f"`{definition.name}` is {definition.doc}")
        value = self.dim(node, scope)
        if definition.kind in ("int", "ints") and not isinstance(value, int):
            self.fail(node.at, "SW0908", f"`{definition.name}` must be known: an integer")
        return value

    def _number(self, node: ExprNode) -> float | int | bool:
        """A plain number: with a point a float (in full precision), without one an integer."""
        match node:
            case Number(text=text) if any(c in text for c in ".eE") and "_" not in text:
                return float(text)
            case Prefix(op="neg", x=Number(text=text)) if any(c in text for c in ".eE"):
                return -float(text.partition("_")[0])
        constant = self.expr(node, Scope())
        if not isinstance(constant, Const):
            self.fail(node.at, "SW0908", "a number is expected here")
        return constant.value

    def _array(self, node: AttributeNode, found: Mapping[str, Attribute]) -> Attribute:
        dtype, shape = found.get("dtype"), found.get("shape")
        if not isinstance(dtype, DType) or not isinstance(shape, tuple):
            self.fail(node.at, "SW0908", "an array needs the attributes `dtype` and `shape`")
        if not all(isinstance(dim, int) and dim >= 0 for dim in shape):
            self.fail(node.at, "SW0908", "an array needs a shape of numbers")
        count = int(np.prod(shape, dtype=object))
        value = node.value
        try:
            if isinstance(value, Data):
                if value.encoding != "base64":
                    self.fail(value.at, "SW0908", f"data is base64, not `{value.encoding}`")
                data = base64.b64decode(value.text, validate=True)
                return np.frombuffer(data, dtype.numpy).reshape(shape)
            assert isinstance(value, ListNode), "only arrays come here"
            numbers = [self._element(item, dtype) for item in self._flat(value)]
            if len(numbers) != count:
                message = f"{len(numbers)} numbers for a shape of {count}"
                self.fail(value.at, "SW0908", message)
            return np.array(numbers, dtype.numpy).reshape(shape)
        except (ValueError, OverflowError, binascii.Error):
            self.fail(value.at, "SW0908", f"the data does not fit {dtype} of shape {list(shape)}")

    def _flat(self, node: ListNode) -> list[ValueNode]:
        found: list[ValueNode] = []
        for item in node.items:
            found += self._flat(item) if isinstance(item, ListNode) else [item]
        return found

    def _element(self, node: ValueNode, dtype: DType) -> float | int | bool:
        if isinstance(node, (FormulaNode, String, ListNode, Data)):
            self.fail(node.at, "SW0908", "a number is expected here")
        value = self._number(node)
        if dtype.is_int and not isinstance(value, int):
            self.fail(node.at, "SW0908", f"{value} is not of type {dtype}")
        return value
