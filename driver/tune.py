"""Searching for faster schedules: each kernel's choices tried out and timed in native code.

In: a compilation, sizes, a budget of seconds. Out: a `Tuned` for each kernel that leaves its
strategy a choice; where another choice is faster, a record for the database.

    kernels by the time they take; for each, its share of the budget:
      for each knob: candidates from the nearest to the analytic choice on, one change at a time
        a program of that kernel alone, compiled with the candidate, run, compared, timed

A candidate that computes something else beyond rounding, or does not compile, is no candidate.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from math import log2
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.api import compiled_model
from stepwell.bench.inputs import random_inputs
from stepwell.bench.timing import in_turns
from stepwell.compilation import Compilation
from stepwell.ir.diagnostics import StepwellError
from stepwell.ir.loop.core import Call, Kernel, Program, ProgramBuffer
from stepwell.ir.loop.printer import format_loops
from stepwell.ir.size import evaluate
from stepwell.lowering.knobs import Offer, as_fields, offers
from stepwell.lowering.schedule import schedule_kernel
from stepwell.lowering.tuning import kernel_key, target_key
from stepwell.native_call import NativeCall
from stepwell.passes import run_steps
from stepwell.pipeline import loop_passes
from stepwell.source import Source

WORTH = 0.98  # of the best time until then: less is noise
SAMPLE = 0.05  # seconds of timing a candidate
Fields = dict[str, dict[str, Any]]


@dataclass
class Tuned:
    """A kernel, and what was found: seconds of the analytic choice, and of the best."""

    kernel: Kernel
    offers: list[Offer]
    analytic: float = 0.0
    best: float = 0.0
    knobs: Fields | None = None  # None: the analytic choice is the best
    tried: int = 0


@dataclass
class Tuner:
    """Tunes the kernels of one model. `tell` hears the share of the budget that is spent."""

    compilation: Compilation
    sizes: Mapping[str, int]
    threads: int
    budget: float
    tell: Callable[[float, str], None]

    def run(self) -> list[Tuned]:
        """Tune every kernel that has a choice, those with most work first."""
        program = self._before_schedules()
        found = [Tuned(kernel, self._offers(kernel)) for kernel in program.kernels]
        found = [item for item in found if item.offers]
        work = {item.kernel.name: self._work(program, item.kernel) for item in found}
        found.sort(key=lambda item: -work[item.kernel.name])
        left, begun = sum(work.values()), time.perf_counter()
        for item in found:
            spent = time.perf_counter() - begun
            share = (self.budget - spent) * work[item.kernel.name] / max(left, 1)
            left -= work[item.kernel.name]
            self.tell(spent / self.budget, item.kernel.name)
            if share > 0 or item is found[0]:
                _Search(self, self._alone(program, item.kernel), item, begun).run(share)
        return [item for item in found if item.analytic]

    def _before_schedules(self) -> Program:
        """The program as the pass `schedule` gets it."""
        steps = takewhile(lambda step: not step.passes.startswith("schedule"), loop_passes())
        found: Program = run_steps(
            tuple(steps), self.compilation.naive_program, self.compilation.trace, False
        )
        return found

    def record(self, item: Tuned) -> str:
        """A line of the database."""
        return json.dumps({
            "target": target_key(self.compilation.target), "kernel": kernel_key(item.kernel),
            "knobs": item.knobs, "name": item.kernel.name, "threads": self.threads,
            "analytic": item.analytic, "best": item.best,
        })  # fmt: skip

    def _offers(self, kernel: Kernel) -> list[Offer]:
        found = offers(lambda: schedule_kernel(kernel, self.compilation.target))
        return [offer for offer in found if len(offer.candidates) > 1]

    def _work(self, program: Program, kernel: Kernel) -> int:
        """Operations of all calls of the kernel."""
        calls = [call for call in program.calls if call.kernel == kernel.name]
        return sum(evaluate(kernel.flops, self._bound(kernel, call)) for call in calls)

    def _bound(self, kernel: Kernel, call: Call) -> dict[str, int]:
        values = [evaluate(size, self.sizes) for size in call.sizes]
        return dict(zip(kernel.sizes, values, strict=True))

    def _alone(self, program: Program, kernel: Kernel) -> Source:
        """A program that calls the kernel once, as the model does first; its sizes are numbers."""
        call = next(call for call in program.calls if call.kernel == kernel.name)
        sizes = tuple(evaluate(size, self.sizes) for size in call.sizes)
        roles = {
            name: p.is_written for p, name in zip(kernel.parameters, call.arguments, strict=True)
        }
        buffers = [self._placed(program.buffer(name), written) for name, written in roles.items()]
        alone = Program(
            "alone", (), tuple(buffers), (), (replace(call, sizes=sizes),), (kernel,)
        )  # fmt: skip
        text = format_loops(alone)
        return Source("<kernel>", text, "loops")

    def _placed(self, item: ProgramBuffer, written: bool) -> ProgramBuffer:
        shape = tuple(evaluate(dim, self.sizes) for dim in item.buffer.shape)
        known = item.role in ("parameter", "constant")
        role = "output" if written else item.role if known else "input"
        return replace(item, buffer=replace(item.buffer, shape=shape), role=role, offset=None)


@dataclass
class _Search:
    """The search for one kernel's best choices."""

    tuner: Tuner
    source: Source
    item: Tuned
    begun: float

    def run(self, seconds: float) -> None:
        """Try candidates until the time is over."""
        end = time.perf_counter() + seconds
        best = self._compiled({})
        if best is None:
            return
        self.expected = [array.copy() for array in best.outputs]
        self.item.analytic = self.item.best = _seconds({"best": best})["best"]
        chosen: Fields = {}
        for offer in self.item.offers:
            for candidate in _nearest_first(offer):
                if time.perf_counter() > end:
                    break
                best, chosen = self._challenged(best, chosen, offer.name, candidate)
        self.item.knobs = chosen or None

    def _challenged(
        self, best: NativeCall, chosen: Fields, name: str, candidate: Any
    ) -> tuple[NativeCall, Fields]:
        """The better of the best so far and a candidate, in turns."""
        spent = (time.perf_counter() - self.begun) / self.tuner.budget
        self.tuner.tell(spent, f"{self.item.kernel.name}, {self.item.tried} tried")
        self.item.tried += 1
        fields = {**chosen, name: as_fields(candidate)}
        call = self._compiled(fields)
        if call is None or not self._agrees(call):
            return best, chosen
        times = _seconds({"best": best, "candidate": call})
        ratio = times["candidate"] / times["best"]
        if ratio >= WORTH:
            return best, chosen
        self.item.best *= ratio
        return call, fields

    def _compiled(self, fields: Fields) -> NativeCall | None:
        """The kernel alone with these choices, run once; None where that fails."""
        tuner = self.tuner
        key = target_key(tuner.compilation.target), kernel_key(self.item.kernel)
        record = {"target": key[0], "kernel": key[1], "knobs": fields}
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder) / "trial.jsonl"
            database.write_text(json.dumps(record) + "\n")
            options = replace(
                tuner.compilation.options, model=None, statics=(), tuning=str(database)
            )
            compilation = Compilation(self.source, options)
            try:
                model = compiled_model(compilation, None, 0, cache=False, threads=tuner.threads)
                call = model.native_call(**random_inputs(model, {}, {}))
                call()
            except StepwellError:  # no code for this choice; or a check refuses random numbers
                return None
        return call

    def _agrees(self, call: NativeCall) -> bool:
        return all(
            np.allclose(a, b, rtol=1e-3, atol=1e-3, equal_nan=True)
            for a, b in zip(self.expected, call.outputs, strict=True)
        )


def _nearest_first(offer: Offer) -> list[Any]:
    """The candidates but the analytic choice, those that differ least from it first."""
    centre = as_fields(offer.analytic)

    def distance(candidate: Any) -> float:
        fields = as_fields(candidate)
        return sum(abs(log2((fields[name] + 1) / (centre[name] + 1))) for name in centre)

    return sorted((c for c in offer.candidates if c != offer.analytic), key=distance)


def _seconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    return {name: spread.least for name, spread in in_turns(calls, SAMPLE, 3).items()}
