"""Where a run is: steps and epochs done, the place in the epoch that runs, and what led there.

In: the results of steps. Out: means over the samples of an epoch, records; all of it as JSON, so
that a run goes on from a checkpoint as if it had not stopped.

    means.add({"loss": 0.7}, samples=64);  means.values()  →  {"loss": 0.7}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Record = dict[str, float]


@dataclass
class Means:
    """Sums of results over samples."""

    sums: dict[str, float] = field(default_factory=dict)
    samples: int = 0

    def add(self, results: Mapping[str, float], samples: int) -> None:
        """One batch: its results are means over so many samples."""
        for name, value in results.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * samples
        self.samples += samples

    def values(self) -> Record:
        """The means over all samples so far."""
        return {name: total / self.samples for name, total in self.sums.items()}


@dataclass
class Position:
    """`batch` counts the batches done of epoch `epoch`, which is how many epochs are done; `cut` is
    what a batch and an epoch have in samples, where that is known."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    cut: tuple[int | None, int | None] = (None, None)
    seconds: float = 0.0  # that the epoch has taken so far
    means: Means = field(default_factory=Means)
    history: list[Record] = field(default_factory=list)  # a record per epoch

    def stepped(self, results: Mapping[str, float], samples: int, seconds: float) -> None:
        """The step that was done was on a batch of the epoch."""
        self.batch += 1
        self.seconds += seconds
        self.means.add(results, samples)

    def next_epoch(self, record: Record) -> None:
        """The epoch is over; what came of it is known."""
        self.history.append(record)
        self.epoch, self.batch, self.seconds, self.means = self.epoch + 1, 0, 0.0, Means()

    def text(self) -> str:
        """As JSON; numbers re-read exactly."""
        return json.dumps(asdict(self))

    @staticmethod
    def of(text: str) -> Position:
        """From JSON. ValueError, TypeError or KeyError where it is none."""
        about: dict[str, Any] = json.loads(text)
        return Position(**{**about, "means": Means(**about["means"]), "cut": tuple(about["cut"])})
