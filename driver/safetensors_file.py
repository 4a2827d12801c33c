"""A `.safetensors` file as a mapping from path to array: mapped into memory, nothing copied.

In: a path. Out: `SafetensorsFile`, whose arrays are views of the file. In: arrays. Out: a file of
them, written to the side and renamed.

    SafetensorsFile(Path("mlp.safetensors"))["fc.bias"]  →  f32[128], read-only
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from stepwell.arrays import Array
from stepwell.files import replacing

_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    **{f"F{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"{kind}{bits}": np.dtype(f"<{kind.lower()}{bits // 8}")
       for kind in "IU" for bits in (8, 16, 32, 64)},
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class SafetensorsFile(Mapping[str, Array]):
    """The arrays of a file. ValueError where it is none; FileNotFoundError, OSError.

    The format: 8 bytes with the length of a header, the header in JSON, the numbers.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy"):
                pass  # checks the header: lengths, shapes, that offsets follow one another
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        mapped = np.asarray(np.memmap(path, np.uint8, "r"))
        length = int.from_bytes(mapped[:8].tobytes(), "little")
        self._header: dict[str, Any] = json.loads(mapped[8 : 8 + length].tobytes())
        self.metadata: dict[str, str] = self._header.pop("__metadata__", None) or {}
        self._data = mapped[8 + length :]

    def __getitem__(self, path: str) -> Array:
        about = self._header[path]
        if about["dtype"] not in _DTYPES:
            raise ValueError(f"`{path}` is of type {about['dtype']}, which Stepwell does not know")
        begin, end = about["data_offsets"]
        return self._data[begin:end].view(_DTYPES[about["dtype"]]).reshape(about["shape"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


def write_safetensors(
    path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str], durable: bool = False
) -> None:
    """The arrays under their names, beside text; no copy of them is made. OSError."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [place, place + array.nbytes],
        }
        place += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path, durable=durable) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
