"""`kernel`: ops fused into one, held in a region; made by the pass `fuse`.

    %y = kernel(%x) {name = "exp_sum", family = "reduction"} : f32[N] {
      input %x: f32[N, 4]
      %e = exp(%x) : f32[N, 4]
      %s = reduce_sum(%e) {axes = [1]} : f32[N]
      return s = %s
    }

The region's inputs are the operands in order; its results are the op's. Names inside are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from stepwell.ir.dtypes import DType
from stepwell.ir.graph.core import (
    Array,
    AttributeDef,
    Attributes,
    Example,
    NoBody,
    NotDifferentiable,
    OpDef,
)
from stepwell.ir.graph.regions import one_region
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import refuse
from stepwell.ir.types import TensorType


def _infer(types: Sequence[TensorType], attributes: Attributes) -> NoReturn:
    refuse("a kernel's types are those of its region", code="SW0204")


def _reference(
    arrays: Sequence[Array], attributes: Attributes, results: Sequence[TensorType]
) -> NoReturn:
    raise TypeError("a kernel is run by interpreting its region")


def _examples(dtype: DType) -> list[Example]:
    return []


KERNEL = register(
    OpDef(
        "kernel",
        "the ops of its region",
        ("*x",),
        (
            AttributeDef("name", "string", "what the kernel is called"),
            AttributeDef("family", "string", "the strategy that schedules it"),
        ),
        _infer,
        _reference,
        NotDifferentiable("differentiation comes before fusion"),
        NoBody("its region holds ops, each with its own body"),
        _examples,
        one_region,
    )
)
