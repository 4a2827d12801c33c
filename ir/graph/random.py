"""Random bits: `philox`, a function of a counter and a key.

    %b = philox(%low, %high, %key) {word = 0} : i32[N]
    [i: N] -> philox(low[i], high[i], key[i], 0)

The same for any order of evaluation. Uniform and normal numbers are made of these words by other
operators.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.ir.dtypes import I32, I64, DType
from stepwell.ir.graph.body import axes, load, result, variables
from stepwell.ir.graph.core import (
    Array,
    AttributeDef,
    Attributes,
    Example,
    NotDifferentiable,
    OpDef,
)
from stepwell.ir.graph.registry import register
from stepwell.ir.graph.rules import ATTRIBUTE, refuse, same_shape, takes
from stepwell.ir.philox import philox
from stepwell.ir.scalar import Formula, Philox
from stepwell.ir.size import symbol
from stepwell.ir.types import TensorType

Types = Sequence[TensorType]
_OPERANDS = ("low", "high", "key")


def _infer(types: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    for position, type in enumerate(types):
        takes(type, type.dtype is I64, "i64", position)
    if attributes["word"] not in range(4):
        refuse(f"`word` is 0, 1, 2 or 3, not {attributes['word']}", code=ATTRIBUTE)
    return (TensorType(I32, same_shape(types)),)


def _reference(
    arrays: Sequence[Array], attributes: Attributes, results: Types
) -> tuple[Array, ...]:
    return (philox(arrays[0], arrays[1], arrays[2], attributes["word"]),)


def _body(types: Types, attributes: Attributes, results: Types) -> tuple[Formula, ...]:
    index = axes(types[0].shape)
    low, high, key = (load(name, variables(index), I64) for name in _OPERANDS)
    return result(index, Philox(low, high, key, attributes["word"]), I32)


def _examples(dtype: DType) -> list[Example]:
    if dtype is not I64:
        return []
    shapes = [(), (0, 3), (17,), (2, 31), (symbol("N"), 5)]
    cases = zip(shapes, (0, 1, 2, 3, 0), strict=True)
    return [Example((TensorType(I64, shape),) * 3, {"word": word}) for shape, word in cases]


PHILOX = register(
    OpDef(
        "philox",
        "y = 32 bits of Philox 4x32-10 with the counter high * 2^64 + low",
        _OPERANDS,
        (AttributeDef("word", "int", "which of the four output words: 0 to 3"),),
        _infer,
        _reference,
        NotDifferentiable("random bits are integers"),
        _body,
        _examples,
    )
)
