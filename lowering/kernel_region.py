"""From a set of ops to a `kernel` op: its region, the values' names in it, and its own name.

In: ops in order, and which of their values are used outside. Out: one op.

    %h = contract(%image, %fc.weight) …        %h_2 = kernel(%image, %fc.weight) {
    %h_1 = max(%h, %zero)                  →     name = "matmul_relu", family = "contraction"}

Values are named afresh inside (`%x`, `%weight`, `%h`), so that equal layers give equal regions and
are compiled once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stepwell.ir.graph.core import Graph, Op, Value, free_name
from stepwell.ir.graph.registry import lookup
from stepwell.ir.scalar import Axis, Binary, Cast, Formula, Reduce, Select, Unary, variables
from stepwell.ir.size import Size, symbols
from stepwell.lowering.attentions import FAMILIES

# Operators that only move or make values: they name a kernel only where there is nothing else.
_SILENT = frozenset(
    {
        *("constant", "iota", "dim", "broadcast", "reshape", "transpose", "slice", "reverse"),
        *("pad", "concat", "cast", "select"),
    }
)
_SHORT = {
    "contract": "matmul",
    "reduce_sum": "sum",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_prod": "prod",
    "reduce_any": "any",
    "reduce_all": "all",
    "window_max": "max_pool",
    "window_sum": "sum_pool",
    "index": "formula",
}
# Patterns of operator names that have a name of their own, longest first.
_IDIOMS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"reduce_max", "sub", "exp", "reduce_sum", "div"}), "softmax"),
    (frozenset({"reduce_max", "sub", "exp", "reduce_sum", "log"}), "log_softmax"),
    (frozenset({"reduce_sum", "sub", "mul", "add", "rsqrt"}), "layer_norm"),
    (frozenset({"reduce_sum", "sub", "mul", "add", "sqrt", "div"}), "layer_norm"),
    (frozenset({"reduce_sum", "mul", "add", "rsqrt"}), "rms_norm"),
    (frozenset({"erf", "mul", "add"}), "gelu"),
)
_LONGEST = 4  # parts of a name


def kernel_op(
    ops: Sequence[Op], results: Sequence[Value], parameters: frozenset[Value], family: str,
    sizes: Sequence[str],
) -> Op:  # fmt: skip
    """The ops, in order, as one kernel whose results are the given values of theirs."""
    inside = {value for op in ops for value in op.results}
    operands = tuple(dict.fromkeys(v for op in ops for v in op.operands if v not in inside))
    names = _Names()
    new = {v: names.fresh(v, "" if v in parameters else "x") for v in operands}
    region_ops: list[Op] = []
    for op in ops:
        new.update((v, names.fresh(v, op.name)) for v in op.results if v not in new)
        region_ops.append(
            replace(
                op,
                operands=tuple(new[v] for v in op.operands),
                results=tuple(new[v] for v in op.results),
                backward=False,
            )
        )
    name = family if family in FAMILIES else kernel_name(ops)
    used = set(_sizes_used(ops))
    region = Graph(
        name,
        tuple(size for size in sizes if size in used),
        tuple(new[v] for v in operands),
        (),
        (),
        tuple(region_ops),
        tuple((new[v].name, new[v]) for v in results),
    )
    attributes = {"name": name, "family": family}
    last = next(op for op in reversed(ops) if results[-1] in op.results)
    backward = all(op.backward for op in ops if op.operands)
    return Op(
        lookup("kernel"), operands, attributes, tuple(results), (region,), last.span, backward
    )


class _Names:
    def __init__(self) -> None:
        self.taken: set[str] = set()

    def fresh(self, value: Value, name: str) -> Value:
        """The value under a short name: for an input the given one or the last part of its path;
        for a computed value its own without a number at its end, or else its operator's."""
        if name != "x":
            plain = re.sub(r"_?\d+$", "", value.name.rsplit(".", 1)[-1])
            name = plain if plain.isidentifier() else name or "weight"
        candidate = free_name(name, self.taken)
        self.taken.add(candidate)
        return Value(candidate, value.type)


def kernel_name(ops: Sequence[Op]) -> str:
    """A readable name, from the operators: `conv_relu`, `softmax`, `matmul_add_gelu`."""
    producers = {value: op for op in ops for value in op.results}
    labels = [_label(op, producers) for op in ops]
    names = {op.name for op in ops}
    for idiom, name in _IDIOMS:
        if idiom <= names:
            first = next(i for i, op in enumerate(ops) if op.name in idiom - {"add"})
            inside = idiom | {"add", "sub", "mul", "div"}
            after = zip(labels[first:], ops[first:], strict=True)
            rest = [label for label, op in after if op.name not in inside]
            labels = [*labels[:first], name, *rest]
            break
    parts = list(dict.fromkeys(label for label in labels if label))
    if not parts:
        parts = list(dict.fromkeys(op.name for op in ops if op.name != "constant")) or ["constant"]
    return "_".join(parts[:_LONGEST])


def _label(op: Op, producers: dict[Value, Op]) -> str | None:
    if op.name in _SILENT:
        return None
    if op.name == "conv":
        weight = op.operands[1].type.shape
        return "depthwise" if weight[1] == 1 and op.attributes["groups"] != 1 else "conv"
    if op.name == "max" and any(_is_zero(producers.get(v)) for v in op.operands):
        return "relu"
    if op.name == "index":
        return formula_label(op.attributes["formula"])
    return _SHORT.get(op.name, op.name)


def formula_label(formula: Formula) -> str:
    """What an index formula does last: `sum`, `argmax`, … or its outermost operator."""
    expr = formula.value
    while isinstance(expr, Cast):
        expr = expr.x
    match expr:
        case Reduce(kind=kind):
            return kind
        case Unary(op=op) | Binary(op=op):
            return op
        case Select():
            return "select"
    return "formula"


def _is_zero(op: Op | None) -> bool:
    if op is not None and op.name == "broadcast":
        return False
    return op is not None and op.name == "constant" and _plain_zero(op.attributes["value"])


def _plain_zero(value: object) -> bool:
    return not isinstance(value, np.ndarray) and value == 0


def _sizes_used(ops: Sequence[Op]) -> Iterator[str]:
    for op in ops:
        for value in (*op.operands, *op.results):
            for dim in value.type.shape:
                yield from symbols(dim)
        for attribute in op.attributes.values():
            yield from _symbols(attribute)


def _symbols(attribute: Any) -> Iterator[str]:
    match attribute:
        case Size():
            yield from symbols(attribute)
        case tuple() | list():
            for item in attribute:
                yield from _symbols(item)
        case Formula(axes=axes, value=value):
            yield from _symbols(axes)
            yield from variables(value)
        case Axis(extent=extent):
            yield from _symbols(extent)
