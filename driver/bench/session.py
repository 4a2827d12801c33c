"""A model measured: its time beside its peers', its kernels' times beside their bounds.

In: a compilation, inputs, how many threads. Out: a `Measurement`, from which tables, pictures and
JSON are made.

    Session(compilation, model, inputs, sizes).measure(ceilings, seconds=1.0, peers={…})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from stepwell.bench.ceilings import Ceilings, function_seconds
from stepwell.bench.roofline import Bound, bound_of
from stepwell.bench.timing import Spread, in_turns
from stepwell.bench.work import Traffic, Work, work_of
from stepwell.compilation import Compilation
from stepwell.ir.size import evaluate
from stepwell.model import Model

OURS = "stepwell"
NATIVE = "native code"  # the same without the call from Python
FEWEST, MOST = 7, 1000  # profiled runs


@dataclass(frozen=True)
class KernelTime:
    """One step, a call of a kernel mostly: what it has to do, what it took, what bounds it."""

    work: Work
    time: Spread
    bound: Bound


@dataclass(frozen=True)
class Measurement:
    """A model on so many threads: seconds of a call for each contender."""

    model: str
    sizes: dict[str, int]
    work: Work
    bound: Bound
    ceilings: Ceilings
    times: dict[str, Spread]
    kernels: tuple[KernelTime, ...] = ()

    @property
    def threads(self) -> int:
        return self.ceilings.threads


@dataclass
class Session:
    """A model with the inputs of one call, ready to be measured."""

    compilation: Compilation
    model: Model
    inputs: Mapping[str, Any]
    profiled: Model | None = None  # the same, made to note the times of its kernels

    def with_threads(self, threads: int) -> Session:
        """The same on so many threads."""
        profiled = self.profiled and self.profiled.with_threads(threads)
        return replace(self, model=self.model.with_threads(threads), profiled=profiled)

    @cached_property
    def sizes(self) -> dict[str, int]:
        shapes = [np.shape(self.inputs[item.name]) for item in self.model.signature.inputs]
        return self.model.signature.bind(shapes)

    @cached_property
    def works(self) -> list[Work]:
        return work_of(self.compilation, self.sizes, self.model.threads)

    def measure(
        self, ceilings: Ceilings, seconds: float, peers: Mapping[str, Callable[[], object]]
    ) -> Measurement:
        """About `seconds` for each contender, and as many for the profile."""
        arguments = [self.inputs[item.name] for item in self.model.signature.inputs]
        calls: dict[str, Callable[[], object]] = {OURS: lambda: self.model(*arguments)}
        calls[NATIVE] = self.model.native_call(*arguments)
        times = in_turns({**calls, **peers}, seconds)
        bound = bound_of(self.whole, ceilings, function_seconds)
        kernels = self._kernels(ceilings, seconds, times[OURS].median)
        return Measurement(self.model.name, self.sizes, self.whole, bound, ceilings, times, kernels)

    @cached_property
    def whole(self) -> Work:
        """The work of the model as one kernel's: inputs, weights and outputs once, states twice."""
        signature = self.model.signature
        types = [(item.type, False) for item in signature.inputs]
        types += [(item.type, False) for item in (*signature.parameters, *signature.states)]
        types += [(item.type, True) for item in signature.outputs]
        types += [(item.type, True) for item in signature.states]
        bytes = [
            (
                int(np.prod([evaluate(dim, self.sizes) for dim in type.shape])) * type.dtype.bytes,
                out,
            )
            for type, out in types
        ]
        footprint = sum(size for size, _ in bytes)
        functions: dict[str, int] = {}
        for work in self.works:
            for name, count in work.functions.items():
                functions[name] = functions.get(name, 0) + count
        return Work(
            self.model.name, "model", (), sum(work.flops for work in self.works),
            tuple(Traffic(size, out, footprint) for size, out in bytes), functions,
        )  # fmt: skip

    def _kernels(
        self, ceilings: Ceilings, seconds: float, estimate: float
    ) -> tuple[KernelTime, ...]:
        """The time of each step, where the code notes it."""
        if self.profiled is None:
            return ()
        arguments = [self.inputs[item.name] for item in self.model.signature.inputs]
        call = self.profiled.native_call(*arguments)
        runs = min(MOST, max(FEWEST, round(seconds / estimate)))
        samples = np.array([call.profile() for _ in range(runs + 2)])[2:]
        return tuple(
            KernelTime(work, Spread.of(samples[:, i]), bound_of(work, ceilings, function_seconds))
            for i, work in enumerate(self.works)
        )
