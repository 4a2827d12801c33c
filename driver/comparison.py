"""Native results against the graph interpreter in float64: `stepwell run --check`.

In: the graph as elaborated, a model, what it was given and what it gave. Out: one line per output;
InternalError where one is further off than its dtype explains.

    check: out differs by at most 3.1e-07 of the largest number: fine
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stepwell.arrays import Array, as_array
from stepwell.ir.diagnostics import InternalError
from stepwell.ir_texts import graph_text
from stepwell.model import Model

if TYPE_CHECKING:
    from stepwell.ir.graph.core import Graph

# Relative to the largest number of an output.
TOLERANCE = {"f64": 1e-10, "f32": 1e-4, "f16": 1e-2, "bf16": 5e-2}


def check(
    graph: Graph,
    model: Model,
    inputs: Mapping[str, Any],
    parameters: Mapping[str, Array],
    results: Mapping[str, Array],
) -> str:
    """Compare `results` with what the interpreter makes of the same inputs and parameters; and the
    model's state with what it makes of that."""
    from stepwell.ir.graph import interpret_step

    arrays = {
        argument.name: as_array(inputs[argument.name], argument.type.dtype, argument.name)
        for argument in model.signature.inputs
    }
    expected, updates = interpret_step(graph, arrays, parameters, "f64")
    found, dtypes = dict(results), [argument.type.dtype for argument in model.signature.outputs]
    for spec in model.signature.states:
        found[f"update {spec.path}"] = model.arrays[spec.path]
        expected[f"update {spec.path}"] = updates[spec.path]
        dtypes.append(spec.type.dtype)
    lines = []
    for dtype, (name, result) in zip(dtypes, found.items(), strict=True):
        error = difference(result, expected[name])
        limit = TOLERANCE.get(dtype.name, 0.0)
        if not error <= limit:
            raise InternalError(
                f"{model.name}: `{name}` differs from the interpreter by {error:.3g} of its "
                f"largest number; {limit:.3g} is allowed",
                graph_text(graph),
            )
        lines.append(f"check: {name} differs by at most {error:.2g} of the largest number: fine")
    return "\n".join(lines)


def difference(found: Array, expected: Array) -> float:
    """The largest difference, relative to the largest finite number expected; infinite where one
    is NaN or infinite and the other is not the same."""
    if found.shape != expected.shape:
        return float("inf")
    x, y = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    return float(abs(x - y)[finite].max() / max(abs(y[finite]).max(), 1e-30))
