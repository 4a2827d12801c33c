"""A run as a person follows it: a bar on a terminal, a line per epoch everywhere else.

In: what listeners hear. Out, on stderr where that is a terminal:

    epoch 3/20 ━━━━━━━━━╸━━━━━━━━━━ 61/440  loss 0.4312  accuracy 0.871  9120 samples/s  0:00:04

else on stdout, when an epoch ends:

    epoch 3/20  loss 0.4312  accuracy 0.871  valid loss 0.3121  valid accuracy 0.912  9120 samples/s
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from stepwell.terminal import print_table
from stepwell.training.listeners import Listener, Plan
from stepwell.training.position import Position, Record

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_ASIDE = ("epoch", "step", "seconds", "samples_per_second")
_REFRESH = 0.15  # seconds between two pictures of the bar
_ROWS = 12  # of the table at the end


def display() -> Listener:
    """For whoever is there."""
    return Bar(sys.stderr) if sys.stderr.isatty() else Lines()


class Lines(Listener):
    """A plain line per epoch, on what stdout is when the line is written."""

    def __init__(self) -> None:
        self._epochs = 0

    def begin(self, plan: Plan, position: Position) -> None:
        self._epochs = plan.epochs

    def epoch(self, position: Position, record: Record) -> None:
        print(f"epoch {record['epoch']:g}/{self._epochs}  {summary(record)}", flush=True)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bar(Listener):
    """A bar that is drawn a few times a second, between steps."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._plan: Plan | None = None
        self._drawn, self._samples = 0.0, 0

    def begin(self, plan: Plan, position: Position) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        console = Console(file=self._stream, force_terminal=True, highlight=False)
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(None), MofNCompleteColumn(),
            TextColumn("{task.fields[results]}"), Remaining(),
            console=console, auto_refresh=False, transient=True, speed_estimate_period=10,
        )  # fmt: skip
        total = None if plan.batches is None else plan.batches * plan.epochs
        self._task = self._bar.add_task(
            "", total=total, completed=position.step, epoch=_epoch(plan, position), results=""
        )
        self._plan, self._drawn, self._samples = plan, time.perf_counter(), 0
        self._bar.start()

    def step(self, position: Position, results: Record, samples: int) -> None:
        now = time.perf_counter()
        self._samples += samples
        elapsed = now - self._drawn
        if elapsed < _REFRESH or self._bar is None or self._task is None or self._plan is None:
            return
        facts = {**position.means.values(), "samples_per_second": self._samples / elapsed}
        self._bar.update(
            self._task, completed=position.step, epoch=_epoch(self._plan, position),
            results=summary(facts), refresh=True,
        )  # fmt: skip
        self._drawn, self._samples = now, 0

    def say(self, text: str) -> None:
        if self._bar is None:
            self._stream.write(f"{text}\n")
        else:
            self._bar.console.print(text, soft_wrap=True)

    def end(self, position: Position) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _epoch(plan: Plan, position: Position) -> str:
    return f"{min(position.epoch + 1, plan.epochs)}/{plan.epochs}"


def summary(record: Record) -> str:
    """`loss 0.4312  accuracy 0.871  9120 samples/s`."""
    parts = [f"{_title(name)} {number(record[name])}" for name in record if name not in _ASIDE]
    if "samples_per_second" in record:
        parts.append(f"{record['samples_per_second']:.0f} samples/s")
    return "  ".join(parts)


def number(value: float) -> str:
    """Four digits that count."""
    return f"{value:.4g}"


def _title(name: str) -> str:
    return name.replace("_", " ", 1) if name.startswith("valid_") else name


def print_history(history: Sequence[Record]) -> None:
    """The table at the end: the epochs, of many only some."""
    names = [name for name in history[0] if name not in _ASIDE]
    rows = [["epoch", *map(_title, names), "samples/s", "seconds"]]
    for record in _some(history):
        cells = [number(record[name]) if name in record else "" for name in names]
        rate, seconds = record["samples_per_second"], record["seconds"]
        rows.append([f"{record['epoch']:g}", *cells, f"{rate:.0f}", f"{seconds:.2f}"])
    print_table(rows)


def _some(history: Sequence[Record]) -> list[Record]:
    """All, or so many at even distances, the first and the last among them."""
    count, last = min(_ROWS, len(history)), len(history) - 1
    if count < 2:
        return list(history)
    return [history[round(i * last / (count - 1))] for i in range(count)]
