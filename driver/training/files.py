"""Arrays of samples in files.

In: `train.npz`, `train.safetensors`, or one with a prefix of the names in it. Out: arrays by name.

    read_arrays("digits.npz:train_")  →  {"image": …, "label": …}: train_image, train_label
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stepwell.arrays import Array
from stepwell.ir.diagnostics import InputError
from stepwell.safetensors_file import SafetensorsFile
from stepwell.suggestions import listed

_SUFFIXES = (".npz", ".safetensors")


def read_arrays(source: str | Path) -> dict[str, Array]:
    """The arrays of a file; with a prefix those that begin with it, without it. InputError."""
    path, prefix = _split(str(source))
    try:
        found = _opened(Path(path))
        named = {name: found[name] for name in found if name.startswith(prefix)}
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"can't read data from {path}: {error}") from None
    if not named and prefix:
        raise InputError(
            f"{path}: no array begins with `{prefix}`; there are {listed(list(found))}"
        )
    return {name.removeprefix(prefix): array for name, array in named.items()}


def _split(source: str) -> tuple[str, str]:
    for suffix in _SUFFIXES:
        path, found, prefix = source.rpartition(f"{suffix}:")
        if found:
            return path + suffix, prefix
    return source, ""


def _opened(path: Path) -> Mapping[str, Array]:
    if path.suffix == ".npz":
        if path.exists() and not zipfile.is_zipfile(path):
            raise ValueError("it is no .npz file")
        archive: Mapping[str, Array] = np.load(path, allow_pickle=False)
        return archive
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    raise InputError(f"data {path}: the name must end in .npz or .safetensors")
