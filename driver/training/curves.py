"""The curves of a run as a picture.

In: what listeners hear. Out: a PNG with the loss and each metric over the epochs, in training and
on held-out data; needs the package `matplotlib` (extra `[plot]`).
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

from stepwell.files import require_file, write_file
from stepwell.ir.diagnostics import InputError
from stepwell.training.listeners import Listener
from stepwell.training.position import Position, Record

_ASIDE = ("epoch", "step", "seconds", "samples_per_second")


class Curves(Listener):
    """Written to `path` when the run ends. InputError where the package is missing."""

    def __init__(self, path: str | Path) -> None:
        if importlib.util.find_spec("matplotlib") is None:
            raise InputError(
                "a picture needs the package `matplotlib`: pip install 'stepwell[plot]'"
            )
        self._path = require_file(path, "the picture")
        if self._path.suffix != ".png":
            raise InputError(f"the picture {path}: the name must end in .png")

    def end(self, position: Position) -> None:
        if position.history:
            write_file(self._path, curves_png(position.history))


def curves_png(history: Sequence[Record]) -> bytes:
    """One field per result, side by side."""
    from matplotlib.figure import Figure

    names = [n for n in history[0] if n not in _ASIDE and not n.startswith("valid_")]
    figure = Figure(figsize=(4.5 * len(names), 3.4), layout="constrained")
    fields = figure.subplots(1, len(names), squeeze=False)[0]
    for field, name in zip(fields, names, strict=True):
        for label, key in (("training", name), ("held out", f"valid_{name}")):
            points = [(r["epoch"], r[key]) for r in history if key in r]
            if points:
                field.plot(*zip(*points, strict=True), label=label, marker=".")
        field.set_title(name)
        field.set_xlabel("epoch")
        field.grid(alpha=0.3)
        field.legend(frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
