"""Whether this machine can run a target's code.

In: a target, or what an object says of its target. Out: nothing, or an InputError that names what
is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

import llvmlite.binding as llvm

from stepwell.ir.diagnostics import InputError
from stepwell.ir.target import Target, host


def require_runnable(target: Target) -> None:
    """InputError where this machine can't run the target's code."""
    _require(target.name, target.triple, target.features)


def require_loadable(about: Mapping[str, str]) -> None:
    """The same for an object, from the `target` of its description: "native" may be another's."""
    _require(about["name"], about["triple"], about["features"])


def _require(name: str, triple: str, features: str) -> None:
    mine, architecture = host(), triple.partition("-")[0]
    if architecture != mine.architecture:
        raise InputError(f"{name} is {architecture}: this is {mine.architecture}")
    available = llvm.get_host_cpu_features()
    wanted = [feature.removeprefix("+") for feature in features.split(",")]
    missing = [feature for feature in wanted if available.get(feature) is False]
    if missing:
        raise InputError(f"this machine can't run code for {name}: no {missing[0]}")
