"""A model with some choices tried out, and the time that each of its kernels takes in place.

In: a compilation, the choices for each kernel. Out: a `Trial`, compiled; of two of them, the times
of their kernels in turns. A kernel is measured where it stands: with its data where the model left
them, and with the threads that the model has.

    compared(default, trial, seconds)["matmul_add_relu"]  →  {1: (6.2e-06, 5.7e-06), 2: …}
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.api import compiled_model
from stepwell.arrays import Array
from stepwell.compilation import Compilation
from stepwell.lowering.knobs import Knobs
from stepwell.lowering.tuning import target_key
from stepwell.model import Model
from stepwell.native_call import NativeCall

TURNS = 6
FEWEST, MOST = 3, 400  # runs in a turn
RELATIVE = 1e-3  # of an output's greatest number, that a schedule may differ by: sums round

Times = dict[int, tuple[float, float]]  # by the number of threads, seconds of one and the other


def compiled(compilation: Compilation, choices: Mapping[str, Knobs]) -> Model:
    """The model with choices by kernels' keys, whose code notes the times of kernels."""
    target = target_key(compilation.target)
    lines = [
        json.dumps({"target": target, "kernel": key, "knobs": knobs})
        for key, knobs in choices.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "trial.jsonl"
        database.write_text("\n".join(lines))
        trial = compilation.rescheduled(str(database), profile=True)
        return compiled_model(trial, None, 0, cache=False)


@dataclass
class Trial:
    """A model's calls by the number of threads, and what it computes at first."""

    calls: dict[int, NativeCall]
    steps: tuple[frozenset[str], ...]  # the kernels of each
    outputs: tuple[Array, ...]

    @staticmethod
    def of(model: Model, inputs: Mapping[str, Any], threads: tuple[int, ...]) -> Trial:
        """Runs it once. InputError where it refuses the inputs."""
        calls = {count: model.with_threads(count).native_call(**inputs) for count in threads}
        first = next(iter(calls.values()))
        first()
        steps: list[frozenset[str]] = []
        for kernel in model.kernels:
            if kernel.beside:
                steps[-1] |= {kernel.name}
            else:
                steps.append(frozenset({kernel.name}))
        return Trial(calls, tuple(steps), tuple(array.copy() for array in first.outputs))

    def agrees(self, other: Trial) -> bool:
        """Whether the other computes the same beyond rounding."""
        return all(map(_agree, self.outputs, other.outputs))

    def times(self, samples: Array) -> dict[str, Array]:
        """For each kernel, its seconds in each run: of all steps that it is in."""
        names = frozenset().union(*self.steps)
        return {
            name: samples[:, [name in step for step in self.steps]].sum(axis=1) for name in names
        }


def _agree(a: Array, b: Array) -> bool:
    if not np.issubdtype(a.dtype, np.floating):
        return bool(np.mean(a == b) > 1 - RELATIVE) if a.size else True
    size = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return bool(np.allclose(a, b, rtol=RELATIVE, atol=RELATIVE * size, equal_nan=True))


def compared(one: Trial, other: Trial, seconds: float) -> dict[str, Times]:
    """The times of all kernels that both have, about `seconds` for each and number of threads."""
    found: dict[str, Times] = {}
    for threads in one.calls:
        samples = _in_turns(one.calls[threads], other.calls[threads], seconds)
        times = [trial.times(np.array(s)) for trial, s in zip((one, other), samples, strict=True)]
        for name in times[0].keys() & times[1].keys():
            found.setdefault(name, {})[threads] = _typical(times[0][name], times[1][name])
    return found


def _in_turns(
    one: NativeCall, other: NativeCall, seconds: float
) -> tuple[list[Array], list[Array]]:
    samples: tuple[list[Array], list[Array]] = ([], [])
    for call in (one, other):
        call.profile()
    runs = min(MOST, max(FEWEST, round(seconds / TURNS / max(1e-7, float(one.profile().sum())))))
    for turn in range(TURNS):
        pairs = [(one, samples[0]), (other, samples[1])]
        for call, kept in reversed(pairs) if turn % 2 else pairs:
            call.profile()  # finds the caches as another left them
            kept += [call.profile() for _ in range(runs)]
    return samples


def _typical(one: Array, other: Array) -> tuple[float, float]:
    """Seconds of one and the other: of median and lower quartile the pair that favours the other
    less."""
    pairs = [(float(np.percentile(one, q)), float(np.percentile(other, q))) for q in (25, 50)]
    return max(pairs, key=lambda pair: pair[1] / max(pair[0], 1e-12))
