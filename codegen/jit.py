"""Native code in this process: objects loaded, and NAME_run called with little overhead.

In: a `Program` and a target, or object bytes (from a cache). Out: a `NativeProgram`.

    native = NativeProgram.compile(program, host())
    native.run([64], [x.ctypes.data], [out.ctypes.data], weights, workspace)   →   0
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from stepwell.codegen import c_names
from stepwell.codegen.blocks import Array, address, aligned_block, filled_block
from stepwell.codegen.compile import Object, target_machine
from stepwell.codegen.process_pool import provide_pool
from stepwell.codegen.runtime import RESOLVE
from stepwell.codegen.undefined import undefined_symbols
from stepwell.ir.diagnostics import InputError
from stepwell.ir.target import Target, host

if TYPE_CHECKING:
    from stepwell.ir.loop.core import Program


@dataclass
class NativeProgram:
    """A program's code in this process. It stays loaded as long as this object lives."""

    name: str
    sizes: int
    inputs: int
    outputs: int
    stateful: bool  # whether `run` takes a block of state
    _address: Callable[[str], int]  # of a symbol; keeps the code loaded

    @classmethod
    def compile(cls, program: Program, target: Target) -> NativeProgram:
        """Compiles and loads."""
        from stepwell.codegen.modules import compile_objects

        return cls.from_objects(compile_objects(program, target), program, target)

    @classmethod
    def from_objects(
        cls, objects: Sequence[Object], program: Program, target: Target
    ) -> NativeProgram:
        """Loads the objects that `compile_objects` made of the same program and target."""
        return cls.load(
            [each.data for each in objects], target, program.name, len(program.sizes),
            len(program.with_role("input")), len(program.with_role("output")),
            bool(program.with_role("state")),
        )  # fmt: skip

    @classmethod
    def preparing(cls, program: Program) -> NativeProgram:
        """What prepares a program's weights here, whatever machine it is compiled for."""
        from stepwell.codegen.llvm import preparing
        from stepwell.codegen.modules import compile_objects

        objects = compile_objects(program, host(), preparing(program), split=False)
        return cls.from_objects(objects, program, host())

    @classmethod
    def load(
        cls, objects: Sequence[bytes], target: Target, name: str, sizes: int, inputs: int,
        outputs: int, stateful: bool,
    ) -> NativeProgram:  # fmt: skip
        """Loads objects, given the program's name and how many arguments of each kind."""
        machine = target_machine(target)
        # In LLVM's global context: one of its own could be collected before the engine.
        empty = llvm.parse_assembly("")
        empty.triple = target.triple
        engine = llvm.create_mcjit_compiler(empty, machine)
        if any(RESOLVE in undefined_symbols(data) for data in objects):
            provide_pool()
        for data in objects:
            engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        engine.finalize_object()
        address = engine.get_function_address
        return cls(c_names.symbol(name), sizes, inputs, outputs, stateful, address)

    @classmethod
    def from_library(cls, path: Path, name: str | None = None) -> NativeProgram:
        """Loads a model of a shared object: `name`, or its first. Raises InputError."""
        library = _opened(path)
        models = library_models(path)
        name = models[0] if name is None else name
        if name not in models:
            raise InputError(f"{path} has no model `{name}`; it has {', '.join(models)}")

        def address(symbol: str) -> int:
            return ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value or 0

        text = cls(name, 0, 0, 0, False, address).description()
        sizes, inputs, outputs = (len(text[key]) for key in ("sizes", "inputs", "outputs"))
        return cls(name, sizes, inputs, outputs, bool(text["states"]), address)

    def _function(self, name: str, result: Any, arguments: Sequence[Any]) -> Callable[..., Any]:
        return ctypes.CFUNCTYPE(result, *arguments)(self._address(f"{self.name}_{name}"))

    @cached_property
    def entry(self) -> Callable[..., int]:
        """NAME_run itself: sizes, inputs, outputs, weights, state where there is any, workspace,
        pool, all as numbers."""
        return self._function("run", ctypes.c_int32, self._arguments)

    @cached_property
    def profile_entry(self) -> Callable[..., int]:
        """NAME_profile, where it was compiled: the same arguments, then where the times go."""
        return self._function("profile", ctypes.c_int32, [*self._arguments, ctypes.c_void_p])

    @property
    def _arguments(self) -> list[Any]:
        pointers = [ctypes.c_void_p] * (self.inputs + self.outputs + 3 + self.stateful)
        return [ctypes.c_int64] * self.sizes + pointers

    def run(
        self,
        sizes: Sequence[int],
        inputs: Sequence[int],
        outputs: Sequence[int],
        weights: int,
        workspace: int,
        pool: int = 0,
        state: int = 0,
    ) -> int:
        """Runs the program on addresses; returns the status."""
        own = (weights, state) if self.stateful else (weights,)
        return self.entry(*sizes, *inputs, *outputs, *own, workspace, pool)

    def prepare(self, parameters: Sequence[int], weights: int, workspace: int) -> int:
        """Makes the weights from the parameters, all given by their addresses; returns the
        status."""
        pointers = (ctypes.c_void_p * len(parameters))(*parameters)
        function = self._function("prepare", ctypes.c_int32, [ctypes.c_void_p] * 3)
        return int(function(pointers, weights, workspace))

    def prepared(self, parameters: Sequence[Array]) -> Array:
        """The weights made of the parameters' arrays, given in the program's order."""
        workspace = aligned_block(
            int(self._function("prepare_workspace_size", ctypes.c_int64, [])())
        )

        def fill(weights: Array) -> None:
            given = [address(array) for array in parameters]
            status = self.prepare(given, address(weights), address(workspace))
            assert status == 0, self.error_message(status)

        return filled_block(self.weights_size(), fill)

    def workspace_size(self, sizes: Sequence[int], pool: int = 0) -> int:
        """Bytes of workspace that `run` needs; -1 where the sizes are refused."""
        return int(self._workspace_size(*sizes, pool))

    def weights_size(self) -> int:
        """Bytes of the weights."""
        return int(self._function("weights_size", ctypes.c_int64, [])())

    def embedded_weights(self) -> int:
        """The address of the weights inside the object; 0 where it has none."""
        return int(self._function("weights", ctypes.c_void_p, [])() or 0)

    @cached_property
    def _workspace_size(self) -> Callable[..., int]:
        arguments = [ctypes.c_int64] * self.sizes + [ctypes.c_void_p]
        return self._function("workspace_size", ctypes.c_int64, arguments)

    def error_message(self, status: int) -> str:
        """What a status means."""
        return bytes(self._error_message(status)).decode()

    @cached_property
    def _error_message(self) -> Callable[..., bytes]:
        return self._function("error_message", ctypes.c_char_p, [ctypes.c_int32])

    def description(self) -> dict[str, Any]:
        """What the code says of itself."""
        text = self._function("description", ctypes.c_char_p, [])()
        result: dict[str, Any] = json.loads(bytes(text).decode())
        return result


def _opened(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path.resolve()))
        library.stepwell_models.restype = ctypes.c_char_p
    except OSError as error:
        raise InputError(f"{path} cannot be loaded: {error}") from error
    except AttributeError as error:
        raise InputError(f"{path} was not built by Stepwell") from error
    return library


def library_models(path: Path) -> list[str]:
    """The names of the models in a shared object. Raises InputError."""
    return bytes(_opened(path).stepwell_models()).decode().split()
