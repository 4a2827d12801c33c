"""Loop passes that run together whatever may be, however short it is.

In: the steps of a pipeline. Out: the same, with a `side_by_side` for which nothing has a price.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stepwell.pipeline import Step

EAGER = "side_by_side{grain=0, fork=0, moved=0}"


def eager(steps: Iterable[Step]) -> tuple[Step, ...]:
    return tuple(
        replace(step, passes=EAGER) if step.passes.startswith("side_by_side") else step
        for step in steps
    )
