"""Register arrays: local buffers kept as SSA values, never in memory.

In: a buffer, whether a vector loop's index is its last subscript, constant subscripts. Out: values.

    alloc acc: f32[2, 16] register     →     two values of type <16 x float>, or 32 of type float

`combined` reduces all elements in the fixed order of `Horizontal`: the upper half is combined with
the lower, and so on; of an odd count the last element is put after the halves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from llvmlite import ir

from stepwell.codegen.values import (
    I32,
    LLVMType,
    LLVMValue,
    element_type,
    numbers,
    undefined,
    with_lanes,
)
from stepwell.ir.loop.core import Buffer


@dataclass
class RegisterArray:
    """The values of a register buffer, row-major; of whole rows where it is kept in vectors."""

    buffer: Buffer
    lanes: int | None
    values: list[LLVMValue]

    @classmethod
    def undefined(cls, buffer: Buffer, lanes: int | None) -> RegisterArray:
        """Before the first store."""
        count = 1
        for dim in buffer.shape if lanes is None else buffer.shape[:-1]:
            assert isinstance(dim, int), "a register array has constant extents"
            count *= dim
        type = with_lanes(element_type(buffer.dtype), lanes)
        return cls(buffer, lanes, [undefined(type)] * count)

    @property
    def type(self) -> LLVMType:
        return with_lanes(element_type(self.buffer.dtype), self.lanes)

    def position(self, subscripts: list[int]) -> int:
        """Where the element (or row) with these subscripts stands; IndexError outside."""
        place = 0
        for subscript, extent in zip(subscripts, self.buffer.shape, strict=False):
            assert isinstance(extent, int), "a register array has constant extents"
            if not 0 <= subscript < extent:
                raise IndexError(f"{self.buffer.name}{subscripts} is outside {self.buffer.shape}")
            place = place * extent + subscript
        return place

    def part(self, subscripts: list[int]) -> RegisterArray:
        """The sub-array at these leading subscripts."""
        shape = self.buffer.shape[len(subscripts) :]
        count = prod(d for d in (shape if self.lanes is None else shape[:-1]) if isinstance(d, int))
        start = self.position(subscripts) * count
        part = replace(self.buffer, shape=shape)
        return RegisterArray(part, self.lanes, self.values[start : start + count])


def combined(
    builder: Any, array: RegisterArray, combine: Callable[[LLVMValue, LLVMValue], LLVMValue]
) -> LLVMValue:
    """All elements of the array combined pairwise, as a scalar."""
    values = list(array.values)
    if array.lanes is None:
        return _halved(values, combine)
    while len(values) > 1 and len(values) % 2 == 0:
        half = len(values) // 2
        values = [combine(values[i], values[half + i]) for i in range(half)]
    joined = _concatenated(builder, values)
    while joined is not None and joined.type.count % 2 == 0:
        half = joined.type.count // 2
        low, high = (_part(builder, joined, start, half) for start in (0, half))
        joined = combine(low, high)
    elements = [
        builder.extract_element(joined, ir.Constant(I32, i)) for i in range(joined.type.count)
    ]
    return _halved(elements, combine)


def _halved(
    values: list[LLVMValue], combine: Callable[[LLVMValue, LLVMValue], LLVMValue]
) -> LLVMValue:
    while len(values) > 1:
        half = len(values) // 2
        rest = values[2 * half :]
        values = [combine(values[i], values[half + i]) for i in range(half)] + rest
    return values[0]


def _part(builder: Any, vector: LLVMValue, start: int, count: int) -> LLVMValue:
    return builder.shuffle_vector(
        vector, undefined(vector.type), numbers(I32, list(range(start, start + count)))
    )


def _concatenated(builder: Any, vectors: list[LLVMValue]) -> LLVMValue:
    """One vector of all the elements, by extraction and insertion (for odd counts, so rare)."""
    if len(vectors) == 1:
        return vectors[0]
    lanes = vectors[0].type.count
    type = ir.VectorType(vectors[0].type.element, lanes * len(vectors))
    joined = undefined(type)
    for i, vector in enumerate(vectors):
        for lane in range(lanes):
            element = builder.extract_element(vector, ir.Constant(I32, lane))
            joined = builder.insert_element(joined, element, ir.Constant(I32, i * lanes + lane))
    return joined
