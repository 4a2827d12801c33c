"""Operators that say what is differentiated: `gradient`, `stop_gradient`, `checkpoint` and
`custom_gradient`. The pass `differentiate` puts other operators in their place.

    %loss, %dw = gradient(%x, %w) {wrt = [1]} : f32, f32[3] {
      graph @loss(%x: f32[3], %w: f32[3]) {
        %p = mul(%x, %w) : f32[3]
        %sum = reduce_sum(%p) {axes = [0]} : f32
        return loss = %sum
      }

A region's inputs are the operands, all that it sees of the graph around it but sizes. What a
gradient is, `derivative.py` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.body import axes, result, variables
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import (
    Array,
    AttributeDef,
    Attributes,
    Example,
    Graph,
    NoBody,
    NotDifferentiable,
    Op,
    OpDef,
    Value,
)
from stepwell.ir.graph.regions import one_region, region_count, result_types, takes_operands
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import ATTRIBUTE, DTYPE, refuse
from stepwell.ir.scalar import Formula, Load
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]


def _infer_from_region(types: Types, attributes: Attributes) -> NoReturn:
    refuse("the types of its results are those of its region")


def _run_region(arrays: Sequence[Array], attributes: Attributes, results: Types) -> NoReturn:
    raise TypeError("an op with a region is run by interpreting that")


def _no_examples(dtype: DType) -> list[Example]:
    return []


# gradient


def _gradient_types(types: Types, attributes: Attributes, regions: Sequence[Graph]) -> Types:
    found = one_region(types, attributes, regions)
    if not found or found[0].rank or not found[0].dtype.is_float:
        shown = str(found[0]) if found else "nothing"
        refuse(f"what is differentiated is one float, not {shown}", code=DTYPE)
    for position in attributes["wrt"]:
        if not 0 <= position < len(types):
            refuse(f"there is no operand {position} to differentiate by", code=ATTRIBUTE)
        if not types[position].dtype.is_float:
            refuse(f"there is no gradient by {types[position]}", position, code=DTYPE)
    return (*found, *(types[position] for position in attributes["wrt"]))


GRADIENT = register(
    OpDef(
        "gradient",
        "the region's results, then the gradients of its first by the operands `wrt`",
        ("*x",),
        (AttributeDef("wrt", "ints", "the positions of the operands to differentiate by"),),
        _infer_from_region,
        _run_region,
        NotDifferentiable("it is expanded before what is around it is differentiated"),
        NoBody("its region holds ops, each with its own body"),
        _no_examples,
        _gradient_types,
    )
)


# stop_gradient


def _infer_stop(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    return (types[0],)


def _stop(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    return (np.array(arrays[0]),)


def _no_gradient(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    return [None]


def _stop_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    index = axes(types[0].shape)
    return result(index, Load("x", variables(index), types[0].dtype), types[0].dtype)


def _stop_examples(dtype: DType) -> list[Example]:
    return [Example((TensorType(dtype, shape),)) for shape in ((), (3, 5))]


STOP_GRADIENT = register(
    OpDef(
        "stop_gradient",
        "y = x, through which no gradient flows",
        ("x",),
        (),
        _infer_stop,
        _stop,
        _no_gradient,
        _stop_body,
        _stop_examples,
    )
)


# barrier, by which what a checkpoint computes again is told from what was computed before


def _pass_on(b: GraphBuilder, op: Op, cotangents: Sequence[Value]) -> list[Value | None]:
    return [cotangents[0]]


def _barrier_examples(dtype: DType) -> list[Example]:
    return [Example((TensorType(dtype, shape),), {"number": 1}) for shape in ((), (3, 5))]


BARRIER = register(
    OpDef(
        "barrier",
        "y = x, but no pass takes what follows for what follows x",
        ("x",),
        (AttributeDef("number", "int", "which checkpoint it belongs to"),),
        _infer_stop,
        _stop,
        _pass_on,
        _stop_body,
        _barrier_examples,
    )
)


# checkpoint and custom_gradient

CHECKPOINT = register(
    OpDef(
        "checkpoint",
        "the region's results; a gradient computes the region again, nothing in it is kept",
        ("*x",),
        (),
        _infer_from_region,
        _run_region,
        NotDifferentiable("derivative.py differentiates its region"),
        NoBody("its region holds ops, each with its own body"),
        _no_examples,
        one_region,
    )
)


def _custom_types(types: Types, attributes: Attributes, regions: Sequence[Graph]) -> Types:
    region_count(regions, 2)
    forward, backward = regions
    takes_operands(forward, types)
    results = result_types(forward)
    cotangents = [type for type in results if type.dtype.is_float]
    inputs = [*types, *results, *cotangents]
    takes_operands(backward, inputs, "operands, results and the results' cotangents")
    wanted = [type for type in types if type.dtype.is_float]
    if list(result_types(backward)) != wanted:
        shown = ", ".join(map(str, wanted))
        refuse(f"its second region gives a cotangent for each operand with one: {shown}")
    return results


CUSTOM_GRADIENT = register(
    OpDef(
        "custom_gradient",
        "the first region's results; the second has the operands, results and cotangents of "
        "results as its inputs and gives those of the operands",
        ("*x",),
        (),
        _infer_from_region,
        _run_region,
        NotDifferentiable("derivative.py takes its second region"),
        NoBody("its regions hold ops, each with its own body"),
        _no_examples,
        _custom_types,
    )
)
