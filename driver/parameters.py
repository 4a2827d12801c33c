"""The weights of a compiled model in memory: one aligned block, and a view of it for each path.

In: an object's description; a weights file, a mapping or a seed. Out: `Parameters`.

    parameters_of(description, "digits.safetensors")["dense.bias"]  →  f32[128], part of .block
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.arrays import Array
from stepwell.ir.dtypes import BY_NAME
from stepwell.signature import Signature
from stepwell.suggestions import did_you_mean
from stepwell.weights import Weights, described, fill

ALIGNMENT = 64


class Parameters(Mapping[str, Array]):
    """The weights by path: views into the one block that native code reads, open to writing."""

    def __init__(self, block: Array, views: dict[str, Array]) -> None:
        self.block, self._views = block, views

    def __getitem__(self, path: str) -> Array:
        try:
            return self._views[path]
        except KeyError:
            raise KeyError(f"no parameter `{path}`{did_you_mean(path, self._views)}") from None

    def __contains__(self, path: object) -> bool:
        return path in self._views

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        lines = [f"  {path}: {described(view)}" for path, view in self.items()]
        return "\n".join([f"{len(self)} parameters, {self.block.nbytes} bytes", *lines])


def parameters_of(
    description: Mapping[str, Any], weights: str | Path | Weights | None = None, seed: int = 0
) -> Parameters:
    """A new block, filled from the weights, or by the initialisers. InputError for a misfit."""
    block = aligned_block(description["weights_size"])
    parameters = Parameters(block, _views(block, description))
    signature = Signature.of(description)
    fill(parameters, signature.parameters, weights, seed, signature.name)
    return parameters


def embedded_parameters(description: Mapping[str, Any], place: int) -> Parameters:
    """Views of the weights in a loaded object; they can't be written."""
    raw = (ctypes.c_uint8 * description["weights_size"]).from_address(place)
    block = np.frombuffer(raw, np.uint8)
    block.flags.writeable = False
    return Parameters(block, _views(block, description))


def _views(block: Array, description: Mapping[str, Any]) -> dict[str, Array]:
    """Each parameter as an array over its part of the block."""
    views: dict[str, Array] = {}
    for item in description["parameters"]:
        dtype = BY_NAME[item["dtype"]].numpy
        shape = tuple(item["shape"])
        bytes = math.prod(shape) * dtype.itemsize
        part = block[item["offset"] : item["offset"] + bytes]
        views[item["name"]] = part.view(dtype).reshape(shape)
    return views


def address(array: Array) -> int:
    """Where an array's numbers lie."""
    found: int = array.__array_interface__["data"][0]
    return found


def aligned_block(size: int) -> Array:
    """At least `size` bytes of zeros, aligned as native code wants it, never at address 0."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -address(raw) % ALIGNMENT
    return raw[start : start + size] if size else raw[start : start + 1]
