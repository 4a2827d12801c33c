"""`contract`: sums of products of two tensors, by an einsum specification.

    %h = contract(%x, %w) {spec = "ik,kj->ij"} : f32[N, 128]
         [i: N, j: 128] -> sum[k: 784] x[i, k] * y[k, j]

Letters name axes. One that is not in the output is summed; none occurs twice in one operand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.body import Names, load, result
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Array, AttributeDef, Attributes, Example, Op, OpDef, Value
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import ATTRIBUTE, INNER, RANK, refuse, same_dtype, takes
from stepwell.ir.scalar import Axis, Binary, Expr, Formula, Reduce, Var
from stepwell.ir.size import Dim, symbol
from stepwell.ir.text import format_dim
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
Shape = tuple[Dim, ...]


def split_spec(spec: str) -> tuple[str, str, str]:
    """`"ik,kj->ij"` → ("ik", "kj", "ij"). TypeRuleError where it is malformed."""
    inputs, arrow, output = spec.partition("->")
    x, comma, y = inputs.partition(",")
    letters = x + y + output
    if not arrow or not comma or (letters and not (letters.isalpha() and letters.isascii())):
        refuse(f'"{spec}" is no specification such as "ik,kj->ij"', code=ATTRIBUTE)
    for part in (x, y, output):
        if len(set(part)) != len(part):
            refuse(f'a letter occurs twice in "{part}" of "{spec}"', code=ATTRIBUTE)
    for letter in output:
        if letter not in x + y:
            refuse(f'"{letter}" of the output is in no operand of "{spec}"', code=ATTRIBUTE)
    return x, y, output


def extents(spec: str, types: Types) -> dict[str, Dim]:
    """letter → size, in order of occurrence."""
    found: dict[str, Dim] = {}
    for position, (part, type) in enumerate(zip(split_spec(spec)[:2], types, strict=True)):
        if len(part) != type.rank:
            refuse(f'{type} has {type.rank} axes, "{part}" has {len(part)}', position, code=RANK)
        for letter, dim in zip(part, type.shape, strict=True):
            known = found.setdefault(letter, dim)
            if known != dim:
                refuse(
                    f"inner dimensions differ, {format_dim(known)} and {format_dim(dim)}",
                    *(0, 1),
                    code=INNER,
                )
    return found


def _infer(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    for position, type in enumerate(types):
        takes(type, not type.dtype.is_bool, "numbers", position)
    dtype = same_dtype(types)
    sizes = extents(attributes["spec"], types)
    output = split_spec(attributes["spec"])[2]
    return (TensorType(dtype, tuple(sizes[letter] for letter in output)),)


def _reference(
    arrays: Sequence[Array], attributes: Attributes, results: Types
) -> tuple[Array, ...]:
    wide = results[0].dtype.compute.numpy
    x, y = (array.astype(wide) for array in arrays)
    product = np.einsum(attributes["spec"], x, y, optimize=wide.kind == "f")
    return (np.asarray(product).astype(arrays[0].dtype),)


def _gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    x, y, output = split_spec(op.attributes["spec"])
    left, right = op.operands
    return [
        _back(b, cotangents[0], right, (output, y), left, x),
        _back(b, cotangents[0], left, (output, x), right, y),
    ]


def _back(
    b: GraphBuilder, dy: Value, other: Value, parts: tuple[str, str], target: Value, wanted: str
) -> Value:
    """dy contracted with the other operand; letters of the target alone are spread over."""
    kept = "".join(letter for letter in wanted if letter in parts[0] + parts[1])
    value = b.op("contract", [dy, other], spec=f"{parts[0]},{parts[1]}->{kept}")
    if kept == wanted:
        return value
    axes = tuple(wanted.index(letter) for letter in kept)
    return b.op("broadcast", [value], shape=target.type.shape, axes=axes)


def _body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    x, y, output = split_spec(attributes["spec"])
    sizes, dtype = extents(attributes["spec"], types), types[0].dtype
    names = Names(*(type.shape for type in types))
    axes = {letter: Axis(names.fresh(letter), dim) for letter, dim in sizes.items()}

    def at(part: str) -> list[Expr]:
        return [Var(axes[letter].name) for letter in part]

    product = Binary("mul", load("x", at(x), dtype), load("y", at(y), dtype))
    inner = tuple(axes[letter] for letter in sizes if letter not in output)
    value = Reduce("sum", inner, product) if inner else product
    return result([axes[letter] for letter in output], value, dtype)


def _examples(dtype: DType) -> list[Example]:
    if dtype.is_bool:
        return []
    n = symbol("N")
    cases: list[tuple[str, Shape, Shape]] = [
        ("ik,kj->ij", (3, 5), (5, 17)),
        ("ik,jk->ij", (2, 7), (3, 7)),
        ("k,k->", (31,), (31,)),
        ("i,j->ij", (3,), (4,)),
        ("bik,bkj->bij", (2, 3, 4), (2, 4, 5)),
        ("nihd,njhd->nhij", (2, 3, 2, 4), (2, 3, 2, 4)),
        ("ik,kj->ij", (3, 0), (0, 2)),
        ("ik,kj->ij", (1, 1), (1, 1)),
        ("ik,j->i", (3, 2), (4,)),
        ("ik,kj->ij", (n, 9), (9, 4)),
    ]
    return [
        Example((TensorType(dtype, x), TensorType(dtype, y)), {"spec": spec})
        for spec, x, y in cases
    ]


CONTRACT = register(
    OpDef(
        "contract",
        "z[i, j] = sum[k] x[i, k] * y[k, j], for instance",
        ("x", "y"),
        (AttributeDef("spec", "string", 'letters of the axes, such as "bik,bkj->bij"'),),
        _infer,
        _reference,
        _gradient,
        _body,
        _examples,
    )
)
