"""A run's log: one JSON object per line, for every n-th step and for every epoch.

    {"step": 130, "epoch": 6, "loss": 0.31, "accuracy": 0.9}
    {"epoch": 6, "step": 132, "loss": 0.29, "accuracy": 0.91, "valid_loss": 0.38, "seconds": 1.2}

Lines are written when they are complete, and a resumed run drops those that its checkpoint does not
know of: what is there is what one run without a stop would have left, times aside.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TextIO

from stepwell.files import require_file
from stepwell.training.listeners import Listener, Plan
from stepwell.training.position import Position, Record


class JsonLines(Listener):
    """Writes to `path`, every `every` steps."""

    def __init__(self, path: str | Path, every: int = 10) -> None:
        self._path, self._every = require_file(path, "log"), every
        self._file: TextIO | None = None

    def begin(self, plan: Plan, position: Position) -> None:
        kept = 0 if position.step == 0 else _known(self._path, position)
        self._file = self._path.open("r+" if kept else "w", encoding="utf-8", buffering=1)
        if self._path.is_file():  # a device or a pipe has no end to go to
            self._file.truncate(kept)
            self._file.seek(0, os.SEEK_END)

    def step(self, position: Position, results: Record, samples: int) -> None:
        if position.step % self._every == 0:
            self._write({"step": position.step, "epoch": position.epoch + 1, **results})

    def epoch(self, position: Position, record: Record) -> None:
        self._write(record)

    def end(self, position: Position) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, record: Record) -> None:
        if self._file is not None:
            plain = {name: x if math.isfinite(x) else None for name, x in record.items()}
            self._file.write(json.dumps(plain) + "\n")


def _known(path: Path, position: Position) -> int:
    """The bytes of the lines up to `position`."""
    if not path.is_file():
        return 0
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            about = json.loads(line)
            later = about["step"] > position.step or _epoch_done(about) > position.epoch
        except (ValueError, KeyError, TypeError):
            break  # cut short by the end of the process
        if later or not line.endswith(b"\n"):
            break
        size += len(line)
    return size


def _epoch_done(about: dict[str, float]) -> float:
    """How many epochs are done where a line was written, if its step does not tell."""
    return about["epoch"] if "seconds" in about else 0
