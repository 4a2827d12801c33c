"""Stepwell, a compiler for tensor models.

    import stepwell as sw
    m = sw.compile("digits.well", model="digits", weights="digits.safetensors")
    m(image)

Names are loaded when they are first used, so that `import stepwell` is quick.
"""

from __future__ import annotations

if __name__ != "stepwell":
    raise ImportError("import this package as 'stepwell', not as 'driver'")

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.api import compile, load
    from stepwell.gradient_check import gradcheck
    from stepwell.ir.diagnostics import InputError, InternalError, UserError, VerifyError
    from stepwell.model import Model
    from stepwell.training.trainer import Trainer, trainer

__all__ = [
    "InputError",
    "InternalError",
    "Model",
    "Trainer",
    "UserError",
    "VerifyError",
    "__version__",
    "compile",
    "gradcheck",
    "load",
    "trainer",
]

_HOMES = {
    "compile": "stepwell.api",
    "load": "stepwell.api",
    "gradcheck": "stepwell.gradient_check",
    "Model": "stepwell.model",
    "Trainer": "stepwell.training.trainer",
    "trainer": "stepwell.training.trainer",
    "InputError": "stepwell.ir.diagnostics",
    "InternalError": "stepwell.ir.diagnostics",
    "UserError": "stepwell.ir.diagnostics",
    "VerifyError": "stepwell.ir.diagnostics",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("stepwell.version").stepwell_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'stepwell' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
