"""Operators that make a tensor from nothing: `constant`, `iota` and `dim`.

    %c = constant {value = 2.0, dtype = f32, shape = [N]} : f32[N]
    %i = iota {dtype = i64, shape = [4, 3], axis = 0} : i64[4, 3]
    %n = dim {value = N} : i64

A constant is one number of any shape, or an array of exactly its shape. An array has no formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepwell.ir import numerics
from stepwell.ir.dtypes import F32, I64, DType
from stepwell.ir.graph.body import axes, result, variables
from stepwell.ir.graph.core import (
    Array,
    AttributeDef,
    Attributes,
    Example,
    NotDifferentiable,
    OpDef,
)
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import ATTRIBUTE, axis_of, dims, nonnegative, refuse
from stepwell.ir.scalar import Cast, Const, Expr, Formula, from_dim
from stepwell.ir.size import symbol
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
NOTHING_TO_DIFFERENTIATE = NotDifferentiable("it has no operands")


def _infer_constant(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    type = TensorType(attributes["dtype"], tuple(attributes["shape"]))
    value: Any = attributes["value"]
    nonnegative("the size", type.shape)
    if isinstance(value, np.ndarray):
        if value.shape != type.shape:
            refuse(f"an array of shape {dims(value.shape)} for {type}", code=ATTRIBUTE)
        if value.dtype != type.dtype.numpy:
            refuse(f"an array of {value.dtype} for {type}", code=ATTRIBUTE)
    elif type.dtype.is_int and not type.dtype.lowest <= value <= type.dtype.highest:
        refuse(f"{value} does not fit {type.dtype}", code="SW0214")
    return (type,)


def _constant(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    value, (type,) = attributes["value"], results
    if isinstance(value, np.ndarray):
        return (numerics.cast(value, type.dtype),)
    return (np.full(type.shape, value, type.dtype.numpy),)


def _constant_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    value, (type,) = attributes["value"], results
    if isinstance(value, np.ndarray):
        return ()
    return result(axes(type.shape), Const(value, type.dtype), type.dtype)


def _constant_examples(dtype: DType) -> list[Example]:
    one: float | int | bool = dtype.plain(1)
    shapes = [(), (0,), (7, 3), (symbol("N"), 2)]
    splats = [Example((), {"value": one, "dtype": dtype, "shape": shape}) for shape in shapes]
    array = np.arange(6).reshape(2, 3).astype(dtype.numpy)
    return [*splats, Example((), {"value": array, "dtype": dtype, "shape": (2, 3)})]


def _infer_iota(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    type = TensorType(attributes["dtype"], tuple(attributes["shape"]))
    nonnegative("the size", type.shape)
    if type.dtype.is_bool:
        refuse("takes numbers, not bool", code="SW0213")
    axis_of(attributes["axis"], type.rank)
    return (type,)


def _iota(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    (type,), axis = results, attributes["axis"]
    static = tuple(int(d) for d in type.shape if isinstance(d, int))
    counted = np.arange(static[axis], dtype=np.int64)
    wide = counted.reshape([-1 if i == axis else 1 for i in range(len(static))])
    return (numerics.cast(np.broadcast_to(wide, static), type.dtype),)


def _iota_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    (type,) = results
    index = axes(type.shape)
    count: Expr = variables(index)[attributes["axis"]]
    if type.dtype.compute is not type.dtype:
        count = Cast(count, F32)
    return result(index, count, type.dtype)


def _iota_examples(dtype: DType) -> list[Example]:
    if dtype.is_bool:
        return []
    shapes = [((5,), 0), ((3, 17), 1), ((0, 2), 0), ((symbol("N"), 4), 0)]
    return [Example((), {"dtype": dtype, "shape": shape, "axis": axis}) for shape, axis in shapes]


def _infer_dim(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    return (TensorType(I64),)


def _dim(arrays: Sequence[Array], attributes: Attributes, results: Types) -> tuple[Array, ...]:
    return (np.asarray(attributes["value"], np.int64),)


def _dim_body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    return result((), from_dim(attributes["value"]), I64)


def _dim_examples(dtype: DType) -> list[Example]:
    if dtype is not I64:
        return []
    return [Example((), {"value": 7}), Example((), {"value": 2 * symbol("N") + 1})]


CONSTANT = register(
    OpDef(
        "constant",
        "y = value, everywhere or element by element",
        (),
        (
            AttributeDef("value", "number", "one number, or an array of the result's shape"),
            AttributeDef("dtype", "dtype", "the element type"),
            AttributeDef("shape", "dims", "the shape"),
        ),
        _infer_constant,
        _constant,
        NOTHING_TO_DIFFERENTIATE,
        _constant_body,
        _constant_examples,
    )
)
IOTA = register(
    OpDef(
        "iota",
        "y[..., i, ...] = i along one axis",
        (),
        (
            AttributeDef("dtype", "dtype", "the element type"),
            AttributeDef("shape", "dims", "the shape"),
            AttributeDef("axis", "int", "the axis that counts"),
        ),
        _infer_iota,
        _iota,
        NOTHING_TO_DIFFERENTIATE,
        _iota_body,
        _iota_examples,
    )
)
DIM = register(
    OpDef(
        "dim",
        "y = a size",
        (),
        (AttributeDef("value", "dim", "the size"),),
        _infer_dim,
        _dim,
        NOTHING_TO_DIFFERENTIATE,
        _dim_body,
        _dim_examples,
    )
)
