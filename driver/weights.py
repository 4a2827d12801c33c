"""Weights: read from a file or a mapping, checked against a model's parameters.

In: a `.safetensors` or `.npz` file, a mapping from path to array, or None (initialisers and a
seed). Out: the arrays, as they are where that can be. Everything that does not fit is reported at
once:

    weights `mlp.safetensors` do not fit model `digits`:
      missing: `conv2d.weight` f32[32, 1, 3, 3]; did you mean `conv.weight`?
      `dense.bias` is f32[64], the model wants f32[128]
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.arrays import Array, as_array
from stepwell.initializers import initialize
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import from_numpy
from stepwell.ir.size import evaluate, product
from stepwell.ir.types import TensorType
from stepwell.safetensors_file import SafetensorsFile
from stepwell.suggestions import did_you_mean

Weights = Mapping[str, Any]

_SHOWN = 20  # faults in one message


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter as the compiled model knows it."""

    path: str
    type: TensorType
    initializer: str = "zeros"

    @property
    def bytes(self) -> int:
        return evaluate(product(self.type.shape), {}) * self.type.dtype.bytes


@dataclass(frozen=True)
class StateSpec(ParameterSpec):
    """A state: whether it is trained or only carried along, and where it lies in the block."""

    trained: bool = False
    offset: int = 0


class _Npz(Mapping[str, Array]):
    """The arrays of an .npz file, read each time that they are asked for."""

    def __init__(self, archive: Mapping[str, Array]) -> None:
        self._archive = archive

    def __getitem__(self, path: str) -> Array:
        try:
            return self._archive[path]
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"`{path}`: can't be read: {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._archive)

    def __len__(self) -> int:
        return len(self._archive)


class WeightsFile(Mapping[str, Array]):
    """The arrays of a weights file, each read when it is asked for; nothing of it is held.

    InputError where the file is not what it was.
    """

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self._path, self._names, self._stamp = path, frozenset(names), _stamp(path)

    def __getitem__(self, path: str) -> Array:
        if _stamp(self._path) != self._stamp:
            raise InputError(f"{self._path} has changed since its weights were loaded")
        arrays = read_weights(self._path)
        assert arrays is not None, "a path leads to a file"
        return np.array(arrays[path])

    def __contains__(self, path: object) -> bool:
        return path in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from what it was before; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


class Drawn(Mapping[str, Array]):
    """Parameters drawn by their initialisers with a seed, each time that they are asked for."""

    def __init__(self, parameters: Sequence[ParameterSpec], seed: int) -> None:
        self._specs = {spec.path: spec for spec in parameters}
        self._seed = seed

    def __getitem__(self, path: str) -> Array:
        spec = self._specs[path]
        return initialize(spec.initializer, spec.type, path, self._seed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def read_weights(source: str | Path | Weights | None) -> Weights | None:
    """The arrays in a file or mapping. InputError where a file can't be read."""
    if source is None or isinstance(source, Mapping):
        return source
    path = Path(source)
    try:
        if path.suffix == ".npz":
            return _Npz(np.load(path, allow_pickle=False))
        if path.suffix == ".safetensors":
            return SafetensorsFile(path)
    except FileNotFoundError:
        raise InputError(f"no weights file {path}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"can't read weights from {path}: {error}") from None
    raise InputError(f"weights {path}: the name must end in .safetensors or .npz")


def matched(
    parameters: Sequence[ParameterSpec],
    given: Weights,
    model: str,
    name: str = "the weights",
) -> dict[str, Array]:
    """Every parameter's array, dense and in the machine's byte order. InputError lists all that is
    wrong."""
    arrays, faults = _matched(parameters, given)
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        lines = "".join(f"\n  {fault}" for fault in [*faults[:_SHOWN], *more])
        raise InputError(f"{name} do not fit model `{model}`:{lines}")
    return arrays


def _matched(
    parameters: Sequence[ParameterSpec], given: Weights
) -> tuple[dict[str, Array], list[str]]:
    """The arrays that fit, by path, and one sentence per thing that does not."""
    wanted = {spec.path for spec in parameters}
    extra = [path for path in given if path not in wanted]
    arrays: dict[str, Array] = {}
    faults: list[str] = []
    for spec in parameters:
        if spec.path not in given:
            hint = did_you_mean(spec.path, extra)
            faults.append(f"missing: `{spec.path}` {spec.type}{hint}")
            continue
        try:
            array = as_array(given[spec.path], spec.type.dtype, f"`{spec.path}`")
        except (InputError, ValueError) as error:
            faults.append(str(error))
            continue
        if array.shape != spec.type.shape:
            faults.append(f"`{spec.path}` is {described(array)}, the model wants {spec.type}")
        arrays[spec.path] = array
    missing = [spec.path for spec in parameters if spec.path not in given]
    faults += [
        f"not in the model: `{path}`{did_you_mean(path, missing or wanted)}" for path in extra
    ]
    return arrays, faults


def described(array: Array) -> str:
    """`f32[3, 4]` for an array."""
    dtype = from_numpy(array.dtype)
    name = array.dtype.name if dtype is None else dtype.name
    return f"{name}[{', '.join(map(str, array.shape))}]" if array.ndim else name
