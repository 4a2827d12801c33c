"""Graph IR to text; `stepwell.ir.graph.parser` reads it back, equal.

    graph @mlp[N](%x: f32[N, 784]) {
      param %fc.weight: f32[784, 10] = glorot_uniform
      %h = contract(%x, %fc.weight) {spec = "ik,kj->ij"} : f32[N, 10]
      return out = %h
    }

Nothing is left out: numbers and arrays are exact, spans stand at the ends of lines. An array of
more than 64 elements, or with a NaN, is the base64 of its bytes (little-endian, row-major).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping

import numpy as np

from stepwell.ir.dtypes import F32, F64, I64, DType, from_numpy
from stepwell.ir.graph.core import Array, Attribute, Attributes, Constraint, Graph, Op, Value
from stepwell.ir.scalar import Formula
from stepwell.ir.size import Size
from stepwell.ir.span import Span
from stepwell.ir.text import (
    format_dim,
    format_formula,
    format_name,
    format_number,
    format_sources,
    format_span,
    format_string,
    format_type,
    short_names,
)

_PLAIN_VALUE = re.compile(r"\w+(\.\w+)*", re.ASCII)
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)
_SHORT = 64  # elements


def print_graph(graph: Graph) -> str:
    """The graph's text, sources of its spans first."""
    short = short_names(span.file for span in _spans(graph))
    return format_sources(short) + "\n".join(_Printer(short).graph(graph, "")) + "\n"


def print_op(op: Op) -> str:
    """One op's line, without its span and region: for messages."""
    return _op_line(op)


def format_value(value: Value) -> str:
    """`%x`"""
    plain = _PLAIN_VALUE.fullmatch(value.name)
    return f"%{value.name}" if plain else f"%`{value.name}`"


def _spans(graph: Graph) -> Iterator[Span]:
    spans = [graph.span, *(parameter.span for parameter in graph.parameters)]
    spans += [constraint.span for constraint in graph.constraints]
    spans += [op.span for op in graph.ops]
    yield from (span for span in spans if span is not None)
    for op in graph.ops:
        for region in op.regions:
            yield from _spans(region)


class _Printer:
    def __init__(self, short: Mapping[str, str]) -> None:
        self.short = short

    def graph(self, graph: Graph, indent: str) -> Iterator[str]:
        sizes = f"[{', '.join(map(format_name, graph.sizes))}]" if graph.sizes else ""
        inputs = ", ".join(map(_declaration, graph.inputs))
        name = graph.name if _PLAIN_NAME.fullmatch(graph.name) else f"`{graph.name}`"
        head = f"{indent}graph @{name}{sizes}({inputs})"
        yield f"{self.at(head, graph.span)} {{"
        inner = indent + "  "
        for constraint in graph.constraints:
            yield self.at(f"{inner}{_constraint(constraint)}", constraint.span)
        for parameter in graph.parameters:
            start = _initializer(parameter.initializer)
            line = f"{inner}{parameter.kind} {_declaration(parameter.value)} = {start}"
            yield self.at(line, parameter.span)
        for op in graph.ops:
            yield self.at(f"{inner}{_op_line(op)}", op.span)
            for region in op.regions:
                yield from self.graph(region, inner + "  ")
        for value, new in graph.updates:
            yield f"{inner}update {format_value(value)} = {format_value(new)}"
        results = [f"{format_name(name)} = {format_value(value)}" for name, value in graph.results]
        yield f"{inner}return {', '.join(results)}".rstrip()
        yield f"{indent}}}"

    def at(self, line: str, span: Span | None) -> str:
        return line if span is None else f"{line}  {format_span(span, self.short)}"


def _declaration(value: Value) -> str:
    return f"{format_value(value)}: {format_type(value.type)}"


def _initializer(text: str) -> str:
    return text if _PLAIN_NAME.fullmatch(text) else format_string(text)


def _constraint(item: Constraint) -> str:
    relation = "divisible by" if item.relation == "%" else item.relation
    test = f"{format_dim(item.left)} {relation} {format_dim(item.right)}"
    return f"require {test}, {format_string(item.message)}"


def _op_line(op: Op) -> str:
    results = ", ".join(map(format_value, op.results))
    operands = f"({', '.join(map(format_value, op.operands))})" if op.operands else ""
    attributes = format_attributes(op.attributes)
    types = ", ".join(format_type(value.type) for value in op.results)
    mark = "backward " if op.backward else ""
    return f"{mark}{results} = {op.name}{operands}{attributes} : {types}"


def format_attributes(attributes: Attributes) -> str:
    """` {axes = [1], dtype = f32}`, with a space before; empty where there are none."""
    entries = [f"{name} = {format_attribute(value)}" for name, value in attributes.items()]
    return f" {{{', '.join(entries)}}}" if entries else ""


def format_attribute(value: Attribute) -> str:
    """The value, exactly."""
    match value:
        case np.ndarray():
            return _array(value)
        case np.generic():
            return format_attribute(value.item())
        case bool():
            return "true" if value else "false"
        case int():
            return format_number(value, I64)
        case float():
            return repr(value)
        case str():
            return format_string(value)
        case DType():
            return value.name
        case Size():
            return format_dim(value)
        case Formula():
            return format_formula(value)
        case tuple() | list():
            return f"[{', '.join(map(format_attribute, value))}]"
    raise TypeError(f"an attribute cannot be a {type(value).__name__}")


def _array(array: Array) -> str:
    dtype = from_numpy(array.dtype)
    odd = dtype is None or (dtype.is_float and bool(np.isnan(array).any()))
    if odd or array.size > _SHORT:
        data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
        return f'base64 "{data}"'
    assert dtype is not None, "odd covers it"
    return _nested(array.tolist() if not dtype.is_float else array, dtype)


def _nested(items: object, dtype: DType) -> str:
    if isinstance(items, (list, np.ndarray)) and np.ndim(items):
        return f"[{', '.join(_nested(item, dtype) for item in items)}]"
    number = dtype.plain(items)
    if dtype.is_float:
        return format_number(number, F32 if dtype == F32 else F64).removesuffix("_f64")
    return format_number(number, I64 if dtype.is_int else dtype)
