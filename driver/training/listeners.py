"""What is told of a run, to whom: the terminal, a log, TensorBoard, a picture.

In: records of steps and epochs. Out: to every listener the same, in order.

    {"step": 120, "epoch": 5, "loss": 0.31, "accuracy": 0.9, "samples_per_second": 9120.0}
    {"epoch": 5, "step": 110, "loss": 0.4, "valid_loss": 0.38, …, "seconds": 1.2}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from stepwell.training.position import Position, Record


@dataclass(frozen=True)
class Plan:
    """What a run is about to do."""

    name: str
    epochs: int
    samples: int | None  # in an epoch, where that is known
    batch: int | None
    graph: Callable[[], Any]  # the step's graph, for who wants to show it

    @property
    def batches(self) -> int | None:
        """In an epoch."""
        if self.samples is None or self.batch is None:
            return None
        return -(-self.samples // self.batch)


class Listener:
    """Hears of a run; each method may be left as it is."""

    def begin(self, plan: Plan, position: Position) -> None:
        """The run begins, or goes on, at `position`; what was told of later is void."""

    def step(self, position: Position, results: Record, samples: int) -> None:
        """A step was done, on so many samples."""

    def epoch(self, position: Position, record: Record) -> None:
        """An epoch was done."""

    def say(self, text: str) -> None:
        """Something that a person should know."""

    def end(self, position: Position) -> None:
        """The run is over, or was stopped."""


@dataclass
class Listeners(Listener):
    """Several as one."""

    all: Sequence[Listener] = field(default_factory=tuple)

    def begin(self, plan: Plan, position: Position) -> None:
        for each in self.all:
            each.begin(plan, position)

    def step(self, position: Position, results: Record, samples: int) -> None:
        for each in self.all:
            each.step(position, results, samples)

    def epoch(self, position: Position, record: Record) -> None:
        for each in self.all:
            each.epoch(position, record)

    def say(self, text: str) -> None:
        for each in self.all:
            each.say(text)

    def end(self, position: Position) -> None:
        with ExitStack() as rest:  # one that fails is not the last
            for each in reversed(self.all):
                rest.callback(each.end, position)
