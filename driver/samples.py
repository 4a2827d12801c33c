"""Small arrays to try a graph on: what is not given is drawn, in float64.

In: a graph, and some inputs, sizes or weights. Out: an array for every input and parameter.

    sample_inputs(graph, {}, {"N": 4}, random)   →   {"x": float64[4, 8], "label": int32[4]}

Floats are drawn normally; whole numbers are 0 or 1, which is inside of any axis of two places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepwell.arrays import Array
from stepwell.initializers import initialize
from stepwell.ir.checking import random_sizes
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import F64, DType
from stepwell.ir.size import evaluate, solve, substitute
from stepwell.ir.types import TensorType
from stepwell.suggestions import did_you_mean, listed
from stepwell.weights import ParameterSpec, Weights, matched, read_weights

if TYPE_CHECKING:
    from stepwell.ir.graph.core import Graph


def sample_inputs(
    graph: Graph, given: Mapping[str, Any], sizes: Mapping[str, int], random: np.random.Generator
) -> dict[str, Array]:
    """An array per input. InputError for one that does not fit."""
    _require_known("input", given, [value.name for value in graph.inputs], graph.name)
    _require_known("size", sizes, graph.sizes, graph.name)
    arrays = {
        v.name: _given(given[v.name], v.type, v.name) for v in graph.inputs if v.name in given
    }
    bound = _chosen_sizes(graph, arrays, sizes, random)
    for value in graph.inputs:
        if value.name not in arrays:
            shape = [evaluate(dim, bound) for dim in value.type.shape]
            arrays[value.name] = _drawn(value.type.dtype, shape, random)
    return arrays


def sample_parameters(
    graph: Graph, weights: str | Path | Weights | None, seed: int
) -> dict[str, Array]:
    """An array per parameter and state: of the weights, else drawn by its initialiser."""
    specs = [ParameterSpec(p.path, p.value.type, p.initializer) for p in graph.parameters]
    given = read_weights(weights)
    if given is None:
        return {s.path: initialize(s.initializer, _wide(s.type), s.path, seed) for s in specs}
    arrays = matched(specs, given, graph.name)
    return {s.path: _given(arrays[s.path], s.type, s.path) for s in specs}


def sizes_of(graph: Graph, arrays: Mapping[str, Array]) -> dict[str, int]:
    """What the sizes are. InputError where the arrays do not fit together."""
    from stepwell.ir.graph import bind_sizes

    return bind_sizes(graph, {name: array.shape for name, array in arrays.items()})


def _require_known(what: str, given: Mapping[str, Any], known: Sequence[str], model: str) -> None:
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {listed(known)}"
            raise InputError(f"{model} has no {what} `{name}`{hint}")


def _wide(type: TensorType) -> TensorType:
    return type.with_dtype(F64) if type.dtype.is_float else type


def _given(array: Any, type: TensorType, name: str) -> Array:
    """The caller's array, in the type that is computed in."""
    try:
        found = np.array(array, _wide(type).dtype.numpy)
    except (TypeError, ValueError) as error:
        raise InputError(f"`{name}` is {type}: {error}") from None
    if found.ndim != type.rank:
        raise InputError(f"`{name}` is {type}; what is given has the shape {list(found.shape)}")
    return found


def _drawn(dtype: DType, shape: Sequence[int], random: np.random.Generator) -> Array:
    if dtype.is_float:
        return np.asarray(random.standard_normal(shape))
    return np.asarray(random.integers(0, 2, shape)).astype(dtype.numpy)


def _chosen_sizes(
    graph: Graph,
    arrays: Mapping[str, Array],
    given: Mapping[str, int],
    random: np.random.Generator,
) -> dict[str, int]:
    """Each size: as given, as the arrays say, or small."""
    known = dict(given)
    for dim, size in _axes(graph, arrays):
        solved = solve(substitute(dim, known), size)
        if solved is not None and isinstance(solved[1], int):
            known[solved[0]] = solved[1]
    free = tuple(name for name in graph.sizes if name not in known)
    rules = tuple(
        replace(rule, left=substitute(rule.left, known), right=substitute(rule.right, known))
        for rule in graph.constraints
    )
    found = random_sizes(free, rules, random)
    if found is None:
        raise InputError(f"{graph.name}: no small sizes meet its rules: say what {listed(free)} is")
    return known | found


def _axes(graph: Graph, arrays: Mapping[str, Array]) -> list[tuple[Any, int]]:
    """Each given axis: its size in the graph, in the array. Those that are plain names first."""
    axes = [
        (dim, size)
        for value in graph.inputs
        if value.name in arrays
        for dim, size in zip(value.type.shape, arrays[value.name].shape, strict=True)
    ]
    return sorted(axes, key=lambda axis: len(str(axis[0])))
