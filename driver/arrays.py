"""What a caller passes as a tensor, as a NumPy array of exactly the type that is wanted.

In: NumPy arrays, anything with `__dlpack__` or `__array__` (PyTorch tensors), Python numbers.
Out: an aligned, C-contiguous array in the machine's byte order; no copy where none is needed.

    as_array(torch.ones(2, 3).T, F32, "input `x`")  →  f32 array of shape (3, 2), copied
"""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np

from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import DType, from_numpy

Array = np.ndarray[Any, np.dtype[Any]]


def as_array(value: object, dtype: DType, what: str) -> Array:
    """`value` as an array of `dtype`. InputError, which says `what` is at fault, otherwise."""
    if isinstance(value, (bool, int, float)) and not isinstance(value, np.generic):
        return _number(value, dtype, what)
    array = _imported(value, what)
    if array.dtype != dtype.numpy:
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype != dtype.numpy:
        found = from_numpy(array.dtype)
        name = array.dtype.name if found is None else found.name
        raise InputError(
            f"{what}: is {name}, but the model wants {dtype}; "
            f"convert it: .astype({_spelling(dtype)})"
        )
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, requirements=["C", "A"]).reshape(array.shape)


def _spelling(dtype: DType) -> str:
    return "ml_dtypes.bfloat16" if dtype.name == "bf16" else f"np.{dtype.numpy.name}"


def _number(value: bool | int | float, dtype: DType, what: str) -> Array:
    """A Python number takes the wanted dtype, where that can hold it."""
    kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
    if kind != dtype.kind and not (kind == "int" and dtype.is_float):
        raise InputError(f"{what}: is the number {value!r}, but the model wants {dtype}")
    try:
        with np.errstate(over="raise"):
            return np.asarray(value, dtype.numpy)
    except (OverflowError, FloatingPointError):
        raise InputError(f"{what}: {value!r} does not fit {dtype}") from None


def _imported(value: object, what: str) -> Array:
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    torch_array = _from_torch_bfloat16(value)
    if torch_array is not None:
        return torch_array
    try:
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        if hasattr(value, "__array__"):
            return np.asarray(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{what}: can't be read as an array: {error}") from None
    raise InputError(
        f"{what}: is a {type(value).__name__}; pass a NumPy array, or a thing with "
        "`__dlpack__` or `__array__`"
    )


def _from_torch_bfloat16(value: object) -> Array | None:
    """DLPack to NumPy knows no bfloat16: go through the bits."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor) or value.dtype != torch.bfloat16:
        return None
    bits: Array = value.detach().contiguous().view(torch.int16).numpy()
    return np.asarray(bits.view(ml_dtypes.bfloat16))
