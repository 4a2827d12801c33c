"""Results that are no finite numbers, and spoil a mean: said once for each, and the run goes on.

In: what the batches gave. Out, to the listener:

    warning: valid loss is nan in epoch 1, from sample 64 of the held-out data on: `x` holds nan at
    [2, 7] of that batch
    warning: accuracy is nan in epoch 3, from step 12 on

A loss that is not finite in training ends the run (`nonfinite.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stepwell.signature import Argument
from stepwell.training.data import Batch
from stepwell.training.listeners import Listener


@dataclass
class Spoiled:
    """Knows what was said."""

    inputs: tuple[Argument, ...]
    listener: Listener
    _said: set[str] = field(default_factory=set)

    def look(
        self, results: Mapping[str, float], place: str, arrays: Batch, before: str = ""
    ) -> None:
        """At the results of one batch, which are called `before` and their name."""
        for name, value in results.items():
            title = before + name
            if not math.isfinite(value) and title not in self._said:
                self._said.add(title)
                self.listener.say(f"warning: {title} is {value} in {place}{self._cause(arrays)}")

    def _cause(self, arrays: Batch) -> str:
        """The first number of the batch that is not finite."""
        for item, array in zip(self.inputs, arrays, strict=True):
            bad = ~np.isfinite(array) if item.type.dtype.is_float else np.zeros((), bool)
            if bad.any():
                place = np.unravel_index(int(bad.argmax()), bad.shape)
                at = f" at {list(map(int, place))} of that batch" if place else ""
                return f": `{item.name}` holds {array[place]}{at}"
        return ""
