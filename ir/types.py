"""Tensor types: an element type and a shape of dims. `f32[N, 2*H]`; a scalar is `f32`."""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.ir.dtypes import DType
from stepwell.ir.size import Dim, product


@dataclass(frozen=True)
class TensorType:
    """A dense row-major tensor."""

    dtype: DType
    shape: tuple[Dim, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> Dim:
        """How many elements."""
        return product(self.shape)

    @property
    def bytes(self) -> Dim:
        """Bytes in memory."""
        return self.elements * self.dtype.bytes

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def with_shape(self, shape: tuple[Dim, ...] | list[Dim]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def __str__(self) -> str:
        if not self.shape:
            return self.dtype.name
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
