"""Element types.

One record per dtype: its name in every text form, its kind and width, and its NumPy dtype. f16 and
bf16 are storage formats: a kernel computes in `dtype.compute` (f32) and rounds when it stores.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Literal

import ml_dtypes
import numpy as np

Kind = Literal["float", "int", "bool"]


@dataclass(frozen=True)
class DType:
    """An element type.

    >>> F32.bits, F32.numpy, BF16.compute.name
    (32, dtype('float32'), 'f32')
    """

    name: str
    kind: Kind
    bits: int
    signed: bool
    numpy: np.dtype[Any] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_int(self) -> bool:
        return self.kind == "int"

    @property
    def is_bool(self) -> bool:
        return self.kind == "bool"

    @property
    def bytes(self) -> int:
        """Bytes of one element in memory; bool takes one."""
        return max(1, self.bits // 8)

    @property
    def compute(self) -> DType:
        """The dtype in which kernels do arithmetic on this one."""
        return F32 if self.is_float and self.bits == 16 else self

    def plain(self, value: Any) -> float | int | bool:
        """`value` as a Python number; a float rounded to this dtype."""
        if self.is_bool:
            return bool(value)
        if self.is_int:
            return int(value)
        if self.bits == 32:
            return ctypes.c_float(value).value
        if self.bits == 64:
            return float(value)
        with np.errstate(over="ignore"):
            return float(self.numpy.type(value))

    @property
    def lowest(self) -> float | int | bool:
        """The identity of `max`: -inf, the most negative integer, or false."""
        if self.is_float:
            return float("-inf")
        return int(np.iinfo(self.numpy).min) if self.is_int else False

    @property
    def highest(self) -> float | int | bool:
        """The identity of `min`: +inf, the largest integer, or true."""
        if self.is_float:
            return float("inf")
        return int(np.iinfo(self.numpy).max) if self.is_int else True


F64 = DType("f64", "float", 64, True, np.dtype(np.float64))
F32 = DType("f32", "float", 32, True, np.dtype(np.float32))
F16 = DType("f16", "float", 16, True, np.dtype(np.float16))
BF16 = DType("bf16", "float", 16, True, np.dtype(ml_dtypes.bfloat16))
I64 = DType("i64", "int", 64, True, np.dtype(np.int64))
I32 = DType("i32", "int", 32, True, np.dtype(np.int32))
I16 = DType("i16", "int", 16, True, np.dtype(np.int16))
I8 = DType("i8", "int", 8, True, np.dtype(np.int8))
U8 = DType("u8", "int", 8, False, np.dtype(np.uint8))
BOOL = DType("bool", "bool", 1, False, np.dtype(np.bool_))

ALL = (F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL)
BY_NAME = {dtype.name: dtype for dtype in ALL}
_BY_NUMPY = {dtype.numpy: dtype for dtype in ALL}


def from_numpy(dtype: np.dtype[Any]) -> DType | None:
    """The DType of a NumPy dtype (any byte order aside), or None where Stepwell has none."""
    return _BY_NUMPY.get(np.dtype(dtype))
