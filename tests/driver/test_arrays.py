"""What callers may pass as a tensor."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from stepwell.arrays import as_array
from stepwell.codegen.blocks import ALIGNMENT, address, filled_block
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import ALL, BF16, BOOL, F16, F32, F64, I32, U8, DType


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_an_array_of_the_right_kind_is_not_copied(dtype: DType) -> None:
    array = np.zeros((2, 3), dtype.numpy)
    assert as_array(array, dtype, "x") is array


def test_strides_and_byte_order_are_copied_away() -> None:
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    for odd in (base.T, base[:, ::2], base[::-1], base.astype(">f4"), base[:0]):
        found = as_array(odd, F32, "x")
        assert found.flags.c_contiguous
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, odd)
    unaligned = np.frombuffer(b"\0" + base.tobytes(), np.float32, 12, offset=1)
    assert as_array(unaligned, F32, "x").flags.aligned
    assert as_array(np.zeros((), ">f4"), F32, "x").shape == ()


def test_torch_and_dlpack() -> None:
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    np.testing.assert_array_equal(as_array(tensor.T, F32, "x"), tensor.T.numpy())
    half = tensor.bfloat16()
    found = as_array(half, BF16, "x")
    assert found.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found.astype(np.float32), tensor.numpy())
    with pytest.raises(InputError, match="can't be read as an array"):
        as_array(tensor.clone().requires_grad_(), F32, "x")


def test_the_array_protocol() -> None:
    class Holder:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return np.ones(3, np.float32)

    np.testing.assert_array_equal(as_array(Holder(), F32, "x"), np.ones(3))


@pytest.mark.parametrize(
    ("number", "dtype"), [(1.5, F64), (2, F32), (2, I32), (True, BOOL), (0.1, F16), (255, U8)]
)
def test_numbers_take_the_wanted_dtype(number: float, dtype: DType) -> None:
    found = as_array(number, dtype, "x")
    assert found.shape == ()
    assert found.dtype == dtype.numpy
    assert found == dtype.numpy.type(number)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (
            np.zeros(3),
            F32,
            r"x: is f64, but the model wants f32; convert it: \.astype\(np.float32\)",
        ),
        (np.zeros(3, np.uint16), I32, "x: is uint16, but the model wants i32"),
        (np.zeros(3, complex), F32, "complex128"),
        (np.array(["a"]), F32, "x: is str"),
        (np.array([None]), F32, "x: is object"),
        (np.zeros(3, np.float32), BF16, r"ml_dtypes\.bfloat16"),
        (1.5, I32, "is the number 1.5, but the model wants i32"),
        (True, F32, "is the number True"),
        (300, U8, "300 does not fit u8"),
        (1e60, F32, r"1e\+60 does not fit f32"),
        (70000, F16, "70000 does not fit f16"),
        ([1.0, 2.0], F32, "is a list"),
        ("text", F32, "is a str"),
        (None, F32, "is a NoneType"),
    ],
)
def test_what_does_not_fit(value: object, dtype: DType, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_array(value, dtype, "x")


def test_where_numbers_lie(tmp_path: Path) -> None:
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    mapped = np.memmap(tmp_path / "m", np.float32, "w+", shape=(3, 4))
    imported = torch.ones(3)[1:].numpy()
    locked = base[1:]
    locked.flags.writeable = False
    for array in (base, base[1:, 2:], base.T, np.float32(3) + base, mapped[1:], imported, locked):
        assert address(array) == array.__array_interface__["data"][0]


@pytest.mark.parametrize("size", [0, 1000, 5_000_000])
def test_a_filled_block_is_aligned_and_keeps_what_it_was_filled_with(size: int) -> None:
    block = filled_block(size, lambda array: array.fill(7))
    assert address(block) % ALIGNMENT == 0
    assert block.size >= size
    assert (block == 7).all()
    block[:] = 8
