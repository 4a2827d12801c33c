"""Running passes: timed, traced, and checked where that is asked for.

In: IR and the notation of `--passes`. Out: IR. A pass that raises, or that changes the meaning of
what it is given, is a bug in Stepwell: InternalError, with the IR before it as reproducer.
"""

from __future__ import annotations

import re
import time
from typing import Any

from stepwell.debug import Trace
from stepwell.ir.diagnostics import InternalError, StepwellError
from stepwell.ir_texts import read_ir, text_of, verify
from stepwell.pipeline import Step
from stepwell.source import Source


def _registry() -> dict[str, Any]:
    from stepwell.lowering import canonicalize, cse, dce, decompose, fold, fuse, plan_memory
    from stepwell.lowering import schedule, share_kernels

    found = [canonicalize.Canonicalize, cse.Cse, dce.Dce, decompose.Decompose, fold.Fold]
    found += [fuse.Fuse, plan_memory.PlanMemory, schedule.Schedule, share_kernels.ShareKernels]
    return {item.name: item for item in found}


def _parse(text: str) -> list[Any]:
    passes = []
    for name, options in re.findall(r"(\w+)(?:\{([^}]*)\})?", text):
        pairs = re.findall(r"(\w+)=\"?([^\",]+)\"?", options)
        values = {k: True if v == "true" else int(v) if v.isdigit() else v for k, v in pairs}
        passes.append(_registry()[name](**values))
    return passes


def run_steps(steps: tuple[Step, ...], ir: Any, trace: Trace, checking: bool) -> Any:
    """The IR after every step."""
    for step in steps:
        for item in _parse(step.passes):
            ir = _run(item, ir, trace, checking)
    return ir


def _run(item: Any, before: Any, trace: Trace, checking: bool) -> Any:
    start = time.perf_counter()
    try:
        after = item.run(before)
    except StepwellError:
        raise
    except Exception as error:
        raise InternalError(
            f"{item.name}: {type(error).__name__}: {error}", text_of(before), item.name
        ) from error
    seconds = time.perf_counter() - start
    changed = None
    if after is not before:
        changed = text_of(after) if trace.wants_text else ""
    trace.ran(item.name, seconds, changed)
    return after


def apply_passes(source: Source, passes: str, trace: Trace, checking: bool) -> str:
    """`stepwell opt`: an IR text after the named passes."""
    ir = read_ir(source)
    for item in _parse(passes):
        ir = _run(item, ir, trace, checking)
    verify(ir)
    return text_of(ir)
