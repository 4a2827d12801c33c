"""Native entry points as a `Model` calls them: from code in this process, or a shared object.

In: object code, or the path of a `.so`. Out: an entry with `run`, `workspace_size`,
`error_message`, and the description that the object holds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from stepwell.codegen.jit import NativeProgram
from stepwell.ir.diagnostics import InputError
from stepwell.ir.target import Target, host

from stepwell.artefact import Artefact


class JitEntry:
    """Object code, loaded into this process."""

    def __init__(self, made: Artefact, target: Target) -> None:
        about = made.description
        self._native = NativeProgram.load(
            made.code, target, about["name"], len(about["sizes"]), len(about["inputs"]),
            len(about["outputs"]),
        )  # fmt: skip
        self.run: Callable[..., int] = self._native.entry

    def workspace_size(self, *sizes: int) -> int:
        return self._native.workspace_size(sizes)

    def error_message(self, status: int) -> str:
        return self._native.error_message(status)


class LibraryEntry:
    """The functions of one model in a shared object."""

    def __init__(self, library: ctypes.CDLL, description: Mapping[str, Any]) -> None:
        self._library, self._symbol = library, str(description["symbol"])
        sizes = [ctypes.c_int64] * len(description["sizes"])
        pointers = len(description["inputs"]) + len(description["outputs"]) + 2
        self.run = self._function("run", ctypes.c_int32, [*sizes, *[ctypes.c_void_p] * pointers])
        self.workspace_size = self._function("workspace_size", ctypes.c_int64, sizes)

    def error_message(self, status: int) -> str:
        text = self._function("error_message", ctypes.c_char_p, [ctypes.c_int32])(status)
        return bytes(text).decode()

    def embedded_weights(self) -> int | None:
        """The address of the weights in the object; None where they are not in it."""
        found: int | None = self._function("weights", ctypes.c_void_p, [])()
        return found

    def _function(self, name: str, result: Any, arguments: list[Any]) -> Callable[..., Any]:
        function = getattr(self._library, f"{self._symbol}_{name}")
        function.restype, function.argtypes = result, arguments
        return function  # type: ignore[no-any-return]


def open_library(path: str | Path) -> ctypes.CDLL:
    """Load a shared object. InputError where that fails."""
    if not Path(path).is_file():
        raise InputError(f"no file {path}")
    try:
        return ctypes.CDLL(str(Path(path).resolve()))
    except OSError as error:
        raise InputError(f"can't load {path}: {error}") from None


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
