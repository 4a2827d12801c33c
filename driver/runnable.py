"""Whether this machine can run a target's code.

In: a target. Out: nothing, or an InputError that names what is missing.
"""

from __future__ import annotations

import llvmlite.binding as llvm

from stepwell.ir.diagnostics import InputError
from stepwell.ir.target import Target, host


def require_runnable(target: Target) -> None:
    """InputError where this machine can't run the target's code."""
    mine = host()
    if target.architecture != mine.architecture:
        raise InputError(f"{target.name} is {target.architecture}: this is {mine.architecture}")
    if target.name == mine.name:
        return
    available = llvm.get_host_cpu_features()
    wanted = [feature.removeprefix("+") for feature in target.features.split(",")]
    missing = [feature for feature in wanted if available.get(feature) is False]
    if missing:
        raise InputError(f"this machine can't run code for {target.name}: no {missing[0]}")
