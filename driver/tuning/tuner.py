"""Searching for faster schedules: the choices of all kernels tried out side by side, in place.

In: a compilation, sizes, numbers of threads, a budget of seconds. Out: a `Tuned` for each kernel
that leaves its strategy a choice; where another choice is faster, a record for the database.

    until the time is over:
      one proposal from the climb of each kernel                            climb.py
      the model with them, compiled; run in turns with the default one      trial.py
      each climb hears its kernel's time
    the model with the best of each kernel, in turns with the default one once more: what is not
    clearly faster then is dropped; and all where the model as a whole is not
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count, takewhile
from math import prod
from typing import Any

from stepwell.bench.inputs import random_inputs
from stepwell.bench.timing import in_turns
from stepwell.compilation import Compilation
from stepwell.ir.diagnostics import StepwellError
from stepwell.ir.loop.core import Kernel, Program
from stepwell.lowering.knobs import Knobs
from stepwell.lowering.schedule import Schedule, schedule_kernel
from stepwell.lowering.tuning import Records, kernel_key, target_key
from stepwell.passes import run_steps
from stepwell.pipeline import loop_passes
from stepwell.tuning.climb import Climb
from stepwell.tuning.trial import Times, Trial, compared, compiled
from stepwell.version import stepwell_version

SAMPLE = 0.15  # seconds of timing a proposal
CHECK = 0.6  # seconds of timing what is to be kept
CLEARLY = 0.98  # of the default's time, that is kept
SLOWER = 1.02  # of the default's time, that no number of threads may take
LEAST = 0.005  # of a model's time, below which a kernel is left alone


@dataclass
class Tuned:
    """A kernel, and what was found: seconds of the default choice and of the best, by threads."""

    kernel: Kernel
    share: float  # of the model's time, that the kernel takes
    times: Times
    knobs: dict[str, Any] = field(default_factory=dict)  # empty: the default is the best
    tried: int = 0
    refused: int = 0

    @property
    def gain(self) -> float:
        """How many times as fast as by default."""
        return 1 / ratio(self.times) if self.knobs else 1.0


def ratio(times: Times) -> float:
    """Of the other's time to the one's: the geometric mean over numbers of threads; infinite where
    it is slower on one of them."""
    found = [other / max(one, 1e-12) for one, other in times.values()]
    return prod(found) ** (1 / len(found)) if max(found) < SLOWER else float("inf")


@dataclass
class Tuner:
    """Tunes the kernels of one model, from what a database knows already. `tell` hears how many
    seconds are spent, and on what."""

    compilation: Compilation
    sizes: Mapping[str, int]
    threads: tuple[int, ...]
    budget: float
    known: Records
    tell: Callable[[float, str], None]
    whole: dict[int, tuple[float, float]] = field(default_factory=dict)  # the model's times
    begun: float = field(default_factory=time.perf_counter)

    def run(self) -> list[Tuned]:
        """Tune, those with most time first. A KeyboardInterrupt ends the search, and what was found
        until then is checked."""
        self.tell(0.0, "compiling")
        climbs = self._climbs()
        try:
            self._search(climbs)
        except KeyboardInterrupt:
            self.tell(self.spent(), "checking what was found until now")
        kept = self._checked(climbs)
        found = [self._tuned(name, climb, kept) for name, climb in climbs.items()]
        return sorted(found, key=lambda item: -item.share)

    def record(self, item: Tuned) -> dict[str, Any]:
        """A line of the database."""
        return {
            "target": target_key(self.compilation.target), "kernel": kernel_key(item.kernel),
            "knobs": item.knobs, "gain": round(item.gain, 4), "name": item.kernel.name,
            "sizes": dict(self.sizes), "version": stepwell_version(),
            "seconds": {str(threads): times for threads, times in item.times.items()},
        }  # fmt: skip

    def spent(self) -> float:
        return time.perf_counter() - self.begun

    # ------------------------------------------------------------------ the search

    @cached_property
    def _default(self) -> Trial:
        model = compiled(self.compilation, {})
        state = None if model.state is None else model.state.block.copy()
        self._inputs = random_inputs(model, self.sizes, {})  # tries some of them out
        if model.state is not None:
            model.state.block[:] = state
        self.threads = tuple({model.with_threads(n).threads: 0 for n in self.threads})
        return Trial.of(model, self._inputs, self.threads)

    @cached_property
    def _before(self) -> dict[str, Times]:
        """The default's times of its kernels, twice."""
        return compared(self._default, self._default, SAMPLE)

    def _climbs(self) -> dict[str, Climb]:
        """A search for each kernel that has a choice and takes its time."""
        total = sum(self._seconds(name) for name in self._before)
        compilation, found = self.compilation, {}
        steps = list(loop_passes(winograd=compilation.winograd))
        before = takewhile(lambda step: not step.passes.startswith(Schedule.name), steps)
        program: Program = run_steps(
            tuple(before), compilation.naive_program, compilation.trace, False
        )
        schedule = partial(
            schedule_kernel, target=compilation.target, winograd=compilation.winograd
        )
        for kernel in program.kernels:
            if self._seconds(kernel.name) < LEAST * total:
                continue
            found[kernel.name] = Climb(kernel, schedule, self.known.get(kernel_key(kernel), {}))
        return found

    def _seconds(self, name: str) -> float:
        """By default, on the first number of threads."""
        times = self._before.get(name)
        return next(iter(times.values()))[0] if times else 0.0

    def _search(self, climbs: Mapping[str, Climb]) -> None:
        longest = 0.0
        for number in count():
            start = self.spent()
            left = self.budget - start - longest
            asked = dict(self._proposals(climbs, number)) if left > 0 or not number else {}
            if not asked:
                return
            self._try(climbs, asked)
            longest = max(longest, self.spent() - start)

    def _proposals(
        self, climbs: Mapping[str, Climb], number: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """One for each kernel; of those that run together one a time, by turns."""
        tried = sum(climb.tried for climb in climbs.values())
        self.tell(self.spent(), f"{tried} tried")
        busy: set[frozenset[str]] = set()
        names = list(climbs)
        for name in names[number % len(names) :] + names[: number % len(names)] if names else ():
            steps = {step for step in self._default.steps if name in step and len(step) > 1}
            if steps & busy:
                continue
            fields = climbs[name].propose()
            if fields is not None:
                busy |= steps
                yield name, fields

    def _try(self, climbs: Mapping[str, Climb], asked: Mapping[str, Knobs]) -> None:
        best = {name: climb.best for name, climb in climbs.items()}
        trial = self._trial(climbs, {**best, **asked})
        if trial is None:
            for name in asked:
                climbs[name].refuse()
            return
        times = compared(self._default, trial, SAMPLE)
        for name in asked:
            climbs[name].told(ratio(times[name]) if name in times else float("inf"))

    def _trial(self, climbs: Mapping[str, Climb], choices: Mapping[str, Knobs]) -> Trial | None:
        """The model with these choices; None where it computes something else, or there is none."""
        keyed = {kernel_key(climbs[name].kernel): fields for name, fields in choices.items()}
        try:
            trial = Trial.of(compiled(self.compilation, keyed), self._inputs, self.threads)
        except StepwellError:
            return None
        return trial if self._default.agrees(trial) else None

    # ------------------------------------------------------------------ the check

    def _checked(self, climbs: Mapping[str, Climb]) -> dict[str, Times]:
        """The times of the kernels whose best choice is clearly faster, measured anew."""
        left = {name: climb.best for name, climb in climbs.items() if climb.best}
        while left:
            self.tell(self.spent(), "measuring the best once more")
            trial = self._trial(climbs, left)
            if trial is None:
                return {}
            times = compared(self._default, trial, CHECK)
            slow = [name for name in left if ratio(times.get(name, {1: (0, 1)})) > CLEARLY]
            if not slow:
                return {name: times[name] for name in left} if self._is_faster(trial) else {}
            left = {name: fields for name, fields in left.items() if name not in slow}
        return {}

    def _is_faster(self, trial: Trial) -> bool:
        """Whether the model as a whole is."""
        for threads, call in self._default.calls.items():
            spread = in_turns({"default": call, "best": trial.calls[threads]}, CHECK)
            self.whole[threads] = spread["default"].median, spread["best"].median
        return ratio(self.whole) < 1

    def _tuned(self, name: str, climb: Climb, kept: Mapping[str, Times]) -> Tuned:
        total = sum(self._seconds(each) for each in self._before)
        times = kept.get(name, self._before[name])
        fields = climb.best if name in kept else {}
        share = self._seconds(name) / max(total, 1e-12)
        return Tuned(climb.kernel, share, times, fields, climb.tried, climb.refused)
