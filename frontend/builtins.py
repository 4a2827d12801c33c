"""All built-ins: importing this fills the table `builtin_calls.BUILTINS`."""

from __future__ import annotations

from stepwell.frontend import (
    creation_functions,
    math_functions,
    random_functions,
    shape_functions,
    transformations,
    window_functions,
)
from stepwell.frontend.builtin_calls import BUILTINS

__all__ = [
    "BUILTINS",
    "creation_functions",
    "math_functions",
    "random_functions",
    "shape_functions",
    "transformations",
    "window_functions",
]
