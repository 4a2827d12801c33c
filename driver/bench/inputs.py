"""Inputs to measure a model with: random, of the right shapes, and within what the model checks.

In: a model, the values of its symbolic sizes. Out: arrays. Floats are drawn from a normal
distribution. Integers may be subscripts: each input's are drawn below the greatest length among the
model's axes that the model accepts, so that ids stay in bounds and still reach all over a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stepwell.arrays import Array
from stepwell.ir.diagnostics import InputError
from stepwell.ir.size import evaluate
from stepwell.model import Model
from stepwell.signature import Argument, Signature
from stepwell.suggestions import listed


def random_inputs(
    model: Model, sizes: Mapping[str, int], given: Mapping[str, Any], seed: int = 0
) -> dict[str, Any]:
    """An array for each input that is not given. InputError for a size that is missing."""
    generator = np.random.default_rng(seed)
    arrays = dict(given)
    missing = [item for item in model.signature.inputs if item.name not in given]
    for item in missing:
        arrays[item.name] = _drawn(generator, item, _shape(model, item, sizes), 1)
    for item in missing:
        if not (item.type.dtype.is_float or item.type.dtype.name == "bool"):
            arrays[item.name] = _farthest(model, generator, item, arrays)
    return arrays


def _shape(model: Model, item: Argument, sizes: Mapping[str, int]) -> tuple[int, ...]:
    unknown = [name for name in model.signature.sizes if name not in sizes]
    if unknown and any(not isinstance(dim, int) for dim in item.type.shape):
        raise InputError(
            f"{model.signature}: say how large {listed(unknown)} shall be, with "
            + " ".join(f"--size {name}=16" for name in unknown)
        )
    return tuple(evaluate(dim, sizes) for dim in item.type.shape)


def _drawn(
    generator: np.random.Generator, item: Argument, shape: tuple[int, ...], below: int
) -> Array:
    dtype = item.type.dtype
    if dtype.is_float:
        return generator.standard_normal(shape).astype(dtype.numpy)
    below = 2 if dtype.name == "bool" else min(below, int(np.iinfo(dtype.numpy).max))
    return generator.integers(0, below, shape).astype(dtype.numpy)


def _farthest(
    model: Model, generator: np.random.Generator, item: Argument, arrays: Mapping[str, Any]
) -> Array:
    """Integers below the greatest bound that the model accepts; zeros where it accepts none."""
    zeros: Array = arrays[item.name]
    for below in sorted(_lengths(model.signature), reverse=True):
        tried = _drawn(generator, item, zeros.shape, below)
        if tried.size:
            tried.flat[0] = min(below, int(np.iinfo(tried.dtype).max)) - 1  # the bound is tried
        try:
            model(**{**arrays, item.name: tried})
        except InputError:
            continue
        return tried
    return zeros


def _lengths(signature: Signature) -> set[int]:
    """The lengths of all axes that are numbers."""
    types = [item.type for item in (*signature.inputs, *signature.outputs)]
    types += [item.type for item in signature.parameters]
    return {dim for type in types for dim in type.shape if isinstance(dim, int) and dim > 1}
