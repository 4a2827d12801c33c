"""One call of native code with everything in place: for measuring code alone.

In: arrays, addresses. Out: `NativeCall`; running it allocates nothing and checks nothing but the
status. Where the code was compiled for it, `profile` gives each kernel's time; of kernels that run
together, that of all.

    call = model.native_call(image);  call();  call.outputs[0]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from stepwell.arrays import Array
from stepwell.codegen.blocks import address
from stepwell.ir.diagnostics import InputError
from stepwell.parameters import Preparing


class Native(Preparing, Protocol):
    """The native functions of one model: a `stepwell.codegen.jit.NativeProgram`."""

    @property
    def entry(self) -> Callable[..., int]:
        """(sizes…, inputs…, outputs…, weights, state where there is any, workspace, pool) →
        status."""

    @property
    def profile_entry(self) -> Callable[..., int]:
        """The same and where the times go; only where the code was made for it."""

    def workspace_size(self, sizes: Sequence[int], pool: int = 0) -> int:
        """Bytes, or -1 where the sizes are refused."""

    def error_message(self, status: int) -> str:
        """What a status means."""


@dataclass
class NativeCall:
    """A model's code with the arrays of one call; it may be run again and again."""

    native: Native
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    sizes: tuple[int, ...]
    weights: Array
    state: Array | None
    workspace: Array
    pool: int  # of threads: the address of a `stepwell_pool`
    steps: int  # of one run: calls of kernels, those that are together counted once

    def __call__(self) -> None:
        """Run. InputError for what native code checks."""
        status = self._entry(*self._arguments)
        if status:
            raise InputError(self.native.error_message(status))

    def profile(self) -> Array:
        """Run; the seconds that each step took, in order."""
        status = self.native.profile_entry(*self._arguments, address(self._times))
        if status:
            raise InputError(self.native.error_message(status))
        nanoseconds = self._times @ np.array([1_000_000_000, 1])
        seconds: Array = np.diff(nanoseconds) * 1e-9
        return seconds

    @cached_property
    def _entry(self) -> Callable[..., int]:
        return self.native.entry

    @cached_property
    def _arguments(self) -> tuple[int, ...]:
        state = () if self.state is None else (self.state,)
        arrays = (*self.inputs, *self.outputs, self.weights, *state, self.workspace)
        return (*self.sizes, *(address(array) for array in arrays), self.pool)

    @cached_property
    def _times(self) -> Array:
        """Seconds and nanoseconds (`codegen/clock.py`), before the first step and after each."""
        return np.zeros((self.steps + 1, 2), np.int64)
