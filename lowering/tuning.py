"""The database of tuned choices: JSON lines that `stepwell tune` writes and `schedule` reads.

In: a file. Out: for a target and a kernel, the knobs that were fastest there.

    {"target": "znver4-1f0c2b7a90d4", "kernel": "0b7e…", "knobs": {"tile": {"rows": 7, …}},
     "gain": 1.08, …}

A kernel is known by the text of its naive nest with all names normalised: the same layer is tuned
once, whatever model it is in. Files of several machines may be joined with `cat`: of several lines
for a kernel the one with the greatest gain counts. What is no record is passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepwell.ir.loop.analysis import canonical
from stepwell.ir.loop.core import Kernel
from stepwell.ir.loop.printer import format_block
from stepwell.ir.target import Target
from stepwell.lowering.knobs import Knobs

Records = dict[str, Knobs]  # by the kernel's key


def kernel_key(kernel: Kernel) -> str:
    """The same for kernels that differ in names only."""
    form = canonical(kernel)
    parameters = [f"{each.buffer.name}: {each.buffer.type} {each.role}" for each in form.parameters]
    text = "\n".join([form.family, *form.sizes, *parameters, format_block(form.body)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def target_key(target: Target) -> str:
    """The same for machines that code is the same for; how many cores are usable is not in it."""
    digest = hashlib.sha256(repr(replace(target, cores=1)).encode()).hexdigest()[:12]
    return f"{target.cpu}-{digest}"


@dataclass(frozen=True)
class Database:
    """The records of a file, in order, and the numbers of the lines that are none."""

    records: tuple[dict[str, Any], ...]
    damaged: tuple[int, ...]

    @staticmethod
    def read(path: str | Path) -> Database:
        """OSError where there is no such file."""
        lines = enumerate(Path(path).read_bytes().splitlines(), start=1)
        found = [(number, _record(line)) for number, line in lines if line.strip()]
        records = tuple(record for _, record in found if record is not None)
        return Database(records, tuple(number for number, record in found if record is None))

    def best(self, target: Target) -> Records:
        """What is known for a target."""
        wanted = target_key(target)
        fitting = (record for record in self.records if record["target"] == wanted)
        return {r["kernel"]: r["knobs"] for r in sorted(fitting, key=gain)}


def gain(record: Mapping[str, Any]) -> float:
    """How many times as fast as by default."""
    found = record.get("gain", 1.0)
    return float(found) if isinstance(found, int | float) else 1.0


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        fits = isinstance(record["target"], str) and isinstance(record["kernel"], str)
        fits = fits and isinstance(record["knobs"], dict)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return dict(record) if fits else None
