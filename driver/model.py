"""A compiled model: arrays in, arrays out, and what there is to know about it.

In: an object's description, its native entry point, a report of its kernels. Out: `Model`, whose
calls check their arguments, allocate the outputs, and run native code.

    m = sw.compile("digits.well", model="digits", weights="digits.safetensors")
    m(image)  →  f32[N, 10];   m.signature, m.parameters, m.memory, m.kernels, m.stage("asm")
"""

from __future__ import annotations

import threading
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.arrays import Array, as_array
from stepwell.codegen.blocks import address, aligned_block
from stepwell.ir.diagnostics import InputError
from stepwell.ir.size import evaluate
from stepwell.native_call import Native, NativeCall
from stepwell.outputs import OutputPool
from stepwell.parameters import Held, Parameters, hold
from stepwell.report import KernelReport, Kernels, Memory
from stepwell.signature import SEED, Signature
from stepwell.state import StateBlock
from stepwell.suggestions import did_you_mean, listed
from stepwell.threads import Threads, require_count, threads_of
from stepwell.weights import Weights


@dataclass(frozen=True)
class _Plan:
    """What one combination of input shapes leads to."""

    sizes: tuple[int, ...]
    outputs: tuple[tuple[tuple[int, ...], np.dtype[Any], Callable[..., Array]], ...]
    workspace: int


class Model:
    """A model in native code. Calls may come from several threads at once, unless it has `state`:
    what its calls change, None where they change nothing."""

    def __init__(
        self,
        description: Mapping[str, Any],
        native: Native,
        held: Held,
        memory: Memory,
        threads: Threads,
        kernels: tuple[KernelReport, ...] = (),
        state: StateBlock | None = None,
        stages: Callable[[str, str | None], str | bytes] | None = None,
    ) -> None:
        self.description = description
        self.signature = Signature.of(description)
        self.memory = memory
        self.threads = threads.count
        self.kernels = Kernels(kernels)
        self._native, self._stages = native, stages
        self._run, self._threads = native.entry, threads.pool
        self._held = held
        self.state = state
        self._state_address = () if state is None else (state.address,)
        self._names = tuple(argument.name for argument in self.signature.inputs)
        self._dtypes = tuple(argument.type.dtype for argument in self.signature.inputs)
        self._numpy = tuple(dtype.numpy for dtype in self._dtypes)
        self._plans: dict[tuple[tuple[int, ...], ...], _Plan] = {}
        self._local = threading.local()
        self._pool = OutputPool()
        names = [argument.name for argument in self.signature.outputs]
        self._outputs = namedtuple("outputs", names, rename=True)  # type: ignore[misc]

    @property
    def name(self) -> str:
        return self.signature.name

    @property
    def parameters(self) -> Parameters:
        """The parameters by path, read-only, as they were given."""
        return self._held.parameters

    @property
    def arrays(self) -> dict[str, Array]:
        """All that the model holds, by path: its parameters, and its state as it is now."""
        state = {} if self.state is None else self.state.arrays
        return {**self.parameters, **state}

    def load_parameters(self, weights: str | Path | Weights) -> None:
        """Take other weights: a file or a mapping that has every parameter. InputError for a
        misfit. Calls that are running finish with the ones that they began with.

            m.load_parameters({**m.parameters, "dense.bias": bias})
        """
        self._held = hold(self.description, self._native, weights)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run. One array where there is one output, else a tuple with the outputs' names.

        Raises InputError for a wrong name, number, dtype or shape of the arguments, for sizes that
        break a rule, and for what native code checks (a subscript outside its axis).
        """
        values = args if not kwargs and len(args) == len(self._names) else self._named(args, kwargs)
        # Plain statements: a comprehension or a generator costs as much as its work.
        arrays: list[Array] = []
        shapes: list[tuple[int, ...]] = []
        places: list[int] = []
        for value, dtype in zip(values, self._numpy, strict=True):
            array = value
            if not (type(array) is np.ndarray and array.dtype == dtype and array.flags.carray):
                array = self._checked(value, len(arrays))
            arrays.append(array)
            shapes.append(array.shape)
            places.append(address(array))
        key = tuple(shapes)
        plan = self._plans.get(key) or self._planned(key)
        outputs: list[Array] = []
        for shape, dtype, empty in plan.outputs:
            array = empty(shape, dtype)
            outputs.append(array)
            places.append(address(array))
        held = self._held  # as long as the call lasts, whatever another thread loads
        status = self._run(
            *plan.sizes, *places, held.address, *self._state_address,
            self._workspace(plan.workspace), self._threads,
        )  # fmt: skip
        if status:
            raise InputError(f"{self.name}: {self._why(status, arrays)}")
        return outputs[0] if len(outputs) == 1 else self._outputs(*outputs)

    def native_call(self, *args: Any, **kwargs: Any) -> NativeCall:
        """A call with everything in place: arguments checked, outputs and workspace allocated."""
        values = self._named(args, kwargs)
        inputs = tuple(self._checked(value, number) for number, value in enumerate(values))
        plan = self._planned(tuple(array.shape for array in inputs))
        outputs = tuple(np.empty(shape, dtype) for shape, dtype, _ in plan.outputs)
        return NativeCall(
            self._native, inputs, outputs, plan.sizes, self._held.block,
            None if self.state is None else self.state.block, aligned_block(plan.workspace),
            self._threads, self.kernels.steps,
        )  # fmt: skip

    def with_threads(self, threads: int | None) -> Model:
        """The same code and weights on so many threads, as `compile` takes them."""
        require_count(threads)
        team = threads_of(self.description, threads, None)
        memory = replace(self.memory, threads=team.count)
        return Model(
            self.description, self._native, self._held, memory, team, self.kernels, self.state,
            self._stages,
        )  # fmt: skip

    def stage(self, name: str, kernel: str | None = None) -> str | bytes:
        """The model on one step of the way down: "graph", "loops-opt", "asm", …"""
        if self._stages is None:
            raise InputError(f"{self.name} was loaded from an object: its stages are not in it")
        return self._stages(name, kernel)

    def __repr__(self) -> str:
        return f"<model {self.signature}>"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError(
            f"{self!r} is native code in this process: it can't be copied or pickled; compile it "
            "again there, or load an object that `stepwell build` made"
        )

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The arguments in order; those by name put in their places."""
        if len(args) > len(self._names):
            raise InputError(
                f"{self.name} takes {_counted(len(self._names))} "
                f"({listed(self._names)}), not {len(args)}"
            )
        given = dict(zip(self._names, args, strict=False))
        for name, value in kwargs.items():
            if name not in self._names:
                hint = did_you_mean(name, self._names) or f"; there are {listed(self._names)}"
                raise InputError(f"{self.name} has no input `{name}`{hint}")
            if name in given:
                raise InputError(f"{self.name}: input `{name}` is given twice")
            given[name] = value
        if SEED in self.signature.inputs:
            given.setdefault(SEED.name, 0)
        missing = [str(a) for a in self.signature.inputs if a.name not in given]
        if missing:
            raise InputError(f"{self.name}: no value for input {listed(missing)}")
        return [given[name] for name in self._names]

    def _checked(self, value: Any, number: int) -> Array:
        return as_array(value, self._dtypes[number], f"input `{self._names[number]}`")

    def _why(self, status: int, arrays: Sequence[Array]) -> str:
        """What a run checked, and from where to where the integers go that it had."""
        found = [self._native.error_message(status)]
        for argument, array in zip(self.signature.inputs, arrays, strict=True):
            if argument.type.dtype.is_int and argument != SEED and array.size:
                found.append(f"`{argument.name}` goes from {array.min()} to {array.max()}")
        return "; ".join(found)

    def _planned(self, shapes: tuple[tuple[int, ...], ...]) -> _Plan:
        sizes = self.signature.bind(shapes)
        outputs = tuple(
            (tuple(evaluate(dim, sizes) for dim in argument.type.shape), argument.type.dtype.numpy)
            for argument in self.signature.outputs
        )
        for argument, (shape, _) in zip(self.signature.outputs, outputs, strict=True):
            if min(shape, default=0) < 0:
                raise InputError(f"{self.name}: output `{argument.name}` would have shape {shape}")
        values = tuple(sizes.values())
        workspace = self._native.workspace_size(values, self._threads)
        if workspace < 0:
            raise InputError(f"{self.name}: the sizes {sizes} are too large")
        allocated = tuple(
            (shape, dtype, self._pool.allocator(shape, dtype)) for shape, dtype in outputs
        )
        plan = _Plan(values, allocated, workspace)
        if len(self._plans) >= 256:
            self._plans.clear()
        self._plans[shapes] = plan
        return plan

    def _workspace(self, size: int) -> int:
        """The address of this thread's workspace, at least `size` bytes."""
        block: Array | None = getattr(self._local, "block", None)
        if block is None or block.nbytes < size:
            block = self._local.block = aligned_block(size)
            self._local.address = address(block)
        found: int = self._local.address
        return found


def _counted(count: int) -> str:
    return "no inputs" if count == 0 else "1 input" if count == 1 else f"{count} inputs"
