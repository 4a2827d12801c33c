"""The database of tuned choices: JSON lines that `stepwell tune` writes and `schedule` reads.

In: a file. Out: for a target and a kernel, the knobs that were fastest there; the last line counts.

    {"target": "znver4-1f0c2b7a90d4", "kernel": "0b7e…", "knobs": {"tile": {"rows": 7, …}}, …}

A kernel is known by the text of its naive nest with all names normalised: the same layer is tuned
once, whatever model it is in. Files of several machines may be joined with `cat`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
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


def read_records(path: str | Path, target: Target) -> Records:
    """The records for a target. OSError where there is no such file, ValueError for a line that
    is none of ours."""
    found: Records = {}
    wanted = target_key(target)
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        record = _record(line, f"{path}:{number}") if line.strip() else {}
        if record.get("target") == wanted:
            found[record["kernel"]] = record["knobs"]
    return found


def _record(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        knobs = record["knobs"]
        fits = isinstance(record["target"], str) and isinstance(record["kernel"], str)
        fits = fits and all(isinstance(fields, dict) for fields in knobs.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise ValueError(f"{place}: no record of a tuned kernel: {line[:60]}")
    return dict(record)
