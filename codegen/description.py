"""What an object says of itself, as JSON: the text that NAME_description returns.

In: a `Program`, a target. Out: JSON with the inputs, outputs, sizes, constraints, parameters and
prepared buffers with their offsets in the weights, the states with theirs, the workspace's formula,
statuses, target and compiler version.

    {"name": "digits", "sizes": ["N"], "inputs": [{"name": "image", "dtype": "f32", "shape": …
"""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

from stepwell.codegen import c_names, interface
from stepwell.ir.loop.core import Program, ProgramBuffer
from stepwell.ir.target import Target

FORMAT = 3  # of the description and of the C interface


def compiler_version() -> str:
    """The installed version of Stepwell."""
    try:
        return metadata.version("stepwell")
    except metadata.PackageNotFoundError:
        return "unknown"


def describe(program: Program, target: Target) -> dict[str, Any]:
    """The description as a dictionary. Dims are ints, or formulas as text."""
    offsets, total = interface.weight_layout(program)
    states, state_size = interface.state_layout(program)
    return {
        "format": FORMAT,
        "name": program.name,
        "symbol": c_names.symbol(program.name),
        "compiler": f"stepwell {compiler_version()}",
        "target": {
            "name": target.name,
            "triple": target.triple,
            "cpu": target.cpu,
            "features": target.features,
        },
        "sizes": list(program.sizes),
        "inputs": [_buffer(item) for item in program.with_role("input")],
        "outputs": [_buffer(item) for item in program.with_role("output")],
        "parameters": [
            {
                **_buffer(item),
                "offset": offsets.get(item.buffer.name),  # null: only preparations read it
                "initializer": item.initializer,
            }
            for item in program.with_role("parameter")
        ],
        "prepared": [
            {**_buffer(item), "offset": offsets[item.buffer.name]}
            for item in program.held
            if item.role == "prepared"
        ],
        "states": [
            {
                **_buffer(item),
                "kind": "param" if item.trained else "state",
                "offset": states[item.buffer.name],
                "initializer": item.initializer,
            }
            for item in program.with_role("state")
        ],
        "constraints": [
            {
                "left": _dim(constraint.left),
                "relation": constraint.relation,
                "right": _dim(constraint.right),
                "message": constraint.message,
            }
            for constraint in program.constraints
        ],
        "weights_size": total,
        "state_size": state_size,
        "weights_fingerprint": interface.fingerprint(program),
        "prepare_workspace": _dim(program.preparation_workspace or 0),
        "workspace": _dim(program.workspace or 0),
        "parallel": program.uses_pool,
        "statuses": {str(s.code): s.message for s in interface.statuses(program)},
    }


def description(program: Program, target: Target) -> str:
    """The description as JSON, the same for the same program and target."""
    return json.dumps(describe(program, target), ensure_ascii=True)


def _buffer(item: ProgramBuffer) -> dict[str, Any]:
    buffer = item.buffer
    shape = [_dim(dim) for dim in buffer.shape]
    return {"name": buffer.name, "dtype": buffer.dtype.name, "shape": shape}


def _dim(dim: object) -> int | str:
    return dim if isinstance(dim, int) else str(dim)
