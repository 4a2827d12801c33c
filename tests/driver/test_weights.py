"""Weights are read, matched with a model's parameters, and every misfit is reported."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import BF16, F32
from stepwell.ir.types import TensorType
from stepwell.safetensors_file import SafetensorsFile
from stepwell.weights import Drawn, ParameterSpec, Weights, matched, read_weights

SPECS = (
    ParameterSpec("fc.weight", TensorType(F32, (2, 3)), "ones"),
    ParameterSpec("fc.bias", TensorType(BF16, (3,)), "zeros"),
)
GIVEN = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc.bias": np.ones(3, ml_dtypes.bfloat16),
}


def _read(weights: str | Path | Weights) -> dict[str, np.ndarray]:
    given = read_weights(weights)
    assert given is not None
    return matched(SPECS, given, "m")


def _assert_given(found: dict[str, np.ndarray]) -> None:
    for path, value in GIVEN.items():
        np.testing.assert_array_equal(found[path], value)


def test_mapping() -> None:
    _assert_given(_read(GIVEN))


def test_torch_tensors() -> None:
    given = {
        "fc.weight": torch.arange(6).reshape(2, 3).float(),
        "fc.bias": torch.ones(3, dtype=torch.bfloat16),
    }
    _assert_given(_read(given))


def test_safetensors(tmp_path: Path) -> None:
    save_file(GIVEN, tmp_path / "w.safetensors")
    _assert_given(_read(tmp_path / "w.safetensors"))
    given = {"fc.weight": torch.arange(6).reshape(2, 3).float()}
    save_torch(given | {"fc.bias": torch.ones(3).bfloat16()}, tmp_path / "t.safetensors")
    _assert_given(_read(str(tmp_path / "t.safetensors")))


def test_safetensors_are_views_of_the_file(tmp_path: Path) -> None:
    """Nothing is copied but what is looked at."""
    many = {f"w{i}": np.full(5000, i, np.float32) for i in range(9)}
    save_file(many | {"odd": np.ones(3, np.uint16)}, tmp_path / "w.safetensors")
    file = SafetensorsFile(tmp_path / "w.safetensors")
    assert len(file) == 10
    before = file["w7"]
    assert np.shares_memory(before, file["w7"]) and not before.flags.writeable
    np.testing.assert_array_equal(before, many["w7"])
    assert file["odd"].dtype == np.uint16


def test_npz(tmp_path: Path) -> None:
    given = {"fc.weight": GIVEN["fc.weight"]}
    np.savez(tmp_path / "w.npz", **given)
    archive = read_weights(tmp_path / "w.npz")
    assert archive is not None
    found = matched(SPECS[:1], archive, "m")
    np.testing.assert_array_equal(found["fc.weight"], given["fc.weight"])


def test_without_weights_initialisers_decide() -> None:
    found = matched(SPECS, Drawn(SPECS, seed=0), "m")
    np.testing.assert_array_equal(found["fc.weight"], np.ones((2, 3)))
    np.testing.assert_array_equal(found["fc.bias"].astype(np.float32), np.zeros(3))


def test_every_misfit_is_reported() -> None:
    wrong = {"fc.wieght": GIVEN["fc.weight"], "fc.bias": np.ones(4, ml_dtypes.bfloat16), "z": 1}
    with pytest.raises(InputError) as caught:
        matched(SPECS, wrong, "net")
    text = str(caught.value)
    assert "the weights do not fit model `net`" in text
    assert "missing: `fc.weight` f32[2, 3]; did you mean `fc.wieght`?" in text
    assert "`fc.bias` is bf16[4], the model wants bf16[3]" in text
    assert "not in the model: `fc.wieght`; did you mean `fc.weight`?" in text
    assert "not in the model: `z`" in text


def test_a_wrong_dtype_is_not_converted_in_silence() -> None:
    with pytest.raises(InputError, match=r"`fc.weight`: is f64, but the model wants f32"):
        _read(GIVEN | {"fc.weight": np.zeros((2, 3))})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npz", None, "no weights file"),
        ("none.safetensors", None, "no weights file"),
        ("bad.npz", b"rubbish", "can't read weights"),
        ("bad.safetensors", b"rubbish and more rubbish", "can't read weights"),
        ("empty.npz", b"", "can't read weights"),
        ("bad.bin", b"", "must end in"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        _read(path)
