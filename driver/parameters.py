"""The weights of a compiled model in memory, held once: as native code prepared them.

In: an object's description and its native code; a weights file, a mapping or a seed. Out: `Held`,
the one aligned block that native code reads, and the parameters that it was made from.

    hold(description, native, "digits.safetensors").parameters["dense.bias"]  →  f32[128]

Packed parameters are in the block in packed form only, so `Parameters` reads what was given: the
file, the caller's own arrays, or the initialisers. None of that is copied.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stepwell.arrays import Array, as_array
from stepwell.codegen.blocks import address
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import BY_NAME
from stepwell.signature import Signature
from stepwell.suggestions import did_you_mean
from stepwell.weights import Drawn, ParameterSpec, Weights, WeightsFile, matched, read_weights


class Preparing(Protocol):
    """Native code that prepares weights: a `stepwell.codegen.jit.NativeProgram`."""

    def prepared(self, parameters: Sequence[Array]) -> Array:
        """The weights made of the parameters, given in their order."""


class Parameters(Mapping[str, Array]):
    """The parameters by path, read-only, as they were given."""

    def __init__(self, specs: Sequence[ParameterSpec], source: Weights) -> None:
        self._specs = {spec.path: spec for spec in specs}
        self._source = source

    def __getitem__(self, path: str) -> Array:
        if path not in self._specs:
            raise KeyError(f"no parameter `{path}`{did_you_mean(path, self._specs)}")
        if path not in self._source:
            raise KeyError(f"`{path}` is not at hand: the weights hold it in packed form only")
        array = as_array(self._source[path], self._specs[path].type.dtype, f"`{path}`").view()
        array.flags.writeable = False
        return array

    def __contains__(self, path: object) -> bool:
        return path in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def __repr__(self) -> str:
        size = sum(spec.bytes for spec in self._specs.values())
        lines = [f"  {spec.path}: {spec.type}" for spec in self._specs.values()]
        return "\n".join([f"{len(self)} parameters, {size} bytes", *lines])


@dataclass(frozen=True)
class Held:
    """The block that native code reads, where it lies, and what it was made from."""

    block: Array
    address: int
    parameters: Parameters


def hold(
    description: Mapping[str, Any],
    native: Preparing,
    weights: str | Path | Weights | None = None,
    seed: int = 0,
) -> Held:
    """A block made from weights, or by the initialisers. InputError for a misfit.

    A `.weights` file, which `stepwell build` made for this very object, is mapped as it is.
    """
    if isinstance(weights, str | Path) and Path(weights).suffix == ".weights":
        return _held(description, _mapped(description, Path(weights)))
    signature = Signature.of(description)
    given = read_weights(weights)
    if given is None:
        given = Drawn(signature.parameters, seed)
    source, name = given, "the weights"
    if isinstance(weights, str | Path):
        source, name = WeightsFile(Path(weights), given), f"weights {weights}"
    arrays = matched(signature.parameters, given, signature.name, name)
    block = native.prepared([arrays[spec.path] for spec in signature.parameters])
    return Held(block, address(block), Parameters(signature.parameters, source))


def hold_embedded(description: Mapping[str, Any], place: int) -> Held:
    """The weights in a loaded object."""
    raw = (ctypes.c_uint8 * description["weights_size"]).from_address(place)
    return _held(description, np.frombuffer(raw, np.uint8))


def _mapped(description: Mapping[str, Any], path: Path) -> Array:
    size = description["weights_size"]
    try:
        block = np.asarray(np.memmap(path, np.uint8, "r"))
    except FileNotFoundError:
        raise InputError(f"no weights file {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"can't read weights from {path}: {error}") from None
    fingerprint = int.from_bytes(block[:8].tobytes(), "little")
    if block.size != size or fingerprint != description["weights_fingerprint"]:
        name = description["name"]
        raise InputError(f"{path} was made for another object than this `{name}`: build it again")
    return block


def _held(description: Mapping[str, Any], block: Array) -> Held:
    """Weights without what they were made from: those parameters can be read that are in them."""
    block.flags.writeable = False
    views: dict[str, Array] = {}
    for item in description["parameters"]:
        dtype, shape = BY_NAME[item["dtype"]].numpy, tuple(item["shape"])
        if item["offset"] is not None:
            part = block[item["offset"] :][: math.prod(shape) * dtype.itemsize]
            views[item["name"]] = part.view(dtype).reshape(shape)
    specs = Signature.of(description).parameters
    return Held(block, address(block), Parameters(specs, views))
