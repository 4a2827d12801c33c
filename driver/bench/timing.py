"""Times of calls: medians and spreads, contenders taking turns.

In: calls without arguments. Out: a `Spread` for each, in seconds per call.

    in_turns({"stepwell": model, "torch": module}, seconds=1.0)["torch"].median

The contenders are called in rounds, one after another, so that a machine that changes its speed
changes it for all. The first call of a turn does not count: it finds the caches as another left
them. Calls shorter than the clock can tell apart are timed by the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stepwell.arrays import Array

ROUNDS = 5
BATCH = 50e-6  # seconds that a sample takes at least
FEWEST, MOST = 3, 2000  # samples of a turn


@dataclass(frozen=True)
class Spread:
    """What many samples of one time say, in seconds."""

    median: float
    least: float
    lower: float  # a quarter of the samples is below,
    upper: float  # a quarter above
    count: int

    @staticmethod
    def of(samples: Sequence[float] | Array) -> Spread:
        lower, median, upper = np.percentile(samples, (25, 50, 75))
        return Spread(float(median), float(min(samples)), float(lower), float(upper), len(samples))


def in_turns(
    calls: Mapping[str, Callable[[], object]], seconds: float, rounds: int = ROUNDS
) -> dict[str, Spread]:
    """Seconds per call of each; about `seconds` are spent on each."""
    estimates = {name: _warmed(call, seconds / 5) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            samples[name] += _turn(call, estimates[name], seconds / rounds)
    return {name: Spread.of(found) for name, found in samples.items()}


def _warmed(call: Callable[[], object], seconds: float) -> float:
    """Run until the time is over, and at least twice; the seconds of the fastest call."""
    best, end = float("inf"), time.perf_counter() + seconds
    for _ in range(MOST):
        best = min(best, _timed(call, 1))
        if time.perf_counter() > end and best < float("inf"):
            break
    return min(best, _timed(call, 1))


def _turn(call: Callable[[], object], estimate: float, seconds: float) -> list[float]:
    call()
    batch = max(1, round(BATCH / max(estimate, 1e-9)))
    count = round(seconds / (estimate * batch + 1e-9))
    return [_timed(call, batch) for _ in range(min(max(count, FEWEST), MOST))]


def _timed(call: Callable[[], object], batch: int) -> float:
    start = time.perf_counter()
    for _ in range(batch):
        call()
    return (time.perf_counter() - start) / batch
