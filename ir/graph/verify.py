"""The graph verifier: SSA form, types, attributes, sizes.

In: a graph. Out: nothing, or a `VerifyError` that shows the line at fault:

    add: shapes differ, [N] and [M]
      | %z = add(%x, %y) : f32[N]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stepwell.ir.diagnostics import VerifyError
from stepwell.ir.graph import attributes as attribute_rules
from stepwell.ir.graph.core import Attribute, Graph, Op, TypeRuleError, Value
from stepwell.ir.graph.printer import format_value, print_op
from stepwell.ir.scalar import Expr, Formula, Reduce, Var, children
from stepwell.ir.size import Dim, Size, symbols
from stepwell.ir.text import format_type
from stepwell.ir.types import TensorType

RELATIONS = ("==", "!=", "<=", "<", "%")


def verify_graph(graph: Graph) -> None:
    """Raise VerifyError where the graph breaks a rule of the graph IR."""
    _verify(graph)


def _verify(graph: Graph) -> None:
    head = f"graph @{graph.name}"
    if len(set(graph.sizes)) != len(graph.sizes):
        raise VerifyError(f"a size is declared twice in {list(graph.sizes)}", head, graph.span)
    sizes = set(graph.sizes)
    defined: dict[str, Value] = {}
    for value in (*graph.inputs, *(p.value for p in graph.parameters)):
        message = _define(value, defined) or undeclared(value.type.shape, sizes)
        if message:
            raise VerifyError(message, f"{value}: {format_type(value.type)}", graph.span)
    for constraint in graph.constraints:
        message = undeclared((constraint.left, constraint.right), sizes)
        if constraint.relation not in RELATIONS:
            message = f"`{constraint.relation}` is not a relation"
        if message:
            shown = f"require {constraint.left} {constraint.relation} {constraint.right}"
            raise VerifyError(message, shown, constraint.span)
    for op in graph.ops:
        message = op_fault(op, defined, sizes)
        if message:
            raise VerifyError(message, print_op(op), op.span)
        for region in op.regions:
            _verify(region)
    _verify_results(graph, defined)
    _verify_updates(graph, defined)


def _verify_results(graph: Graph, defined: Mapping[str, Value]) -> None:
    names = [name for name, _ in graph.results]
    if len(set(names)) != len(names):
        raise VerifyError(f"an output is named twice in {names}", "return", graph.span)
    for name, value in graph.results:
        if defined.get(value.name) != value:
            line = f"return {name} = {format_value(value)}"
            raise VerifyError(f"{format_value(value)} is not defined", line, graph.span)


def _verify_updates(graph: Graph, defined: Mapping[str, Value]) -> None:
    held = {parameter.value for parameter in graph.parameters}
    updated: set[Value] = set()
    for value, new in graph.updates:
        message = None
        if value not in held:
            message = f"{format_value(value)} is not a parameter"
        elif value in updated:
            message = f"{format_value(value)} is updated twice"
        elif defined.get(new.name) != new:
            message = f"{format_value(new)} is not defined"
        elif new.type != value.type:
            message = f"{format_type(value.type)} is updated by {format_type(new.type)}"
        if message:
            line = f"update {format_value(value)} = {format_value(new)}"
            raise VerifyError(message, line, graph.span)
        updated.add(value)


def _define(value: Value, defined: dict[str, Value]) -> str | None:
    if value.name in defined:
        return f"{format_value(value)} is defined twice"
    defined[value.name] = value
    return None


def undeclared(dims: Iterable[Dim], sizes: set[str]) -> str | None:
    """The complaint about a size that is not declared."""
    for dim in dims:
        for name in sorted(symbols(dim)):
            if name not in sizes:
                return f"the size `{name}` is not declared"
    return None


def op_fault(op: Op, defined: dict[str, Value], sizes: set[str]) -> str | None:
    """What is wrong with one op, given what is defined before it; its results are added."""
    for value in op.operands:
        known = defined.get(value.name)
        if known is None:
            return f"{format_value(value)} is used before it is defined"
        if known.type != value.type:
            types = f"{format_type(known.type)}, used as {format_type(value.type)}"
            return f"{format_value(value)} is defined as {types}"
    problem = (
        _operand_count(op)
        or attribute_rules.fault(op.definition, op.attributes)
        or _attribute_sizes(op, sizes)
        or _region_sizes(op, sizes)
        or _result_types(op)
    )
    if problem:
        return problem
    for value in op.results:
        problem = _define(value, defined) or undeclared(value.type.shape, sizes)
        if problem:
            return problem
    return None


def _operand_count(op: Op) -> str | None:
    names = op.definition.operands
    given = len(op.operands)
    least = len(names) - 1 if op.definition.variadic else len(names)
    if given < least or (given > least and not op.definition.variadic):
        return f"{op.name} takes {least} operand{'s' * (least != 1)}, not {given}"
    if bool(op.regions) != (op.definition.regions is not None):
        return f"{op.name} {'has' if op.regions else 'lacks'} a region"
    return None


def _result_types(op: Op) -> str | None:
    types = [value.type for value in op.operands]
    try:
        found = _inferred(op, types)
    except TypeRuleError as error:
        return f"{op.name}: {error.message}"
    declared = tuple(value.type for value in op.results)
    if tuple(found) != declared:
        shown = ", ".join(map(format_type, found))
        return f"{op.name} gives {shown}, not {', '.join(map(format_type, declared))}"
    return None


def _inferred(op: Op, types: Sequence[TensorType]) -> Sequence[TensorType]:
    rule = op.definition.regions
    if rule is None:
        return op.definition.infer(types, op.attributes)
    return rule(types, op.attributes, op.regions)


def _region_sizes(op: Op, sizes: set[str]) -> str | None:
    for region in op.regions:
        for name in region.sizes:
            if name not in sizes:
                return f"the size `{name}` of the region @{region.name} is not declared"
    return None


def _attribute_sizes(op: Op, sizes: set[str]) -> str | None:
    for value in op.attributes.values():
        problem = _sizes_in(value, sizes)
        if problem:
            return problem
    return None


def _sizes_in(value: Attribute, sizes: set[str]) -> str | None:
    match value:
        case Size():
            return undeclared((value,), sizes)
        case tuple() | list():
            return next((p for p in (_sizes_in(v, sizes) for v in value) if p), None)
        case Formula(axes=axes, value=expr):
            hidden = sorted({axis.name for axis in axes} & sizes)
            if hidden:
                return f"the axis `{hidden[0]}` hides the size of its name"
            problem = undeclared((axis.extent for axis in axes), sizes)
            return problem or _names_in(expr, sizes | {axis.name for axis in axes})
    return None


def _names_in(expr: Expr, known: set[str]) -> str | None:
    match expr:
        case Var(name=name) if name not in known:
            return f"`{name}` is neither an axis nor a size"
        case Reduce(axes=inner):
            for axis in inner:
                if axis.name in known:
                    return f"the axis `{axis.name}` hides another of its name"
            problem = undeclared((axis.extent for axis in inner), known)
            if problem:
                return problem
            known = known | {axis.name for axis in inner}
    return next((p for p in (_names_in(c, known) for c in children(expr)) if p), None)
