"""Names of a package that are loaded when they are first used, so that importing it is quick.

__getattr__ = lazily("stepwell.frontend", {"parse": "parser"})
stepwell.frontend.parse        imports stepwell.frontend.parser, then is a plain attribute
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` that finds each name in the module of the package it lives in.

    No name may be that of a module: importing that would put it in the name's place.
    """
    assert not set(homes) & set(homes.values()), "a name that is a module's too"

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
