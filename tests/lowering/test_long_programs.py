"""Long programs: what a pass does grows with a program's length, not with its square."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any

from stepwell.compilation import Compilation, Options
from stepwell.debug import Trace
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.passes import run_steps
from stepwell.pipeline import graph_passes, loop_passes
from stepwell.source import Source

RECURRENCE = """
model m(x: f32[4, 8]) -> f32[4, 8] {
    param w: f32[8, 8] = zeros
    let h = x
    repeat STEPS as i { h = tanh(h @ w + x) * sigmoid(h) }
    h
}

train m(x: f32[4, 8]) {
    loss = sum(m(x))
    optimizer = sgd(lr: 0.1)
}
"""


def calls(steps: int) -> dict[str, int]:
    """How many functions of Python each pass calls for a recurrence of so many steps, and its
    gradient."""
    source = Source("m.well", RECURRENCE.replace("STEPS", str(steps)), "well")
    counts: Counter[str] = Counter()
    running = ""

    def count(frame: FrameType, event: str, argument: object) -> None:
        counts[running] += event == "call"

    module: Any = Compilation(source, Options("m", mode="step")).graph
    for step in (*graph_passes(), *loop_passes()):
        if step.passes == loop_passes()[0].passes:
            module = graph_to_loops(module)
        running = step.passes
        sys.setprofile(count)
        try:
            module = run_steps((step,), module, Trace(), False)
        finally:
            sys.setprofile(None)
    return counts


def test_twice_the_steps_are_twice_the_work() -> None:
    short, long = calls(20), calls(40)
    slow = {name: (short[name], long[name]) for name in short if long[name] > 2.3 * short[name]}
    assert not slow
