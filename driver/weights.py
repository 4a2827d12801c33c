"""Weights: read from a file or a mapping, checked against a model's parameters, copied into place.

In: a `.safetensors` or `.npz` file, a mapping from path to array, or None (initialisers and a
seed). Out: the model's own arrays, filled. Everything that does not fit is reported at once:

    weights `mlp.safetensors` do not fit model `digits`:
      missing: `conv2d.weight` f32[32, 1, 3, 3]; did you mean `conv.weight`?
      `dense.bias` is f32[64], the model wants f32[128]
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.arrays import Array, as_array
from stepwell.initializers import initialize
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import from_numpy
from stepwell.ir.types import TensorType
from stepwell.suggestions import did_you_mean

Weights = Mapping[str, Any]

_SHOWN = 20  # faults in one message


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter as the compiled model knows it."""

    path: str
    type: TensorType
    initializer: str = "zeros"


def read_weights(source: str | Path | Weights | None) -> Weights | None:
    """The arrays in a file or mapping. InputError where a file can't be read."""
    if source is None or isinstance(source, Mapping):
        return source
    path = Path(source)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
    except FileNotFoundError:
        raise InputError(f"no weights file {path}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"can't read weights from {path}: {error}") from None
    raise InputError(f"weights {path}: the name must end in .safetensors or .npz")


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"can't read weights from {path}: {error}") from None


def fill(
    into: Mapping[str, Array],
    parameters: tuple[ParameterSpec, ...],
    weights: str | Path | Weights | None,
    seed: int,
    model: str,
) -> None:
    """Write every parameter's array in `into`. InputError lists all that is wrong, before any
    array is written."""
    given = read_weights(weights)
    if given is None:
        for spec in parameters:
            into[spec.path][...] = initialize(spec.initializer, spec.type, spec.path, seed)
        return
    arrays, faults = _matched(parameters, given)
    if faults:
        which = f"weights {weights}" if isinstance(weights, (str, Path)) else "the weights"
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        lines = "".join(f"\n  {fault}" for fault in [*faults[:_SHOWN], *more])
        raise InputError(f"{which} do not fit model `{model}`:{lines}")
    for path, array in arrays.items():
        into[path][...] = array


def _matched(
    parameters: tuple[ParameterSpec, ...], given: Weights
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
        except InputError as error:
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
