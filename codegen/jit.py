"""Native code in this process: objects loaded, and NAME_run called with little overhead.

In: a `Program` and a target, or object bytes (from a cache). Out: a `NativeProgram`.

    native = NativeProgram(program, host())
    native.run([64], [x.ctypes.data], [out.ctypes.data], weights, workspace)   →   0
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import llvmlite.binding as llvm
from stepwell.codegen import interface
from stepwell.codegen.compile import object_bytes, parsed, target_machine
from stepwell.codegen.llvm import llvm_text
from stepwell.ir.loop.core import Program
from stepwell.ir.target import Target


def compile_object(program: Program, target: Target) -> bytes:
    """The program as one object file: what the on-disk cache keeps and `from_object` loads."""
    return object_bytes(llvm_text(program, target), target)


@dataclass
class NativeProgram:
    """A program's code in this process. It stays loaded as long as this object lives."""

    name: str
    sizes: int
    inputs: int
    outputs: int
    _engine: Any

    @classmethod
    def compile(cls, program: Program, target: Target) -> NativeProgram:
        """Compiles and loads."""
        return cls.from_object(compile_object(program, target), program, target)

    @classmethod
    def from_object(cls, data: bytes, program: Program, target: Target) -> NativeProgram:
        """Loads the object that `compile_object` made of the same program and target."""
        return cls.load(
            data, target, program.name, len(program.sizes),
            len(program.with_role("input")), len(program.with_role("output")),
        )  # fmt: skip

    @classmethod
    def load(
        cls, data: bytes, target: Target, name: str, sizes: int, inputs: int, outputs: int
    ) -> NativeProgram:
        """Loads an object, given the program's name and how many arguments of each kind."""
        empty = parsed("")
        empty.triple = target.triple
        engine = llvm.create_mcjit_compiler(empty, target_machine(target))
        engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        engine.finalize_object()
        return cls(interface.identifier(name), sizes, inputs, outputs, engine)

    def _function(self, name: str, result: Any, arguments: Sequence[Any]) -> Callable[..., Any]:
        address = self._engine.get_function_address(f"{self.name}_{name}")
        return ctypes.CFUNCTYPE(result, *arguments)(address)

    @cached_property
    def entry(self) -> Callable[..., int]:
        """NAME_run itself: sizes, inputs, outputs, weights, workspace, all as numbers."""
        pointers = [ctypes.c_void_p] * (self.inputs + self.outputs + 2)
        return self._function("run", ctypes.c_int32, [ctypes.c_int64] * self.sizes + pointers)

    def run(
        self,
        sizes: Sequence[int],
        inputs: Sequence[int],
        outputs: Sequence[int],
        weights: int,
        workspace: int,
    ) -> int:
        """Runs the program on addresses; returns the status."""
        return self.entry(*sizes, *inputs, *outputs, weights, workspace)

    def workspace_size(self, sizes: Sequence[int]) -> int:
        """Bytes of workspace that `run` needs; -1 where the sizes are refused."""
        return int(self._workspace_size(*sizes))

    @cached_property
    def _workspace_size(self) -> Callable[..., int]:
        return self._function("workspace_size", ctypes.c_int64, [ctypes.c_int64] * self.sizes)

    def error_message(self, status: int) -> str:
        """What a status means."""
        function = self._function("error_message", ctypes.c_char_p, [ctypes.c_int32])
        return bytes(function(status)).decode()

    def description(self) -> dict[str, Any]:
        """What the code says of itself."""
        text = self._function("description", ctypes.c_char_p, [])()
        result: dict[str, Any] = json.loads(bytes(text).decode())
        return result
